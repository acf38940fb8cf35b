-- The hot path for what is usual: leases whose whole chain of steps completed.
--
-- What a runner says of them is put beside what was compiled, once, and goes as that from function to function. Chains after which
-- nothing of their execution is left end it (finish_chains), others are written down and resolved (advance_chains), both by sets.
-- What is not as plain as it looks is reported as ever, in the same call.

set local role flowgres_owner;

create or replace function flowgres.compile_chains(p_tenant_id uuid, p_version_id uuid)
  returns void language sql set search_path to pg_catalog, pg_temp
as $$
  with recursive walk as (
    select w.index as head, array[w.index] as indexes, array[w.id] as steps, array[w.type] as types, w.next_index, w.children
    from flowgres.workflow_steps as w
    where w.tenant_id = p_tenant_id and w.version_id = p_version_id
      -- Its end means no more than that what hangs on it may run, and no row of it is there already.
      and w.section = 'steps' and w.branches is null and not w.is_early and w.cancel_indexes = '{}' and w.type <> 'stop'
      and w.iterates is null and w.repeats is null
    union all
    select k.head, k.indexes || w.index, k.steps || w.id, k.types || w.type, w.next_index, w.children
    from walk as k
    join flowgres.workflow_steps as w
      on w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = k.next_index
    where w.branches is null and w.cancel_indexes = '{}' and cardinality(k.indexes) < 16
  )
  insert into flowgres.chains (
    tenant_id, version_id, head, indexes, steps, types, event_count, children, opens, open_capabilities, open_computes, is_whole)
  select distinct on (k.head)
    p_tenant_id, p_version_id, k.head, k.indexes, k.steps, k.types,
    2 * (cardinality(k.indexes) - ('outputs' = any(k.types))::integer),
    array(select c from unnest(k.children) as c where c <> all(o.indexes) order by c), o.indexes, o.capabilities, o.are_computing,
    k.children = '{}' and v.sink_indexes = k.indexes[cardinality(k.indexes):]
  from walk as k
  join flowgres.workflow_versions as v on v.tenant_id = p_tenant_id and v.id = p_version_id
  -- Children that hang on the last step alone, and run when it has completed: nothing has to be looked up to know that.
  cross join lateral (
    select
      coalesce(array_agg(w.index order by w.index), '{}') as indexes,
      coalesce(array_agg(w.capability order by w.index), '{}') as capabilities,
      coalesce(array_agg(flowgres.only_computes(w.type) order by w.index), '{}') as are_computing
    from flowgres.workflow_steps as w
    where w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = any(k.children)
      and w.dependencies = array[k.indexes[cardinality(k.indexes)]] and w.gates = '{}' and w.join_rule <> 'failed' and not w.is_early
  ) as o
  order by k.head, cardinality(k.indexes) desc
  on conflict (tenant_id, version_id, head) do nothing;
$$;
comment on function flowgres.compile_chains(uuid, uuid) is $$Write the chains of a version, each as long as it goes: up to 16 steps, as far as a runner runs ahead.$$;

create or replace function flowgres.make_reported_chain(
  p_place integer, p_tenant_id uuid, p_execution_id uuid, p_queue_id bigint, p_token bigint, p_version_id uuid, p_head smallint,
  p_step_count smallint, p_outputs jsonb, p_indexes smallint[], p_steps text[], p_types text[], p_event_count smallint,
  p_children smallint[], p_opens smallint[], p_open_capabilities text[], p_open_computes boolean[]
)
  returns flowgres.reported_chain language sql immutable parallel safe
as $$
  select row(
    p_place, p_tenant_id, p_execution_id, p_queue_id, p_token, p_version_id, p_head, p_step_count, p_outputs, p_indexes, p_steps,
    p_types, p_event_count, p_children, p_opens, p_open_capabilities, p_open_computes)::flowgres.reported_chain;
$$;
comment on function flowgres.make_reported_chain is $$A reported_chain, by names.$$;

create or replace function flowgres.unfold_chains(p_chains flowgres.reported_chain[])
  returns flowgres.step_report[] language plpgsql stable
as $$
begin
  if exists (
    select from unnest(p_chains) as c
    where c.step_count < 1 or jsonb_array_length(c.outputs) <> c.step_count or exists (
      select from jsonb_array_elements(c.outputs) as a (step) where jsonb_array_length(a.step) <> 2)
  ) then
    raise exception 'a chain is no list of pairs, one for each of its steps' using errcode = 'invalid_parameter_value';
  end if;
  return (
    select array_agg(jsonb_populate_record(null::flowgres.step_report, jsonb_build_object(
      't', c.tenant_id, 'x', c.execution_id, 'q', c.queue_id, 'k', c.token, 's', c.head, 'o', 'completed',
      'ms', c.outputs -> 0 -> 0, 'out', c.outputs -> 0 -> 1,
      'ahead', (
        select jsonb_agg(jsonb_build_object('s', c.indexes[a.i], 'o', 'completed', 'ms', a.step -> 0, 'out', a.step -> 1) order by a.i)
        from jsonb_array_elements(c.outputs) with ordinality as a (step, i)
        where a.i between 2 and cardinality(c.indexes)))) order by c.place)
    from unnest(p_chains) as c);
end;
$$;
comment on function flowgres.unfold_chains(flowgres.reported_chain[]) is $$Chains that are not plain, as reports: the head, and its followers as steps run ahead.$$;

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
  p_room integer default null,
  p_caps jsonb default null
)
  returns setof flowgres.claimed_step language plpgsql security definer set search_path to pg_catalog, pg_temp
  -- Whoever meets a row that is held reports what he has as objects, of which that one is passed over.
  set lock_timeout to '100ms'
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set jit to off set plan_cache_mode to force_generic_plan
as $$
declare
  v_capabilities text[] := flowgres.require_runner(p_runner_id => p_runner_id);
  v_whole flowgres.reported_chain[];
  v_others flowgres.reported_chain[];
  v_rest flowgres.reported_chain[];
  v_done integer[];
  v_handed flowgres.claimed_step[];
  v_room integer := p_room;
  v_reports flowgres.step_report[];
begin
  perform flowgres.require_read_committed();
  select
    array_agg(m.chain) filter (where m.is_whole), array_agg(m.chain) filter (where not m.is_whole),
    array_agg(m.chain) filter (where m.is_whole is null)
  into v_whole, v_others, v_rest
  from (
    select
      flowgres.make_reported_chain(
        p_place => r.place::integer, p_tenant_id => r.tenant_id, p_execution_id => r.execution_id, p_queue_id => r.queue_id,
        p_token => r.token, p_version_id => r.version_id, p_head => r.head, p_step_count => r.step_count, p_outputs => r.outputs,
        p_indexes => c.indexes, p_steps => c.steps, p_types => c.types, p_event_count => c.event_count, p_children => c.children,
        p_opens => c.opens, p_open_capabilities => c.open_capabilities, p_open_computes => c.open_computes)
      as chain,
      case when cardinality(c.indexes) = r.step_count and jsonb_array_length(r.outputs) = r.step_count then c.is_whole end as is_whole
    from unnest(p_tenant_ids, p_execution_ids, p_queue_ids, p_tokens, p_version_ids, p_heads, p_counts, p_steps) with ordinality
      as r (tenant_id, execution_id, queue_id, token, version_id, head, step_count, outputs, place)
    left join lateral (
      select
        c.indexes, c.steps, c.types, c.event_count, c.children, c.opens, c.open_capabilities, c.open_computes, c.is_whole
      from flowgres.chains as c
      where c.tenant_id = r.tenant_id and c.version_id = r.version_id and c.head = r.head
      offset 0
    ) as c on true
    -- The order in which everybody locks.
    order by r.execution_id, r.queue_id
  ) as m;
  if v_whole is not null then
    v_done := flowgres.finish_chains(p_runner_id => p_runner_id, p_chains => v_whole);
    if cardinality(v_done) < cardinality(v_whole) then
      v_rest := v_rest || array(select c from unnest(v_whole) as c where c.place <> all(v_done));
    end if;
  end if;
  if v_others is not null then
    select a.p_done, a.p_handed into v_done, v_handed
    from flowgres.advance_chains(
      p_runner_id => p_runner_id, p_chains => v_others, p_capabilities => v_capabilities, p_want => p_want, p_room => p_room) as a;
    if cardinality(v_done) < cardinality(v_others) then
      v_rest := v_rest || array(select c from unnest(v_others) as c where c.place <> all(v_done));
    end if;
    if v_handed is not null then
      return query select h.* from unnest(v_handed) as h;
      v_room := case when p_room is not null then greatest(p_room - cardinality(v_handed), 0) end;
    end if;
  end if;
  if v_rest is not null then
    v_reports := flowgres.unfold_chains(p_chains => v_rest);
  end if;
  if p_results is not null then
    v_reports := v_reports || array(
      select r::flowgres.step_report from jsonb_populate_recordset(null::flowgres.step_report, p_results) as r);
  end if;
  if v_reports is not null then
    return query
    select a.* from flowgres.advance(
      p_runner_id => p_runner_id, p_reports => v_reports, p_capabilities => v_capabilities, p_want => p_want, p_room => v_room) as a;
  end if;
  if p_want > 0 then
    return query
    select c.* from flowgres.claim(
      p_runner_id => p_runner_id, p_want => p_want, p_after_tenant => p_after_tenant, p_caps => p_caps) as c;
  end if;
end;
$$;
comment on function flowgres.complete_chains is $$Report leases whose whole chain of steps completed, and other results beside them, and take the next steps

Parallel arrays, one element a lease: p_heads is the index of the leased step, p_steps [[milliseconds, output], ...] of it and
those run ahead after it, p_counts how many. p_results, p_want, p_after_tenant, p_room, p_caps and the answer are those of
complete_and_claim. What is not as plain as it looks is judged like any other report. Fails with lock_not_available where
somebody holds a row of the queue: complete_and_claim passes over it.$$;

set local role flowgres_owner;

-- Versions from before there were chains.
select flowgres.compile_chains(p_tenant_id => v.tenant_id, p_version_id => v.id)
from flowgres.workflow_versions as v
where not exists (select from flowgres.chains as c where c.tenant_id = v.tenant_id and c.version_id = v.id)
  and exists (select from flowgres.workflow_steps as w where w.tenant_id = v.tenant_id and w.version_id = v.id);
