-- What people do to executions, workflows and tenants that are under way.

set local role flowgres_owner;

create or replace function flowgres_api.pause_execution(execution_id uuid, reason text default null)
  returns jsonb language sql
as $$ select flowgres.pause_execution(p_execution_id => execution_id, p_reason => reason); $$;
comment on function flowgres_api.pause_execution(uuid, text) is $$Pause an execution, and the children that it waits for

Steps that run end and are recorded, and nothing else begins; timers go on, its own time does not. Pausing twice is no error. 409 execution_ended.
Returns {id, tenant_id, workflow_id, workflow_name, version, status, input, output, error, priority, correlation_id, idempotency_key,
trigger_type, parent_execution_id, replayed_from, generation, max_retries, retry_count, retry_at, metadata, created_by, instance_id,
steps_completed, total_steps, progress, phase, scheduled_at, created_at, started_at, finished_at, paused_at, timeout_seconds, deadline_at,
steps: [{step, type, section, status, output, error, attempts, ready_at,
started_at, finished_at, due_at, child_execution_id, items, round, reused_from, waits_for, reason, overrides, depends_on}]}.$$;

create or replace function flowgres_api.resume_execution(execution_id uuid, reason text default null)
  returns jsonb language sql
as $$ select flowgres.resume_execution(p_execution_id => execution_id, p_reason => reason); $$;
comment on function flowgres_api.resume_execution(uuid, text) is $$Let a paused execution go on, and the children that were paused with it

Resuming what is not paused is no error. 409 execution_ended, workflow_paused, tenant_paused.
Returns {id, tenant_id, workflow_id, workflow_name, version, status, input, output, error, priority, correlation_id, idempotency_key,
trigger_type, parent_execution_id, replayed_from, generation, max_retries, retry_count, retry_at, metadata, created_by, instance_id,
steps_completed, total_steps, progress, phase, scheduled_at, created_at, started_at, finished_at, paused_at, timeout_seconds, deadline_at,
steps: [{step, type, section, status, output, error, attempts, ready_at,
started_at, finished_at, due_at, child_execution_id, items, round, reused_from, waits_for, reason, overrides, depends_on}]}.$$;

create or replace function flowgres_api.update_execution(execution_id uuid, changes jsonb, reason text default null)
  returns jsonb language sql
as $$ select flowgres.update_execution(p_execution_id => execution_id, p_changes => changes, p_reason => reason); $$;
comment on function flowgres_api.update_execution(uuid, jsonb, text) is $$Change an execution that is under way

changes has some of priority (0 first, 9 last; children follow), scheduled_at (null is now), timeout_seconds, extend_seconds (added to it).
409 execution_ended, or execution_started for scheduled_at; 422 changes_invalid.
Returns {id, tenant_id, workflow_id, workflow_name, version, status, input, output, error, priority, correlation_id, idempotency_key,
trigger_type, parent_execution_id, replayed_from, generation, max_retries, retry_count, retry_at, metadata, created_by, instance_id,
steps_completed, total_steps, progress, phase, scheduled_at, created_at, started_at, finished_at, paused_at, timeout_seconds, deadline_at,
steps: [{step, type, section, status, output, error, attempts, ready_at,
started_at, finished_at, due_at, child_execution_id, items, round, reused_from, waits_for, reason, overrides, depends_on}]}.$$;

create or replace function flowgres_api.pause_workflow(workflow text, reason text default null)
  returns jsonb language sql
as $$ select flowgres.pause_workflow(p_workflow => workflow, p_reason => reason); $$;
comment on function flowgres_api.pause_workflow(text, text) is $$Let no execution of a workflow go on until it is resumed

Starts are accepted and wait; steps that run end and are recorded. Pausing twice is no error.
Returns {id, name, title, kind, status, description, metadata, active_version, is_active, version, latest_version, pending_version, created_at,
updated_at, is_paused, paused_at, paused_by}.$$;

create or replace function flowgres_api.resume_workflow(workflow text, reason text default null)
  returns jsonb language sql
as $$ select flowgres.resume_workflow(p_workflow => workflow, p_reason => reason); $$;
comment on function flowgres_api.resume_workflow(text, text) is $$Let a paused workflow go on

Executions that were paused for themselves stay so. Resuming what is not paused is no error.
Returns {id, name, title, kind, status, description, metadata, active_version, is_active, version, latest_version, pending_version, created_at,
updated_at, is_paused, paused_at, paused_by}.$$;

create or replace function flowgres_api.pause_tenant(tenant text default null, reason text default null)
  returns jsonb language sql
as $$ select flowgres.pause_tenant(p_tenant => tenant, p_reason => reason); $$;
comment on function flowgres_api.pause_tenant(text, text) is $$Let nothing of a tenant go on until it is resumed

Administrators pause their own tenant; operators any, by its slug. Starts are accepted and wait.
Returns {tenant_id, slug, name, status, is_paused, paused_at, paused_by}.$$;

create or replace function flowgres_api.resume_tenant(tenant text default null, reason text default null)
  returns jsonb language sql
as $$ select flowgres.resume_tenant(p_tenant => tenant, p_reason => reason); $$;
comment on function flowgres_api.resume_tenant(text, text) is $$Let a paused tenant go on

What was paused for itself stays so.
Returns {tenant_id, slug, name, status, is_paused, paused_at, paused_by}.$$;
