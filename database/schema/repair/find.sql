-- The steps that somebody acts upon: found by their names, and judged under the locks of their executions.

set local role flowgres_owner;

create or replace function flowgres.find_targets(
  p_state flowgres.advance_state, p_execution_ids uuid[], p_steps text[], p_iterations integer[]
)
  returns flowgres.step_target[] language plpgsql set search_path to pg_catalog, pg_temp
  -- Hundreds of rows look like millions to the planner; compiling for them takes longer than all else.
  set jit to off
as $$
declare
  -- Variables of their own: an element of an array within a composite is read from a copy of all of it.
  v_execution_ids uuid[] := p_state.execution_ids;
  v_tenant_ids uuid[] := p_state.tenant_ids;
  v_version_ids uuid[] := p_state.version_ids;
  v_generations smallint[] := p_state.generations;
  v_priorities smallint[] := p_state.priorities;
begin
  -- The rows of the queue in their order; then they are looked at. Who claims one meanwhile was quicker: then it is leased.
  perform
  from (
    select e.tenant_id, e.id, e.version_id, array_agg(distinct (regexp_match(a.step, '^(.+?)(\[[0-9]{1,9}\])?$'))[1]) as steps
    from unnest(v_execution_ids, v_tenant_ids, v_version_ids) as e (id, tenant_id, version_id)
    join unnest(p_execution_ids, p_steps) as a (execution_id, step) on a.execution_id = e.id
    group by e.tenant_id, e.id, e.version_id
    order by e.id
  ) as x
  cross join lateral (
    select q.id
    from flowgres.work_queue as q
    where q.tenant_id = x.tenant_id and q.execution_id = x.id and q.step_index in (
      select w.index from flowgres.workflow_steps as w
      where w.tenant_id = x.tenant_id and w.version_id = x.version_id and w.id = any(x.steps))
    order by q.id
    for update
  ) as q;
  return (
    with asked as materialized (
      select
        a.place::integer, a.execution_id, s.slot::integer, v_tenant_ids[s.slot] as tenant_id, v_version_ids[s.slot] as version_id,
        coalesce(n.named[1], a.step) as step, coalesce(a.iteration, n.named[2]::integer, -1) as iteration
      from unnest(p_execution_ids, p_steps, p_iterations) with ordinality as a (execution_id, step, iteration, place)
      cross join lateral (select regexp_match(a.step, '^(.+)\[([0-9]{1,9})\]$') as named) as n
      left join unnest(v_execution_ids) with ordinality as s (id, slot) on s.id = a.execution_id
    ),
    named as materialized (
      select
        a.*, w.index, w.id, w.type, w.capability, w.config, w.iterates is not null as is_list,
        row_number() over (partition by a.execution_id order by a.place) as turn
      from asked as a
      left join lateral (
        select w.index, w.id, w.type, w.capability, w.config, w.iterates
        from flowgres.workflow_steps as w
        where w.tenant_id = a.tenant_id and w.version_id = a.version_id and w.id = a.step and w.type <> 'outputs'
        offset 0
      ) as w on true
    )
    select array_agg(
      row(
        n.place, n.slot, n.tenant_id, n.execution_id, n.version_id, n.index, n.iteration, coalesce(n.id, n.step), n.type, n.capability, r.status, r.item_count,
        h.id, h.token, h.runner_id, coalesce(h.attempt, r.attempts), coalesce(h.generation, v_generations[n.slot]),
        coalesce(h.priority, v_priorities[n.slot]), h.claimed_at, h.waits_for,
        h.runner_id is not null or h.resume is not null and h.waits_for is distinct from 'retry',
        h.runner_id is not null and not h.is_announced, n.config,
        case
          when n.slot is null then 'execution_ended'
          when n.index is null or n.iteration < -1 or n.iteration >= 0 and not n.is_list then 'step_not_found'
          when r.finished_at is not null then 'step_ended'
          -- What becomes of one may end another.
          when n.turn > 1 then 'execution_named_twice'
          when h.id is not null or n.iteration = -1 and r.item_count is not null then null
          when n.iteration >= 0 and n.iteration >= coalesce((
            select f.item_count from flowgres.step_executions as f
            where f.tenant_id = n.tenant_id and f.execution_id = n.execution_id and f.step_index = n.index and f.iteration = -1), 0)
            then 'step_not_found'
          else 'step_not_ready'
        end
      )::flowgres.step_target
      order by n.place)
    from named as n
    left join lateral (
      select q.*
      from flowgres.work_queue as q
      where q.tenant_id = n.tenant_id and q.execution_id = n.execution_id and q.step_index = n.index and q.iteration = n.iteration
      offset 0
    ) as h on true
    left join lateral (
      select s.status, s.attempts, s.item_count, s.finished_at
      from flowgres.step_executions as s
      where s.tenant_id = n.tenant_id and s.execution_id = n.execution_id and s.step_index = n.index and s.iteration = n.iteration
      offset 0
    ) as r on true);
end;
$$;
comment on function flowgres.find_targets(flowgres.advance_state, uuid[], text[], integer[]) is $$Steps by their names, one of an execution of the state each; locks their rows in the queue

A name may have the iteration in it, such as hold[3]. The answer is in the order of the arguments.$$;

create or replace function flowgres.describe_target(p_target flowgres.step_target)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_label text := flowgres.step_label(left((p_target).step, 100), (p_target).iteration);
begin
  return jsonb_build_object('execution_id', (p_target).execution_id, 'step', v_label, 'code', (p_target).code) || case (p_target).code
    when 'execution_ended' then jsonb_build_object(
      'status', 409, 'message', format('execution %s has ended', (p_target).execution_id),
      'hint', 'Steps are repaired while their execution goes on; retry_execution has one that failed go on.')
    when 'step_ended' then jsonb_build_object(
      'status', 409, 'message', format('the step "%s" has ended already: %s', v_label, (p_target).status),
      'hint', 'What has ended stays as it is.')
    when 'step_not_ready' then jsonb_build_object(
      'status', 409, 'message', format('the step "%s" is not ready yet', v_label),
      'hint', 'Act on the steps that it waits for, or on this one when it has its turn.')
    when 'step_iterates' then jsonb_build_object(
      'status', 409, 'message', format('the step "%s" runs once for each item of a list', v_label),
      'hint', format('Name an iteration: %s[0].', (p_target).step))
    when 'execution_named_twice' then jsonb_build_object(
      'status', 409, 'message', format('execution %s is named twice', (p_target).execution_id), 'hint', 'One step of an execution at a time.')
    when 'branch_unknown' then jsonb_build_object(
      'status', 422, 'message', format('the output must say which way the step "%s" has taken', v_label),
      'hint', case (p_target).step_type when 'condition' then 'true or false: {"output": true}.'
        else 'The name of a branch, such as {"output": {"branch": "case 1"}}, or "default".' end)
    else jsonb_build_object(
      'status', 404, 'message', format('this execution has no step "%s"', v_label),
      'hint', 'get_execution lists its steps; an iteration of a foreach is named hold[3].') end;
end;
$$;
comment on function flowgres.describe_target(flowgres.step_target) is $$Why somebody cannot act upon a step: {execution_id, step, code, status, message, hint}.$$;

create or replace function flowgres.describe_step(p_tenant_id uuid, p_execution_id uuid, p_step text, p_iteration integer)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_named text[] := regexp_match(p_step, '^(.+)\[([0-9]{1,9})\]$');
  v_step text := coalesce(v_named[1], p_step);
  v_iteration integer := coalesce(p_iteration, v_named[2]::integer, -1);
begin
  return (
    select
      jsonb_build_object(
        'execution_id', e.id, 'step', w.id, 'iteration', nullif(v_iteration, -1), 'type', w.type, 'section', w.section,
        'status', case
          when s.finished_at is not null then s.status
          when q.runner_id is not null then 'running'
          when q.id is not null and q.due_at is null then 'ready'
          else coalesce(s.status, 'pending') end,
        'output', s.output, 'error', s.error, 'attempts', greatest(coalesce(s.attempts, 0), coalesce(q.attempt, 0)),
        'ready_at', coalesce(q.ready_at, s.ready_at, s.started_at), 'started_at', coalesce(s.started_at, q.claimed_at),
        'finished_at', s.finished_at, 'due_at', case when q.runner_id is null and isfinite(q.due_at) then q.due_at end,
        'child_execution_id', s.child_execution_id,
        'items', case when s.item_count is not null then jsonb_build_object(
          'count', s.item_count, 'done', s.done_count, 'failed', s.failed_count) end)
      || jsonb_build_object(
        'round', s.round, 'waits_for', case when q.runner_id is null then q.waits_for end, 'overrides', q.overrides)
    from flowgres.executions as e
    join flowgres.workflow_steps as w
      on w.tenant_id = e.tenant_id and w.version_id = e.version_id and w.id = v_step and w.type <> 'outputs'
    left join flowgres.step_executions as s
      on s.tenant_id = e.tenant_id and s.execution_id = e.id and s.step_index = w.index and s.iteration = v_iteration
    left join flowgres.work_queue as q
      on q.tenant_id = e.tenant_id and q.execution_id = e.id and q.step_index = w.index and q.iteration = v_iteration
    where e.tenant_id = p_tenant_id and e.id = p_execution_id);
end;
$$;
comment on function flowgres.describe_step(uuid, uuid, text, integer) is $$A step of an execution, or an iteration of one, as acts upon it answer.$$;
