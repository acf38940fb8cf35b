-- Advancing executions, third part: the steps that are not done at their first report, and failures that end an execution.

set local role flowgres_owner;

create or replace function flowgres.record_unusual(p_state flowgres.advance_state)
  returns void language plpgsql
as $$
begin
  insert into flowgres.step_executions as s (
    tenant_id, execution_id, step_index, iteration, attempts, step, type, status, edge, untaken, runner_id,
    child_execution_id, ready_at, started_at, finished_at, due_at, output, error)
  select
    o.tenant_id, o.execution_id, o.step_index, o.iteration, o.attempt, o.step, o.step_type,
    case o.outcome
      when 'suspended' then 'waiting' when 'child' then 'waiting' when 'started' then 'running' when 'lost' then 'ready'
      else o.outcome
    end,
    o.edge, o.untaken, p_state.runner_id, o.child_execution_id, o.ready_at,
    case when o.outcome <> 'skipped' then o.began_at end,
    case when o.edge is not null then p_state.now end,
    nullif(o.due_at, 'infinity'), o.output, o.error
  from unnest(p_state.outcomes) as o
  where o.edge is null or o.is_recorded
  on conflict (tenant_id, execution_id, step_index, iteration) do update
  set
    attempts = excluded.attempts, status = excluded.status, edge = excluded.edge, untaken = excluded.untaken,
    runner_id = excluded.runner_id, child_execution_id = coalesce(excluded.child_execution_id, s.child_execution_id),
    started_at = coalesce(s.started_at, excluded.started_at), finished_at = excluded.finished_at,
    due_at = excluded.due_at, output = excluded.output, error = excluded.error;

  insert into flowgres.attempts as a (
    tenant_id, execution_id, step_index, iteration, generation, attempt, step, status, runner_id, started_at,
    finished_at, error, detail)
  select
    o.tenant_id, o.execution_id, o.step_index, o.iteration, o.generation, o.attempt, o.step,
    case
      when o.error ->> 'code' = 'lease_expired' then 'lost' when o.outcome in ('failed', 'retrying') then 'failed' else 'completed'
    end,
    p_state.runner_id, o.began_at, p_state.now, o.error, o.detail
  from unnest(p_state.outcomes) as o
  where o.outcome in ('failed', 'retrying', 'lost') or (o.outcome = 'completed' and o.detail is not null)
  on conflict (tenant_id, execution_id, step_index, iteration, generation, attempt) do update
  set status = excluded.status, finished_at = excluded.finished_at, error = excluded.error, detail = excluded.detail;
end;
$$;
comment on function flowgres.record_unusual(flowgres.advance_state) is $$Write the steps that go on or were written before, and the tries that say more than their step's own row

An edge means the end: only terminal outcomes have one.$$;

create or replace function flowgres.begin_failing(inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_cancelled flowgres.resolved_step[];
begin
  -- The first unhandled failure of an execution names its error.
  select jsonb_object_agg(f.slot, f.error) into p_state.failing_errors
  from (
    select distinct on (o.slot) o.slot, o.error || jsonb_build_object('step', o.step) as error
    from unnest(p_state.outcomes) as o
    where o.is_unhandled and not p_state.failing_flags[o.slot]
    order by o.slot, o.queue_id
  ) as f;
  if p_state.failing_errors is null then
    return;
  end if;

  with failing as materialized (
    select distinct on (o.slot) o.slot, o.tenant_id, o.execution_id, o.version_id, o.queue_id
    from unnest(p_state.outcomes) as o
    where p_state.failing_errors ? o.slot::text
    order by o.slot, o.is_unhandled desc
  ),
  doomed as materialized (
    select f.*, w.index, w.id, w.type, w.children
    from failing as f
    join flowgres.workflow_steps as w on w.tenant_id = f.tenant_id and w.version_id = f.version_id
    where w.join_rule <> 'always'
      and not exists (
        select from flowgres.step_executions as s
        where s.tenant_id = f.tenant_id and s.execution_id = f.execution_id and s.step_index = w.index
          and s.iteration = -1 and s.finished_at is not null)
  ),
  cancelled as (
    insert into flowgres.step_executions as s (
      tenant_id, execution_id, step_index, step, type, status, edge, finished_at)
    select d.tenant_id, d.execution_id, d.index, d.id, d.type, 'cancelled', 'dead', p_state.now
    from doomed as d
    on conflict (tenant_id, execution_id, step_index, iteration) do update
    set status = 'cancelled', edge = 'dead', finished_at = p_state.now, due_at = null
    returning s.tenant_id, s.execution_id, s.child_execution_id
  ),
  orphaned as (
    insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason)
    select c.tenant_id, c.child_execution_id, p_state.now, 'the parent failed'
    from cancelled as c
    where c.child_execution_id is not null
    on conflict (tenant_id, execution_id) do nothing
  ),
  dropped as (
    -- Running steps lose their lease and are aborted at their runner's next heartbeat.
    delete from flowgres.work_queue as q
    using doomed as d
    where q.tenant_id = d.tenant_id and q.execution_id = d.execution_id and q.step_index = d.index
  )
  select array_agg(
    row(d.slot, d.tenant_id, d.execution_id, d.version_id, d.queue_id, d.index, d.id, d.children, null, 'dead', 'cancelled')
    ::flowgres.resolved_step)
  into v_cancelled
  from doomed as d;

  select array_agg(case when p_state.failing_errors ? i::text then true else p_state.failing_flags[i] end order by i)
  into p_state.failing_flags
  from generate_subscripts(p_state.failing_flags, 1) as i;
  -- What was running or waiting there may be gone: only the queue can tell now.
  p_state.moving_slots := array(select m.slot from unnest(p_state.moving_slots) as m (slot) where not p_state.failing_flags[m.slot]);
  p_state.ended := p_state.ended || v_cancelled;
end;
$$;
comment on function flowgres.begin_failing(flowgres.advance_state) is $$Turn executions with an unhandled failure towards their end

Steps that have not ended are cancelled, except those that join always.$$;
