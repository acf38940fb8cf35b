-- Replays and comparisons, for clients.

set local role flowgres_owner;

create or replace function flowgres_api.replay_execution(
  execution_id uuid, input jsonb default null, from_step text default null, overrides jsonb default null, version integer default null,
  reason text default null
)
  returns jsonb language sql
as $$
  select flowgres.replay_execution(
    p_execution_id => execution_id, p_input => input, p_from_step => from_step, p_overrides => overrides, p_version => version,
    p_reason => reason);
$$;
comment on function flowgres_api.replay_execution(uuid, jsonb, text, jsonb, integer, text) is $$Start an execution anew, whole or from a step on

A new execution with the input, version, trigger, priority, correlation id and metadata of the original, unless input or version are
given. With from_step steps that it does not reach are not run: they are taken over as they ended, and overrides ({step: output}) gives them
other outputs. Returns {execution_id, status, created, replayed_from, version} with 201. 404 step_not_found; 422 override_not_kept,
override_not_possible, step_not_taken.$$;

create or replace function flowgres_api.compare_executions(a uuid, b uuid)
  returns jsonb language sql stable
as $$ select flowgres.compare_executions(p_a => a, p_b => b); $$;
comment on function flowgres_api.compare_executions(uuid, uuid) is $$Compare two executions

Of any versions or workflows; steps are matched by their ids. Returns {a: {id, version, status, workflow_name, error, replayed_from,
started_at, finished_at, duration_seconds}, b: {...}, input: {is_equal, differences: [{path, a, b}], omitted}, output: {...},
steps: [{step, differs, a: {status, branch, error, attempts, duration_seconds, reused_from}, b, output: {is_equal, differences, omitted}}]};
differs lists some of status, output, error, branch, duration. A value of more than 1,000 bytes is {omitted_bytes}.$$;
