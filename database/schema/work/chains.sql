-- The hot path for what is usual: a lease whose whole chain of steps completed, and with it its execution.
--
-- Two statements for any number of them. The first takes the locks and says which leases are as plain as they look; the second
-- deletes their rows from the queue (the delete is the fence), writes the steps and ends the executions. Everything else is
-- reported as ever, in the same call.

set local role flowgres_owner;

create or replace function flowgres.compile_chains(p_tenant_id uuid, p_version_id uuid)
  returns void language sql set search_path to pg_catalog, pg_temp
as $$
  with recursive walk as (
    select w.index as head, array[w.index] as indexes, array[w.id] as steps, array[w.type] as types, w.next_index, w.children
    from flowgres.workflow_steps as w
    where w.tenant_id = p_tenant_id and w.version_id = p_version_id
      -- No branches, nothing that may have been decided before its parents ended, and no row that is there already.
      and w.branches is null and w.gates = '{}' and w.join_rule not in ('any', 'failed')
    union all
    select k.head, k.indexes || w.index, k.steps || w.id, k.types || w.type, w.next_index, w.children
    from walk as k
    join flowgres.workflow_steps as w
      on w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = k.next_index
    where w.branches is null and cardinality(k.indexes) < 16
  )
  insert into flowgres.chains (tenant_id, version_id, head, indexes, steps, types, event_count, is_whole)
  select distinct on (k.head)
    p_tenant_id, p_version_id, k.head, k.indexes, k.steps, k.types,
    2 * (cardinality(k.indexes) - ('outputs' = any(k.types))::integer),
    k.children = '{}' and v.sink_indexes = k.indexes[cardinality(k.indexes):]
  from walk as k
  join flowgres.workflow_versions as v on v.tenant_id = p_tenant_id and v.id = p_version_id
  order by k.head, cardinality(k.indexes) desc
  on conflict (tenant_id, version_id, head) do nothing;
$$;
comment on function flowgres.compile_chains(uuid, uuid) is $$Write the chains of a version, each as long as it goes: up to 16 steps, as far as a runner runs ahead.$$;

create or replace function flowgres.advance_chains(
  p_runner_id uuid,
  p_tenant_ids uuid[],
  p_execution_ids uuid[],
  p_queue_ids bigint[],
  p_tokens bigint[],
  p_version_ids uuid[],
  p_heads smallint[],
  p_counts smallint[],
  p_steps jsonb[]
)
  returns integer[] language plpgsql
as $$
declare
  v_now timestamptz;
  v_places integer[];
  v_seqs integer[];
  v_first uuid;
  v_last uuid;
  v_done integer[];
  v_tenant_ids uuid[];
  v_woken uuid[];
begin
  select x.id into v_first from unnest(p_execution_ids) as x (id) order by x.id limit 1;
  select x.id into v_last from unnest(p_execution_ids) as x (id) order by x.id desc limit 1;
  -- Locks in the order of the ids, and for nobody's sake waited for. What is looked at here holds until the end.
  select array_agg(f.place), array_agg(f.seq) into v_places, v_seqs
  from (
    select r.place::integer as place, l.event_seq + (l.started_at is null)::integer as seq
    from (
      select r.*
      from unnest(p_tenant_ids, p_execution_ids, p_version_ids, p_heads, p_counts, p_steps) with ordinality
        as r (tenant_id, execution_id, version_id, head, step_count, steps, place)
      order by r.execution_id
    ) as r
    cross join lateral (
      select c.indexes, c.is_whole
      from flowgres.chains as c
      where c.tenant_id = r.tenant_id and c.version_id = r.version_id and c.head = r.head
      offset 0
    ) as c
    cross join lateral (
      select e.event_seq, e.started_at, e.finished_at, e.phase, e.version_id, e.resolved_count, e.step_count, e.hidden_step_count
      from flowgres.executions as e
      where e.tenant_id = r.tenant_id and e.id = r.execution_id and e.id between v_first and v_last
      for no key update skip locked
    ) as l
    where c.is_whole and cardinality(c.indexes) = r.step_count and jsonb_array_length(r.steps) = r.step_count
      and l.finished_at is null and l.phase = 'run' and l.version_id = r.version_id
      and l.resolved_count + r.step_count = l.step_count + l.hidden_step_count
      -- The number of the first event is 1: no row needs to tell of it.
      and (l.started_at is not null or l.event_seq = 0)
  ) as f;
  if v_places is null then
    return '{}';
  end if;
  v_now := flowgres.now();
  with done as (
    delete from flowgres.work_queue as q
    using (
      select
        p_tenant_ids[v.place] as tenant_id, p_execution_ids[v.place] as execution_id, p_queue_ids[v.place] as queue_id,
        p_tokens[v.place] as token, p_heads[v.place] as head, v.place, v.seq
      from unnest(v_places, v_seqs) as v (place, seq)
    ) as r
    where q.tenant_id = r.tenant_id and q.execution_id = r.execution_id and q.id = r.queue_id
      and q.runner_id is not distinct from p_runner_id and q.token = r.token and q.step_index = r.head
      -- Its row of step_executions is not there yet, and it is what it was when the chain was compiled.
      and q.iteration = -1 and q.attempt = 1 and q.generation = 1 and not q.is_announced and q.resume is null
    returning r.place, r.tenant_id, r.execution_id, r.seq, q.ready_at
  ),
  written as (
    insert into flowgres.step_executions (
      tenant_id, execution_id, step_index, attempts, step, type, status, edge, runner_id, ready_at, started_at, finished_at,
      output, seq)
    select
      d.tenant_id, d.execution_id, c.indexes[a.i],
      -- Whatever is no pair has no attempts, which is refused.
      case when jsonb_array_length(a.step) = 2 then 1 end, c.steps[a.i], c.types[a.i], 'completed', 'taken', p_runner_id,
      -- Those that were run ahead became ready when they began.
      case when a.i = 1 then d.ready_at end,
      v_now - greatest((a.step ->> 0)::double precision, 0) * interval '1 ms', v_now, a.step -> 1,
      case when c.types[a.i] <> 'outputs' then d.seq + 2 * a.i::integer end
    from done as d
    cross join lateral (
      select c.indexes, c.steps, c.types
      from flowgres.chains as c
      where c.tenant_id = d.tenant_id and c.version_id = p_version_ids[d.place] and c.head = p_heads[d.place]
      offset 0
    ) as c
    cross join lateral jsonb_array_elements(p_steps[d.place]) with ordinality as a (step, i)
  ),
  ended as (
    update flowgres.executions as e
    set
      event_seq = d.seq + c.event_count + 1,
      resolved_count = e.resolved_count + p_counts[d.place], completed_count = e.completed_count + p_counts[d.place],
      started_at = coalesce(
        e.started_at, v_now - greatest((p_steps[d.place] -> 0 ->> 0)::double precision, 0) * interval '1 ms'),
      status = 'completed', finished_at = v_now, deadline_at = null, active_since = null,
      active_seconds = e.active_seconds + coalesce(extract(epoch from v_now - e.active_since), 0),
      output = case when e.hidden_step_count > 0 then p_steps[d.place] -> -1 -> 1
        else jsonb_build_object(c.last_step, p_steps[d.place] -> -1 -> 1) end
    from done as d
    cross join lateral (
      select c.event_count, c.steps[cardinality(c.steps)] as last_step
      from flowgres.chains as c
      where c.tenant_id = d.tenant_id and c.version_id = p_version_ids[d.place] and c.head = p_heads[d.place]
      offset 0
    ) as c
    where e.tenant_id = d.tenant_id and e.id = d.execution_id and e.id between v_first and v_last
    returning d.place, e.tenant_id, e.id, e.parent_execution_id
  )
  select
    array_agg(n.place), array_agg(n.tenant_id) filter (where n.parent_execution_id is not null),
    array_agg(n.id) filter (where n.parent_execution_id is not null)
  into v_done, v_tenant_ids, v_woken
  from ended as n;
  if v_woken is not null then
    perform flowgres.wake_parked(p_tenant_ids => v_tenant_ids, p_child_ids => v_woken);
  end if;
  return coalesce(v_done, '{}');
end;
$$;
comment on function flowgres.advance_chains is $$Record leases whose chain completed and ends its execution; returns the places of those that were as plain as that

The others are untouched: somebody holds their execution, the lease is gone, it is no first attempt, or more is left to do.$$;

create or replace function flowgres.unfold_chains(
  p_done integer[],
  p_tenant_ids uuid[],
  p_execution_ids uuid[],
  p_queue_ids bigint[],
  p_tokens bigint[],
  p_version_ids uuid[],
  p_heads smallint[],
  p_counts smallint[],
  p_steps jsonb[]
)
  returns flowgres.step_report[] language plpgsql stable
as $$
begin
  if exists (
    select from generate_subscripts(p_execution_ids, 1) as p (place)
    where p.place <> all(p_done)
      and (p_counts[p.place] < 1 or jsonb_array_length(p_steps[p.place]) <> p_counts[p.place] or exists (
        select from jsonb_array_elements(p_steps[p.place]) as a (step) where jsonb_array_length(a.step) <> 2))
  ) then
    raise exception 'a chain is no list of pairs, one for each of its steps' using errcode = 'invalid_parameter_value';
  end if;
  return (
    select array_agg(jsonb_populate_record(null::flowgres.step_report, jsonb_build_object(
      't', p_tenant_ids[p.place], 'x', p_execution_ids[p.place], 'q', p_queue_ids[p.place], 'k', p_tokens[p.place],
      's', p_heads[p.place], 'o', 'completed', 'ms', p_steps[p.place] -> 0 -> 0, 'out', p_steps[p.place] -> 0 -> 1,
      'ahead', (
        select jsonb_agg(jsonb_build_object('s', c.indexes[a.i], 'o', 'completed', 'ms', a.step -> 0, 'out', a.step -> 1) order by a.i)
        from flowgres.chains as c
        cross join jsonb_array_elements(p_steps[p.place]) with ordinality as a (step, i)
        where c.tenant_id = p_tenant_ids[p.place] and c.version_id = p_version_ids[p.place] and c.head = p_heads[p.place]
          and a.i between 2 and cardinality(c.indexes)))) order by p.place)
    from generate_subscripts(p_execution_ids, 1) as p (place)
    where p.place <> all(p_done));
end;
$$;
comment on function flowgres.unfold_chains is $$The leases that were not done as chains, as reports: the head, and its followers as steps run ahead.$$;

set local role flowgres_engine;

create or replace function flowgres.complete_chains(
  p_runner_id uuid,
  p_tenant_ids uuid[],
  p_execution_ids uuid[],
  p_queue_ids bigint[],
  p_tokens bigint[],
  p_version_ids uuid[],
  p_heads smallint[],
  p_counts smallint[],
  p_steps jsonb[],
  p_results jsonb,
  p_want integer,
  p_after_tenant uuid,
  p_room integer default null
)
  returns setof flowgres.claimed_step language plpgsql security definer set search_path to pg_catalog, pg_temp
  set lock_timeout to '1s'
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set jit to off set plan_cache_mode to force_generic_plan
as $$
declare
  v_capabilities text[] := flowgres.require_runner(p_runner_id => p_runner_id);
  v_done integer[];
  v_reports flowgres.step_report[];
begin
  perform flowgres.require_read_committed();
  v_done := flowgres.advance_chains(
    p_runner_id => p_runner_id, p_tenant_ids => p_tenant_ids, p_execution_ids => p_execution_ids, p_queue_ids => p_queue_ids,
    p_tokens => p_tokens, p_version_ids => p_version_ids, p_heads => p_heads, p_counts => p_counts, p_steps => p_steps);
  if cardinality(v_done) < cardinality(p_execution_ids) then
    v_reports := flowgres.unfold_chains(
      p_done => v_done, p_tenant_ids => p_tenant_ids, p_execution_ids => p_execution_ids, p_queue_ids => p_queue_ids,
      p_tokens => p_tokens, p_version_ids => p_version_ids, p_heads => p_heads, p_counts => p_counts, p_steps => p_steps);
  end if;
  if p_results is not null then
    v_reports := v_reports || array(
      select r::flowgres.step_report from jsonb_populate_recordset(null::flowgres.step_report, p_results) as r);
  end if;
  if v_reports is not null then
    return query
    select a.* from flowgres.advance(
      p_runner_id => p_runner_id, p_reports => v_reports, p_capabilities => v_capabilities, p_want => p_want, p_room => p_room) as a;
  end if;
  if p_want > 0 then
    return query
    select c.* from flowgres.claim(p_runner_id => p_runner_id, p_want => p_want, p_after_tenant => p_after_tenant) as c;
  end if;
end;
$$;
comment on function flowgres.complete_chains is $$Report leases whose whole chain of steps completed, and other results beside them, and take the next steps

Parallel arrays, one element a lease: p_heads is the index of the leased step, p_steps [[milliseconds, output], ...] of it and
those run ahead after it, p_counts how many. p_results, p_want, p_after_tenant, p_room and the answer are those of
complete_and_claim. What is not as plain as it looks is judged like any other report.$$;

set local role flowgres_owner;

-- Versions from before there were chains.
select flowgres.compile_chains(p_tenant_id => v.tenant_id, p_version_id => v.id)
from flowgres.workflow_versions as v
where not exists (select from flowgres.chains as c where c.tenant_id = v.tenant_id and c.version_id = v.id)
  and exists (select from flowgres.workflow_steps as w where w.tenant_id = v.tenant_id and w.version_id = v.id);
