-- Chains that are as plain as they look: those that end their execution, and those after which it goes on.

set local role flowgres_owner;

-- One query without a search_path of its own: it is inlined where it stands.
create or replace function flowgres.chain_steps(
  p_outputs jsonb, p_indexes smallint[], p_steps text[], p_types text[], p_ready_at timestamptz, p_now timestamptz, p_seq integer
)
  returns table (
    step_index smallint, step text, type text, attempts smallint, ready_at timestamptz, started_at timestamptz, output jsonb, seq integer
  )
  language sql stable parallel safe
as $$
  select
    p_indexes[a.i], p_steps[a.i], p_types[a.i],
    -- Whatever is no pair has no attempts, which is refused.
    case when jsonb_array_length(a.step) = 2 then 1::smallint end,
    -- Those that were run ahead became ready when they began.
    case when a.i = 1 then p_ready_at end,
    p_now - greatest((a.step ->> 0)::double precision, 0) * interval '1 ms', a.step -> 1,
    case when p_types[a.i] <> 'outputs' then p_seq + 2 * a.i::integer end
  from jsonb_array_elements(p_outputs) with ordinality as a (step, i);
$$;
comment on function flowgres.chain_steps is $$The steps of a chain that completed, as far as they differ; p_seq is the number before its first event.$$;

create or replace function flowgres.finish_chains(p_runner_id uuid, p_chains flowgres.reported_chain[])
  returns integer[] language plpgsql
as $$
declare
  v_now timestamptz;
  v_seqs integer[];
  v_event_seqs integer[];
  v_has_any boolean;
  v_first uuid;
  v_last uuid;
  v_done integer[];
  v_tenant_ids uuid[];
  v_woken uuid[];
  v_is_awaited boolean;
  v_told_tenants uuid[];
  v_told uuid[];
  v_traced_tenants uuid[];
  v_traced uuid[];
  v_followed_tenants uuid[];
  v_followed uuid[];
begin
  select c.execution_id into v_first from unnest(p_chains) as c order by c.execution_id limit 1;
  select c.execution_id into v_last from unnest(p_chains) as c order by c.execution_id desc limit 1;
  -- Locks in the order of the ids, as the chains come, and for nobody's sake waited for. What is looked at here holds until the
  -- end. The numbers before the first events of each chain, -1 for one that is not plain: arrays beside each other need no join.
  select array_agg(f.seq order by f.i), array_agg(f.event_seq order by f.i), bool_or(f.seq >= 0)
  into v_seqs, v_event_seqs, v_has_any
  from (
    select
      c.i, l.event_seq,
      case when l.finished_at is null and l.phase = 'run' and l.version_id = c.version_id
        and l.resolved_count + c.step_count = l.step_count + l.hidden_step_count
        -- The number of the first event is 1: no row needs to tell of it.
        and (l.started_at is not null or l.event_seq = 0)
        then l.event_seq + (l.started_at is null)::integer else -1 end as seq
    from unnest(p_chains) with ordinality as c (
      place, tenant_id, execution_id, queue_id, token, version_id, head, step_count, outputs, indexes, steps, types, event_count,
      children, opens, open_capabilities, open_computes, i)
    left join lateral (
      select e.event_seq, e.started_at, e.finished_at, e.phase, e.version_id, e.resolved_count, e.step_count, e.hidden_step_count
      from flowgres.executions as e
      where e.tenant_id = c.tenant_id and e.id = c.execution_id and e.id between v_first and v_last
      for no key update skip locked
    ) as l on true
  ) as f;
  if not v_has_any then
    return '{}';
  end if;
  v_now := flowgres.now();
  with done as (
    -- The delete is the fence. To lock the row first, and pass over one that somebody holds, would be a record of WAL more for each
    -- lease: only its own runner that gives it back, or a person, holds a leased row; the call gives up after its lock_timeout.
    delete from flowgres.work_queue as q
    using (
      select c.*, v_seqs[c.i] as seq
      from unnest(p_chains) with ordinality as c (
        place, tenant_id, execution_id, queue_id, token, version_id, head, step_count, outputs, indexes, steps, types, event_count,
        children, opens, open_capabilities, open_computes, i)
      where v_seqs[c.i] >= 0
    ) as c
    where q.tenant_id = c.tenant_id and q.execution_id = c.execution_id and q.id = c.queue_id
      and q.runner_id is not distinct from p_runner_id and q.token = c.token and q.step_index = c.head
      and flowgres.is_untold(q)
    returning c.*, q.ready_at
  ),
  written as (
    insert into flowgres.step_executions (
      tenant_id, execution_id, runner_id, finished_at, status, edge, step_index, step, type, attempts, ready_at, started_at, output,
      seq)
    select d.tenant_id, d.execution_id, p_runner_id, v_now, 'completed', 'taken', s.*
    from done as d
    cross join lateral flowgres.chain_steps(
      p_outputs => d.outputs, p_indexes => d.indexes, p_steps => d.steps, p_types => d.types,
      p_ready_at => d.ready_at, p_now => v_now, p_seq => d.seq) as s
  ),
  ended as (
    update flowgres.executions as e
    set
      event_seq = d.seq + d.event_count + 1,
      resolved_count = e.resolved_count + d.step_count, completed_count = e.completed_count + d.step_count,
      started_at = coalesce(
        e.started_at, v_now - greatest((d.outputs -> 0 ->> 0)::double precision, 0) * interval '1 ms'),
      status = 'completed', finished_at = v_now, deadline_at = null, active_since = null,
      active_seconds = e.active_seconds + coalesce(extract(epoch from v_now - e.active_since), 0),
      output = case when e.hidden_step_count > 0 then d.outputs -> -1 -> 1
        else jsonb_build_object(d.steps[d.step_count], d.outputs -> -1 -> 1) end
    from done as d
    where e.tenant_id = d.tenant_id and e.id = d.execution_id and e.id between v_first and v_last
    returning d.place, e.tenant_id, e.id, e.parent_execution_id, e.is_awaited, e.trigger_type
  )
  select
    array_agg(n.place), array_agg(n.tenant_id) filter (where n.parent_execution_id is not null),
    array_agg(n.id) filter (where n.parent_execution_id is not null), bool_or(n.is_awaited),
    -- Mostly nobody is told of anything, and to see that is one look a statement.
    array_agg(n.tenant_id) filter (where n.is_told), array_agg(n.id) filter (where n.is_told),
    array_agg(n.tenant_id) filter (where n.is_traced), array_agg(n.id) filter (where n.is_traced),
    array_agg(n.tenant_id) filter (where n.trigger_type = 'transition'), array_agg(n.id) filter (where n.trigger_type = 'transition')
  into
    v_done, v_tenant_ids, v_woken, v_is_awaited, v_told_tenants, v_told, v_traced_tenants, v_traced, v_followed_tenants, v_followed
  from (
    select
      e.*,
      (select exists (select from flowgres.notifications))
      and exists (select from flowgres.notifications as n where n.tenant_id = e.tenant_id) as is_told,
      (select exists (select from flowgres.trace_exports)) as is_traced
    from ended as e
  ) as n;
  if v_is_awaited then perform flowgres.tell_ends(); end if;
  if exists (select from flowgres.stream_watches) then
    perform flowgres.tell_streams(
      p_tenant_ids => array_agg(c.tenant_id), p_execution_ids => array_agg(c.execution_id),
      p_event_seqs => array_agg(v_event_seqs[c.i]), p_now => v_now)
    from (
      select c.tenant_id, c.execution_id, c.i
      from unnest(p_chains) with ordinality as c (
        place, tenant_id, execution_id, queue_id, token, version_id, head, step_count, outputs, indexes, steps, types, event_count,
        children, opens, open_capabilities, open_computes, i)
      where c.place = any(v_done)
    ) as c;
  end if;
  if v_woken is not null then
    perform flowgres.wake_parked(p_tenant_ids => v_tenant_ids, p_child_ids => v_woken);
  end if;
  if v_told is not null then
    perform flowgres.tell_of(p_tenant_ids => v_told_tenants, p_execution_ids => v_told);
  end if;
  if v_traced is not null then
    perform flowgres.keep_ends(p_tenant_ids => v_traced_tenants, p_execution_ids => v_traced);
  end if;
  if v_followed is not null then
    perform flowgres.follow_ends(p_tenant_ids => v_followed_tenants, p_execution_ids => v_followed);
  end if;
  return coalesce(v_done, '{}');
end;
$$;
comment on function flowgres.finish_chains(uuid, flowgres.reported_chain[]) is $$Record chains after which nothing of their execution is left; returns the places of those that were as plain as that

Two statements for any number of them: the first takes the locks and says which are plain, the second deletes their rows from the
queue, writes the steps and ends the executions. The others are untouched: somebody holds their execution, the lease is gone, it
is no first attempt, or more is left to do.$$;

create or replace function flowgres.advance_chains(
  p_runner_id uuid,
  p_chains flowgres.reported_chain[],
  p_capabilities text[],
  p_want integer,
  p_room integer,
  out p_done integer[],
  out p_handed flowgres.claimed_step[]
)
  language plpgsql
as $$
declare
  v_state flowgres.advance_state;
  v_recorded record;
  v_tenant_ids uuid[];
  v_execution_ids uuid[];
begin
  p_done := '{}';
  v_state.runner_id := p_runner_id;
  v_state.capabilities := p_capabilities;
  select array_agg(x.tenant_id), array_agg(x.execution_id) into v_tenant_ids, v_execution_ids
  from (select distinct c.tenant_id, c.execution_id from unnest(p_chains) as c) as x;
  v_state := flowgres.lock_executions(
    p_tenant_ids => v_tenant_ids, p_execution_ids => v_execution_ids, p_state => v_state);
  if v_state.execution_ids is null then
    return;
  end if;
  v_recorded := flowgres.record_chains(
    p_chains => p_chains, p_are_all_locked => cardinality(v_state.execution_ids) = cardinality(v_execution_ids),
    p_state => v_state);
  p_done := v_recorded.p_done;
  if p_done = '{}' then
    return;
  end if;
  v_state := v_recorded.p_state;
  v_state.room := coalesce(p_room, v_state.lease_count + greatest(p_want, 0));
  p_handed := flowgres.carry_on(p_state => v_state);
end;
$$;
comment on function flowgres.advance_chains is $$Record chains after which their executions go on, and see to what comes next

Returns the places of those that were as plain as they look, and the steps handed over to the runner.$$;

create or replace function flowgres.record_chains(
  p_chains flowgres.reported_chain[], p_are_all_locked boolean, inout p_state flowgres.advance_state, out p_done integer[]
)
  language plpgsql
as $$
declare
  -- Variables of their own: an element of an array within a composite is read from a copy of all of it.
  v_execution_ids uuid[] := p_state.execution_ids;
  v_event_seqs integer[] := p_state.event_seqs;
  v_started_flags boolean[] := p_state.started_flags;
  v_failing_flags boolean[] := p_state.failing_flags;
begin
  -- The fence, and whether the lease is as plain as it looks: a row that goes on to a child is locked, any other has done its part.
  -- The slot is the rank of an execution among the locked ones.
  with leases as materialized (
    select c.*, (dense_rank() over (order by c.execution_id))::integer as slot
    from unnest(p_chains) as c
    where p_are_all_locked or c.execution_id = any(v_execution_ids)
  ),
  fit as (
    select l.*
    from leases as l
    where not v_failing_flags[l.slot]
      -- The number of the first event is 1: no row needs to tell of it.
      and (v_started_flags[l.slot] or v_event_seqs[l.slot] = 0)
    order by l.execution_id, l.queue_id
  ),
  ended as (
    delete from flowgres.work_queue as q
    using fit as l
    where l.opens = '{}' and q.tenant_id = l.tenant_id and q.execution_id = l.execution_id and q.id = l.queue_id
      and q.runner_id is not distinct from p_state.runner_id and q.token = l.token and q.step_index = l.head
      and q.version_id = l.version_id and flowgres.is_untold(q)
    returning l.*, q.ready_at
  ),
  plain as materialized (
    select
      l.*, p_state.now - greatest((l.outputs -> 0 ->> 0)::double precision, 0) * interval '1 ms' as began_at,
      -- Where the numbers of its events begin: behind those of the chains before it in its execution.
      (v_event_seqs[l.slot] + (not v_started_flags[l.slot])::integer - l.event_count
        + sum(l.event_count) over (partition by l.slot order by l.queue_id))::integer as seq
    from (
      select e.* from ended as e
      union all
      select l.*, q.ready_at
      from fit as l
      cross join lateral (
        select q.ready_at
        from flowgres.work_queue as q
        where q.tenant_id = l.tenant_id and q.execution_id = l.execution_id and q.id = l.queue_id
          and q.runner_id is not distinct from p_state.runner_id and q.token = l.token and q.step_index = l.head
          and q.version_id = l.version_id and flowgres.is_untold(q)
        for update skip locked
      ) as q
      where l.opens <> '{}'
    ) as l
  ),
  written as (
    insert into flowgres.step_executions (
      tenant_id, execution_id, runner_id, finished_at, status, edge, step_index, step, type, attempts, ready_at, started_at, output,
      seq)
    select p.tenant_id, p.execution_id, p_state.runner_id, p_state.now, 'completed', 'taken', s.*
    from plain as p
    cross join lateral flowgres.chain_steps(
      p_outputs => p.outputs, p_indexes => p.indexes, p_steps => p.steps, p_types => p.types,
      p_ready_at => p.ready_at, p_now => p_state.now, p_seq => p.seq) as s
  ),
  totals as (
    select t.slot, max(t.last_seq) as last_seq, sum(t.step_count)::integer as resolved, min(t.began_at) as began_at
    from (
      select p.slot, p.seq + p.event_count as last_seq, p.step_count, p.began_at from plain as p
      union all
      -- Those of whose chains none is plain have their place in the arrays as well.
      select s.slot, v_event_seqs[s.slot], 0::smallint, null from generate_subscripts(v_execution_ids, 1) as s (slot)
    ) as t
    group by t.slot
  )
  select d.*, t.*, f.*, r.*
  into
    p_done, p_state.touched_slots, p_state.last_seqs, p_state.newly_resolved, p_state.newly_completed, p_state.began_at,
    p_state.frontier, p_state.ready
  from (
    select array_agg(p.place) from plain as p
  ) as d
  cross join (
    select
      array_agg(t.slot order by t.slot) filter (where t.resolved > 0), array_agg(t.last_seq order by t.slot),
      array_agg(t.resolved order by t.slot), array_agg(t.resolved order by t.slot), array_agg(t.began_at order by t.slot)
    from totals as t
  ) as t
  cross join (
    select
      array_agg(flowgres.make_resolved_step(
        p_slot => p.slot, p_queue_id => null, p_step_index => p.indexes[p.step_count], p_step => p.steps[p.step_count],
        p_join_rule => null, p_children => p.children, p_untaken => null, p_edge => 'taken', p_outcome => 'completed'))
    from plain as p
    where p.children <> '{}'
  ) as f
  cross join (
    select
      array_agg(flowgres.make_ready_step(
        p_slot => p.slot, p_queue_id => case when o.i = 1 then p.queue_id end, p_step_index => o.step_index,
        p_capability => o.capability, p_only_computes => o.only_computes))
    from plain as p
    cross join lateral unnest(p.opens, p.open_capabilities, p.open_computes) with ordinality
      as o (step_index, capability, only_computes, i)
  ) as r;
  p_done := coalesce(p_done, '{}');
  p_state.lease_count := cardinality(p_done);
end;
$$;
comment on function flowgres.record_chains is $$Write the steps of chains whose leases are what they were when they were claimed

Returns the places of those chains, and the state as record_outcomes would leave it.$$;
