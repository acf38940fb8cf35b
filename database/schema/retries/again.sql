-- What runs first in the next generation of an execution: children that are retried, iterations, and the steps that what is left makes ready.

set local role flowgres_owner;

create or replace function flowgres.find_retried_children(
  p_tenant_id uuid, p_execution_ids uuid[], p_step_indexes smallint[], p_lists boolean[], p_waits boolean
)
  returns flowgres.retried_child[] language plpgsql
as $$
declare
  v_found flowgres.retried_child[];
  v_ids uuid[];
begin
  select array_agg(row(s.execution_id, s.step_index, s.iteration, c.id, null)::flowgres.retried_child)
  into v_found
  from unnest(p_execution_ids, p_step_indexes, p_lists) as r (execution_id, step_index, is_list)
  cross join lateral (
    select s.execution_id, s.step_index, s.iteration, s.child_execution_id
    from flowgres.step_executions as s
    where s.tenant_id = p_tenant_id and s.execution_id = r.execution_id and s.step_index = r.step_index
      and r.is_list = (s.iteration >= 0) and s.child_execution_id is not null and s.status in ('failed', 'cancelled')
      -- A round is not the one that its child was for.
      and s.round is null
    offset 0
  ) as s
  cross join lateral (
    select e.version_id from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = s.execution_id offset 0
  ) as e
  join flowgres.workflow_steps as w
    on w.tenant_id = p_tenant_id and w.version_id = e.version_id and w.index = s.step_index and w.section = 'steps'
      and w.type = 'sub_workflow'
  cross join lateral (
    select c.id from flowgres.executions as c
    where c.tenant_id = p_tenant_id and c.id = s.child_execution_id and c.parent_execution_id = s.execution_id
      and c.parent_queue_id is not null and c.finished_at is not null
    offset 0
  ) as c;
  if v_found is null then
    return null;
  end if;
  if p_waits then
    v_ids := array(
      select e.id from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = any(array(select f.child_id from unnest(v_found) as f))
      order by e.id
      for no key update);
  else
    v_ids := array(
      select e.id from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = any(array(select f.child_id from unnest(v_found) as f))
      order by e.id
      for no key update skip locked);
  end if;
  -- What one cannot do again (it has undone its steps, it was stopped) another one does; also where it ran in the place of a limit that
  -- its caller has to wait for first.
  return (
    select array_agg(row(f.execution_id, f.step_index, f.iteration, f.child_id, c.status)::flowgres.retried_child)
    from unnest(v_found) as f
    cross join lateral (
      select c.status from flowgres.executions as c
      where c.tenant_id = p_tenant_id and c.id = f.child_id and c.finished_at is not null
      offset 0
    ) as c
    where f.child_id = any(v_ids) and (c.status = 'completed' or f.child_id not in (
      select r.execution_id from flowgres.retry_refusals(p_tenant_id => p_tenant_id, p_execution_ids => v_ids) as r
      where not r.is_child) and not flowgres.is_in_place_of_caller(p_tenant_id => p_tenant_id, p_execution_id => f.child_id)));
end;
$$;
comment on function flowgres.find_retried_children(uuid, uuid[], smallint[], boolean[], boolean) is $$Steps among these that go on with the child they had, whose lock is held then

With one that can be retried, or that has completed meanwhile.$$;

create or replace function flowgres.park_for_children(
  p_tenant_id uuid, p_children flowgres.retried_child[], p_now timestamptz, p_version_id uuid
)
  returns table (execution_id uuid, child_id uuid, queue_id bigint) language plpgsql
as $$
begin
  if p_children is null then
    return;
  end if;
  return query
  with waiting as materialized (
    select
      c.*, coalesce(p_version_id, e.version_id) as version_id, e.generation + 1 as generation, e.priority, w.capability,
      case when c.child_status <> 'completed' then coalesce(p_now + make_interval(secs => w.timeout_seconds), 'infinity') end as due_at,
      e.status = 'paused' as is_paused
    from unnest(p_children) as c
    cross join lateral (
      select e.version_id, e.generation, e.priority, e.status from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = c.execution_id
      offset 0
    ) as e
    join flowgres.workflow_steps as w
      on w.tenant_id = p_tenant_id and w.version_id = coalesce(p_version_id, e.version_id) and w.index = c.step_index
  ),
  reopened as (
    update flowgres.step_executions as s
    set
      status = case when w.due_at is null then 'ready' else 'waiting' end, edge = null, untaken = null, finished_at = null, output = null,
      error = null, seq = null, is_logged = true, attempts = 1, generation = w.generation, due_at = nullif(w.due_at, 'infinity')
    from waiting as w
    where s.tenant_id = p_tenant_id and s.execution_id = w.execution_id and s.step_index = w.step_index and s.iteration = w.iteration
  ),
  queued as (
    insert into flowgres.work_queue as q (
      tenant_id, execution_id, version_id, due_at, waits_for, ready_at, step_index, iteration, attempt, generation, priority, capability,
      resume, held, held_for)
    select
      p_tenant_id, w.execution_id, w.version_id, w.due_at, case when w.due_at is not null then 'child:' || w.child_id end, p_now,
      w.step_index, w.iteration, 1, w.generation, w.priority, w.capability,
      case when w.due_at is not null then '{}'
        else jsonb_build_object('status', w.child_status, 'execution_id', w.child_id) end,
      w.is_paused, case when w.is_paused then w.execution_id end
    from waiting as w
    returning q.execution_id, q.id, q.step_index, q.iteration
  )
  select w.execution_id, w.child_id, q.id
  from queued as q
  join waiting as w on w.execution_id = q.execution_id and w.step_index = q.step_index and w.iteration = q.iteration
  where w.due_at is not null;
end;
$$;
comment on function flowgres.park_for_children is $$Let steps wait for their children again, or go on with what these have completed with

Returns the children that are to be retried, and the rows of the queue that wait for them.$$;

create or replace function flowgres.judge_again(p_children flowgres.retried_child[], inout p_state flowgres.advance_state)
  language plpgsql
as $$
begin
  select array_agg(flowgres.make_resolved_step(
    p_slot => x.slot::integer, p_queue_id => null, p_step_index => s.step_index, p_step => s.step, p_join_rule => w.join_rule,
    p_children => m.children, p_untaken => s.untaken, p_edge => s.edge, p_outcome => s.status) order by x.slot, s.step_index)
  into p_state.frontier
  from unnest(p_state.tenant_ids, p_state.execution_ids, p_state.version_ids) with ordinality as x (tenant_id, id, version_id, slot)
  cross join lateral (
    select s.step_index, s.step, s.untaken, s.edge, s.status
    from flowgres.step_executions as s
    where s.tenant_id = x.tenant_id and s.execution_id = x.id and s.iteration = -1 and s.edge is not null
    offset 0
  ) as s
  join flowgres.workflow_steps as w
    on w.tenant_id = x.tenant_id and w.version_id = x.version_id and w.index = s.step_index and w.section = 'steps'
  cross join lateral (
    select array_agg(c.index order by c.index) as children
    from unnest(w.children) as c (index)
    where not exists (
      select from flowgres.step_executions as r
      where r.tenant_id = x.tenant_id and r.execution_id = x.id and r.step_index = c.index and r.iteration = -1)
  ) as m
  where m.children is not null;

  select array_agg(flowgres.make_ready_step(
    p_slot => r.slot, p_queue_id => null, p_step_index => r.step_index, p_capability => r.capability,
    p_only_computes => flowgres.only_computes(r.type), p_iteration => r.iteration) order by r.slot, r.step_index, r.iteration)
  into p_state.ready
  from (
    select x.slot::integer as slot, w.index as step_index, w.capability, w.type, -1 as iteration
    from unnest(p_state.tenant_ids, p_state.execution_ids, p_state.version_ids) with ordinality as x (tenant_id, id, version_id, slot)
    join flowgres.workflow_steps as w
      on w.tenant_id = x.tenant_id and w.version_id = x.version_id and w.section = 'steps' and w.dependencies = '{}'
    where not exists (
      select from flowgres.step_executions as s
      where s.tenant_id = x.tenant_id and s.execution_id = x.id and s.step_index = w.index and s.iteration = -1)
    union all
    select x.slot::integer, w.index, w.capability, w.type, i.iteration
    from unnest(p_state.tenant_ids, p_state.execution_ids, p_state.version_ids) with ordinality as x (tenant_id, id, version_id, slot)
    cross join lateral (
      select s.step_index, s.redo, s.next_item - s.done_count as started_count
      from flowgres.step_executions as s
      where s.tenant_id = x.tenant_id and s.execution_id = x.id and s.iteration = -1 and s.finished_at is null and s.redo is not null
      offset 0
    ) as s
    join flowgres.workflow_steps as w on w.tenant_id = x.tenant_id and w.version_id = x.version_id and w.index = s.step_index
    cross join lateral unnest(s.redo[:s.started_count]) as i (iteration)
    where not exists (
      select from unnest(p_children) as c
      where c.execution_id = x.id and c.step_index = s.step_index and c.iteration = i.iteration)
  ) as r;
end;
$$;
comment on function flowgres.judge_again(flowgres.retried_child[], flowgres.advance_state) is $$What an execution that goes on begins with

First steps and iterations are ready at once; the frontier is what has ended of which a child is to be judged.$$;

create or replace function flowgres.put_off(p_tenant_id uuid, p_execution_ids uuid[], p_due_at timestamptz[])
  returns void language plpgsql
as $$
begin
  update flowgres.work_queue as q
  set due_at = x.due_at, waits_for = 'retry'
  from unnest(p_execution_ids, p_due_at) as x (id, due_at)
  where q.tenant_id = p_tenant_id and q.execution_id = x.id and q.runner_id is null and q.due_at is null;
  -- The wait is no active time.
  update flowgres.executions as e
  set
    status = case when e.status = 'paused' then e.status else flowgres.derive_status(p_tenant_id => e.tenant_id, p_execution_id => e.id) end,
    active_since = null, active_seconds = 0,
    deadline_at = null
  where e.tenant_id = p_tenant_id and e.id = any(p_execution_ids) and e.finished_at is null;
end;
$$;
comment on function flowgres.put_off(uuid, uuid[], timestamptz[]) is $$What is ready of these executions is due later, as steps that are tried again are.$$;
