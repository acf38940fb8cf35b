-- Repairing steps of executions that go on, as clients call it.

set local role flowgres_owner;

create or replace function flowgres_api.retry_step(execution_id uuid, step text, iteration integer default null, reason text default null)
  returns jsonb language sql
as $$
  select flowgres.retry_step(p_execution_id => execution_id, p_step => step, p_iteration => iteration, p_reason => reason);
$$;
comment on function flowgres_api.retry_step(uuid, text, integer, text) is $$Let a step be tried now

One that waits for its next attempt, for a time or for its next round goes on at once. One that a runner or a worker has, or that waits
for somebody (a signal, a decision, a child), loses that and begins anew, one attempt more even after its last. Nothing happens to one that
is ready. Errors: 404 execution_not_found and step_not_found, 409 execution_ended, step_ended, step_not_ready and step_iterates. Returns
{execution_id, step, iteration, type, status, output, error, attempts, ready_at, started_at, finished_at, due_at, waits_for, overrides}.$$;

create or replace function flowgres_api.skip_step(execution_id uuid, step text, iteration integer default null, reason text default null)
  returns jsonb language sql
as $$
  select flowgres.skip_step(p_execution_id => execution_id, p_step => step, p_iteration => iteration, p_reason => reason);
$$;
comment on function flowgres_api.skip_step(uuid, text, integer, text) is $$Skip a step that is ready, runs or waits

Whoever has it loses it. It ends skipped, and what depends on it goes on as after any step that was skipped. Of a foreach all iterations under
way are cancelled, unless one is named. Errors: 404 execution_not_found and step_not_found, 409 execution_ended, step_ended and
step_not_ready. Returns {execution_id, step, iteration, type, status, output, error, attempts, ready_at, started_at, finished_at, due_at, waits_for, overrides}.$$;

create or replace function flowgres_api.cancel_step(execution_id uuid, step text, iteration integer default null, reason text default null)
  returns jsonb language sql
as $$
  select flowgres.cancel_step(p_execution_id => execution_id, p_step => step, p_iteration => iteration, p_reason => reason);
$$;
comment on function flowgres_api.cancel_step(uuid, text, integer, text) is $$Cancel a step that is ready, runs or waits

As skip_step, but it ends cancelled. Errors: 404 execution_not_found and step_not_found, 409 execution_ended, step_ended and step_not_ready.
Returns {execution_id, step, iteration, type, status, output, error, attempts, ready_at, started_at, finished_at, due_at, waits_for, overrides}.$$;

create or replace function flowgres_api.complete_step(
  execution_id uuid, step text, output jsonb default null, iteration integer default null, reason text default null
)
  returns jsonb language sql
as $$
  select flowgres.finish_step(
    p_execution_id => execution_id, p_step => step, p_output => output, p_iteration => iteration, p_reason => reason);
$$;
comment on function flowgres_api.complete_step(uuid, text, jsonb, integer, text) is $$Complete a step that is ready, runs or waits, with an output

Whoever has it loses it; the next steps see the output as if it had given that. Of a condition the output is true or false, of a switch the name
of a branch (case 1, default). Errors: 404 execution_not_found and step_not_found, 409 execution_ended, step_ended and step_not_ready, 413
output_too_large, 422 branch_unknown. Returns {execution_id, step, iteration, type, status, output, error, attempts, ready_at, started_at,
finished_at, due_at, waits_for, overrides}.$$;

create or replace function flowgres_api.fail_step(
  execution_id uuid, step text, error jsonb default null, iteration integer default null, reason text default null
)
  returns jsonb language sql
as $$
  select flowgres.fail_step(
    p_execution_id => execution_id, p_step => step, p_error => error, p_iteration => iteration, p_reason => reason);
$$;
comment on function flowgres_api.fail_step(uuid, text, jsonb, integer, text) is $$Let a step that is ready, runs or waits fail, without another attempt

error is a text, or {code, message, details}. What follows is as after any failure: its on_error, steps that handle it, or the end of the
execution. Errors: 400 argument_invalid, 404 execution_not_found and step_not_found, 409 execution_ended, step_ended and step_not_ready.
Returns {execution_id, step, iteration, type, status, output, error, attempts, ready_at, started_at, finished_at, due_at, waits_for, overrides}.$$;

create or replace function flowgres_api.update_step(
  execution_id uuid, step text, changes jsonb, iteration integer default null, reason text default null
)
  returns jsonb language sql
as $$
  select flowgres.update_step(
    p_execution_id => execution_id, p_step => step, p_changes => changes, p_iteration => iteration, p_reason => reason);
$$;
comment on function flowgres_api.update_step(uuid, text, jsonb, integer, text) is $$Change the policy of a step that is ready, runs or waits, in this execution alone

changes has retry, timeout and on_error, as a step of a definition has them; what it does not name stays. An attempt that runs keeps its
time. Errors: 404 execution_not_found and step_not_found, 409 execution_ended, step_ended and step_not_ready, 422 changes_invalid and
change_impossible. Returns {execution_id, step, iteration, type, status, output, error, attempts, ready_at, started_at, finished_at, due_at,
waits_for, overrides}.$$;
