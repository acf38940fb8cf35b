-- Retries in the API.

set local role flowgres_owner;

create or replace function flowgres_api.retry_execution(execution_id uuid, reason text default null, version integer default null)
  returns jsonb language sql
as $$ select flowgres.retry_execution(p_execution_id => execution_id, p_reason => reason, p_version => version); $$;
comment on function flowgres_api.retry_execution(uuid, text, integer) is $$Retry an execution from the steps that failed

What has completed stays; steps that failed, and those that were cancelled with them, run again, inside sub-workflows and lists as well.
version: go on with that version of the workflow, if what has completed is the same there (409 version_differs). 409 execution_completed,
execution_not_ended, execution_compensated, execution_stopped; execution_has_parent names the execution that is to be retried instead.
Returns {id, tenant_id, workflow_id, workflow_name, version, status, input, output, error, priority, correlation_id, idempotency_key,
trigger_type, parent_execution_id, replayed_from, generation, max_retries, retry_count, retry_at, metadata, created_by, instance_id,
steps_completed, total_steps, progress, phase, scheduled_at, created_at, started_at, finished_at, paused_at, timeout_seconds, deadline_at,
steps: [{step, type, section, status, output, error, attempts, ready_at,
started_at, finished_at, due_at, child_execution_id, items, round, reused_from, waits_for, reason, overrides, depends_on}]}.$$;
