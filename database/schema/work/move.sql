-- Advancing executions, fifth part: move the queue rows, hand ready steps over, wake parents.

set local role flowgres_owner;

create or replace function flowgres.share_of_tenant(p_state flowgres.advance_state, p_want integer)
  returns integer language plpgsql stable
as $$
declare
  v_tenant_id uuid := flowgres.system_tenant_id();
  v_waiting integer := 0;
  v_ours integer;
begin
  -- Tenants with ready steps, by skip scan: it stops at eight, so that it costs the same with a thousand.
  for i in 1..8 loop
    select q.tenant_id into v_tenant_id
    from flowgres.work_queue as q
    where q.capability = 'core' and q.runner_id is null and q.due_at is null and q.tenant_id > v_tenant_id
    order by q.capability, q.tenant_id
    limit 1;
    exit when v_tenant_id is null;
    v_waiting := v_waiting + (v_tenant_id <> all(p_state.tenant_ids))::integer;
  end loop;
  if v_waiting = 0 then
    return null;
  end if;
  select count(distinct t) into v_ours from unnest(p_state.tenant_ids) as t;
  -- A lease is one slot, however many steps were run ahead under it.
  return greatest((p_state.lease_count + greatest(p_want, 0)) / (v_waiting + v_ours), 1);
end;
$$;
comment on function flowgres.share_of_tenant(flowgres.advance_state, integer) is $$How many steps of one tenant may be handed over; null when no other tenant waits.$$;

create or replace function flowgres.move_ready(p_state flowgres.advance_state, p_share integer)
  returns setof flowgres.claimed_step language plpgsql
as $$
begin
  return query
  with ranked as materialized (
    select
      r.*, row_number() over (partition by r.queue_id, r.slot order by r.step_index) as place,
      (p_share is null or row_number() over (partition by r.tenant_id order by r.slot, r.step_index) <= p_share)
        and r.capability = any(p_state.capabilities) as is_handed
    from unnest(p_state.ready) as r
  ),
  moved as (
    -- In place, and without touching an indexed column when it is handed over: a heap-only update.
    update flowgres.work_queue as q
    set
      step_index = r.step_index, iteration = -1, capability = r.capability, token = q.token + 1,
      attempt = r.is_handed::integer, runner_id = case when r.is_handed then p_state.runner_id end,
      claimed_at = case when r.is_handed then p_state.now end, ready_at = p_state.now, is_announced = false, resume = null
    from ranked as r
    where r.place = 1 and q.tenant_id = r.tenant_id and q.execution_id = r.execution_id and q.id = r.queue_id
      and q.runner_id is not distinct from p_state.runner_id
    returning q.id, q.token, q.tenant_id, q.execution_id, q.version_id, q.step_index, q.iteration, q.attempt, q.generation,
      q.runner_id
  ),
  added as (
    insert into flowgres.work_queue as q (
      tenant_id, execution_id, version_id, runner_id, token, ready_at, claimed_at, step_index, attempt, generation, priority,
      capability)
    select
      r.tenant_id, r.execution_id, r.version_id, case when r.is_handed then p_state.runner_id end, 1, p_state.now,
      case when r.is_handed then p_state.now end, r.step_index, r.is_handed::integer,
      s.generation, s.priority, r.capability
    from ranked as r
    join flowgres.work_queue as s on s.tenant_id = r.tenant_id and s.execution_id = r.execution_id and s.id = r.queue_id
    where r.place > 1
    returning q.id, q.token, q.tenant_id, q.execution_id, q.version_id, q.step_index, q.iteration, q.attempt, q.generation,
      q.runner_id
  )
  select m.id, m.token, m.tenant_id, m.execution_id, m.version_id, m.step_index, m.iteration, m.attempt, m.generation,
    true, null::json, null::jsonb
  from moved as m
  where m.runner_id is not null
  union all
  select a.id, a.token, a.tenant_id, a.execution_id, a.version_id, a.step_index, a.iteration, a.attempt, a.generation,
    true, null::json, null::jsonb
  from added as a
  where a.runner_id is not null;
end;
$$;
comment on function flowgres.move_ready(flowgres.advance_state, integer) is $$Re-point queue rows at the steps that became ready; returns those handed over to this runner

The first child takes the row of the step that ended; further ones get rows of their own.$$;

create or replace function flowgres.settle_queue(p_state flowgres.advance_state)
  returns void language plpgsql
as $$
begin
  if p_state.done_slots is not null then
    delete from flowgres.work_queue as q
    using unnest(p_state.done_slots, p_state.done_queue_ids) as d (slot, queue_id)
    where q.tenant_id = p_state.tenant_ids[d.slot] and q.execution_id = p_state.execution_ids[d.slot] and q.id = d.queue_id
      and q.runner_id is not distinct from p_state.runner_id
      and d.queue_id not in (select r.queue_id from unnest(p_state.ready) as r);
  end if;

  if p_state.outcomes is null then
    return;
  end if;
  update flowgres.work_queue as q
  set
    runner_id = case when o.outcome = 'started' then q.runner_id end,
    due_at = o.due_at,
    -- A retry begins anew; a lost step goes on from where it was resumed.
    resume = case when o.outcome in ('suspended', 'child') then '{}'::jsonb when o.outcome <> 'retrying' then q.resume end,
    is_announced = o.outcome in ('started', 'suspended', 'child'),
    claimed_at = case when o.outcome = 'started' then q.claimed_at end,
    attempt = q.attempt + (o.outcome = 'lost' and o.is_resumed)::integer,
    -- Twice is no chance any more: one of those that were held together kills runners, and nobody knows which. From here
    -- on it goes to a runner without any other suspect, so that who merely stood beside it does not fail with it.
    capability = case
      when o.outcome = 'lost' and o.attempt + o.is_resumed::integer >= 2 and q.capability not like 'alone:%'
        then 'alone:' || q.capability
      else q.capability end
  from unnest(p_state.outcomes) as o
  where q.tenant_id = o.tenant_id and q.execution_id = o.execution_id and q.id = o.queue_id and o.edge is null
    and q.runner_id is not distinct from p_state.runner_id;
end;
$$;
comment on function flowgres.settle_queue(flowgres.advance_state) is $$Delete the rows of steps that ended, park those that wait or are tried again.$$;

create or replace function flowgres.wake_parent(p_tenant_id uuid, p_execution_id uuid)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  update flowgres.work_queue as q
  set
    due_at = null, ready_at = flowgres.now(), is_new = false,
    resume = jsonb_build_object('status', e.status, 'output', e.output, 'error', e.error, 'execution_id', e.id)
  from flowgres.executions as e
  where e.tenant_id = p_tenant_id and e.id = p_execution_id
    and q.tenant_id = e.tenant_id and q.execution_id = e.parent_execution_id and q.id = e.parent_queue_id
    and q.step_index = e.parent_step_index and q.runner_id is null and q.due_at is not null;
end;
$$;
comment on function flowgres.wake_parent(uuid, uuid) is $$Make the step that waits for this ended execution ready again, with the child's result.$$;
