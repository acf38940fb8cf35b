-- Columns of private tables, for those who read them in psql or pgAdmin: executions and their history.
--
-- Those that a migration explains are not repeated.

set local role flowgres_owner;

comment on column flowgres.executions.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.executions.id is $$Identifier, a UUID v7: its time decides the partition$$;
comment on column flowgres.executions.workflow_id is $$The workflow that runs$$;
comment on column flowgres.executions.version_id is $$The version that it started with and stays on$$;
comment on column flowgres.executions.version is $$Number of that version$$;
comment on column flowgres.executions.status is $$queued, running, waiting, paused or retrying; completed, failed or cancelled once finished_at is set$$;
comment on column flowgres.executions.priority is $$0 goes first, 9 last$$;
comment on column flowgres.executions.depth is $$Level of nesting; the root is 0$$;
comment on column flowgres.executions.step_count is $$Steps of the author in its version$$;
comment on column flowgres.executions.hidden_step_count is $$Steps that the compiler added$$;
comment on column flowgres.executions.completed_count is $$Steps, hidden ones included, that completed$$;
comment on column flowgres.executions.max_retries is $$How often it is retried by itself after a failure that nothing handles$$;
comment on column flowgres.executions.timeout_seconds is $$Active time that it may take$$;
comment on column flowgres.executions.active_since is $$Since when it has been active without a pause; null while it is queued or waits$$;
comment on column flowgres.executions.scheduled_at is $$When it is to begin, if later than its start call$$;
comment on column flowgres.executions.created_at is $$When the start was accepted$$;
comment on column flowgres.executions.started_at is $$When its first step began$$;
comment on column flowgres.executions.finished_at is $$When it ended$$;
comment on column flowgres.executions.parent_execution_id is $$The execution whose sub_workflow step started it$$;
comment on column flowgres.executions.parent_step_index is $$That step$$;
comment on column flowgres.executions.replayed_from is $$The execution that it repeats$$;
comment on column flowgres.executions.trigger_type is $$What started it: api, sub_workflow, ...$$;
comment on column flowgres.executions.correlation_id is $$A name of the caller's to find it by$$;
comment on column flowgres.executions.idempotency_key is $$Key of the start; idempotency_keys decides$$;
comment on column flowgres.executions.created_by is $$Who started it: the token's subject, key:<prefix>, login:<name> or execution:<id>$$;
comment on column flowgres.executions.input is $$What it was started with, defaults filled in$$;
comment on column flowgres.executions.trigger is $$What the trigger carried besides the input$$;
comment on column flowgres.executions.metadata is $$The caller's metadata$$;
comment on column flowgres.executions.output is $$Its result, once it has completed$$;
comment on column flowgres.executions.error is $$Why it failed: code, message, step$$;
comment on column flowgres.executions.is_awaited is $$Whether a call waits for its end, which is then told (flowgres_ends); null is no$$;
comment on column flowgres.executions.stop is $$How a stop step ends it: {status, output, message, step}$$;
comment on column flowgres.executions.paused_at is $$Since when it was paused last; counts while status is paused$$;
comment on column flowgres.executions.paused_for is $$Whose pause this is: the execution that was paused, with which this one was; or the workflow, or the tenant$$;

comment on column flowgres.step_executions.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.step_executions.execution_id is $$The execution that it is a step of: its time decides the partition$$;
comment on column flowgres.step_executions.step_index is $$The step's number in workflow_steps$$;
comment on column flowgres.step_executions.attempts is $$Attempts that were made$$;
comment on column flowgres.step_executions.step is $$The step's id in the definition$$;
comment on column flowgres.step_executions.type is $$Step type$$;
comment on column flowgres.step_executions.status is $$Status when it was written; work_queue knows more of a step that has not ended$$;
comment on column flowgres.step_executions.runner_id is $$The runner that had it last$$;
comment on column flowgres.step_executions.child_execution_id is $$The execution that a sub_workflow step started$$;
comment on column flowgres.step_executions.ready_at is $$When its dependencies were met$$;
comment on column flowgres.step_executions.started_at is $$When its first attempt began$$;
comment on column flowgres.step_executions.finished_at is $$When it ended$$;
comment on column flowgres.step_executions.due_at is $$When it goes on, if it was written while it waited$$;
comment on column flowgres.step_executions.output is $$What it gave, once it has completed$$;
comment on column flowgres.step_executions.error is $$Its last error: code, message, class$$;
comment on column flowgres.step_executions.item_count is $$Of a foreach: how many items its list has$$;
comment on column flowgres.step_executions.round is $$Of a step that repeats: the round that is under way, or was the last one$$;
comment on column flowgres.step_executions.previous is $$What the round before gave, while the step repeats$$;
comment on column flowgres.step_executions.next_item is $$Of a foreach: the first item that has no row in the queue yet$$;
comment on column flowgres.step_executions.done_count is $$Of a foreach: iterations that have ended; all, once none is under way$$;
comment on column flowgres.step_executions.failed_count is $$Of a foreach: iterations that failed for good$$;
comment on column flowgres.step_executions.reused_from is $$The execution in which it ended, when it was copied from there and did not run here$$;

comment on column flowgres.step_items.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.step_items.execution_id is $$The execution: its time decides the partition$$;
comment on column flowgres.step_items.step_index is $$The step's number in workflow_steps$$;
comment on column flowgres.step_items.first is $$Number of the first of these items, from 0$$;
comment on column flowgres.step_items.items is $$The items, as a list$$;

comment on column flowgres.attempts.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.attempts.execution_id is $$The execution: its time decides the partition$$;
comment on column flowgres.attempts.step_index is $$The step's number in workflow_steps$$;
comment on column flowgres.attempts.iteration is $$-1 for the step itself, 0 and up for the iterations of a foreach$$;
comment on column flowgres.attempts.generation is $$Generation of the execution$$;
comment on column flowgres.attempts.attempt is $$Number of the try, from 1$$;
comment on column flowgres.attempts.step is $$The step's id in the definition$$;
comment on column flowgres.attempts.status is $$completed, failed, lost (its runner went away) or discarded (its result came too late)$$;
comment on column flowgres.attempts.runner_id is $$The runner that made it$$;
comment on column flowgres.attempts.started_at is $$When it began$$;
comment on column flowgres.attempts.finished_at is $$When it ended$$;
comment on column flowgres.attempts.error is $$Why it failed: code, message, class$$;
comment on column flowgres.attempts.round is $$Of a step that repeats: the round that it belongs to$$;
comment on column flowgres.attempts.detail is $$What the step type tells of a try, such as an HTTP request line and status; of the last failed one also request and response$$;

comment on column flowgres.events.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.events.execution_id is $$The execution that it is a fact of: its time decides the partition$$;
comment on column flowgres.events.seq is $$Number within the execution, without gaps$$;
comment on column flowgres.events.at is $$When it happened$$;
comment on column flowgres.events.type is $$What happened, such as step_completed; log is a step's own line$$;
comment on column flowgres.events.level is $$debug, info, warning or error$$;
comment on column flowgres.events.step is $$The step that it happened to; null for the execution itself$$;
comment on column flowgres.events.message is $$A sentence for people$$;
comment on column flowgres.events.actor is $$Who caused it, when somebody did$$;
comment on column flowgres.events.details is $$More, for programs$$;

comment on column flowgres.idempotency_keys.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.idempotency_keys.workflow_id is $$What the key is unique in: the workflow of a start, the instance of a transition. Keys are counted for each alone$$;
comment on column flowgres.idempotency_keys.key is $$The key that the caller gave$$;
comment on column flowgres.idempotency_keys.execution_id is $$What it stands for: the execution of a start; of a transition the instance itself$$;
comment on column flowgres.idempotency_keys.payload_hash is $$SHA-256 of what was asked: the same key with something else is refused$$;
comment on column flowgres.idempotency_keys.expires_at is $$Until when it is kept$$;

comment on column flowgres.cancellations.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.cancellations.execution_id is $$The child execution to be cancelled$$;
comment on column flowgres.cancellations.requested_at is $$When it was noted, or last found to be held$$;
comment on column flowgres.cancellations.reason is $$Why, for its events$$;

comment on column flowgres.all_events.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.all_events.execution_id is $$The execution that it is a fact of$$;
comment on column flowgres.all_events.seq is $$Number within the execution, from 1, without gaps$$;
comment on column flowgres.all_events.at is $$When it happened$$;
comment on column flowgres.all_events.type is $$What happened, such as step_completed; log is a step's own line$$;
comment on column flowgres.all_events.level is $$debug, info, warning or error$$;
comment on column flowgres.all_events.step is $$The step that it happened to; null for the execution itself$$;
comment on column flowgres.all_events.message is $$A sentence for people$$;
comment on column flowgres.all_events.actor is $$Who caused it, when somebody did$$;
comment on column flowgres.all_events.details is $$More, for programs$$;

comment on column flowgres.executions.retry_count is $$How often it was retried by itself since a person started or retried it; max_retries is the most.$$;
comment on column flowgres.executions.retry_at is $$When it goes on, or went on, after the last of these retries.$$;
comment on column flowgres.step_executions.generation is $$Generation of the execution in which the step was last reported; null means the first.$$;
comment on column flowgres.step_executions.redo is $$Of a list that was retried: the iterations that run again, in their order; they have the last numbers of next_item.$$;
