-- What those who ask why may know of runners and of the line before a step: what serves them, and nothing of other tenants' numbers.

set local role flowgres_engine;

create or replace function flowgres.serving_runners()
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_since timestamptz := flowgres.now() - make_interval(
    secs => (flowgres.setting(flowgres.system_tenant_id(), 'lease_seconds'))::double precision);
begin
  return (
    with live as materialized (
      select
        r.id, r.capabilities, flowgres.may_claim(r) as may_claim,
        (
          select count(*)
          from (select from flowgres.work_queue as q where q.runner_id = r.id limit r.concurrency) as l
        ) < r.concurrency as has_room
      from flowgres.runners as r
      where flowgres.is_live(r, v_since)
    )
    select jsonb_build_object(
      'live', (select coalesce(jsonb_agg(l.id), '[]') from live as l),
      'served', (
        select coalesce(jsonb_agg(distinct c.name), '[]')
        from live as l cross join unnest(l.capabilities) as c (name) where l.may_claim),
      'free', (
        select coalesce(jsonb_agg(distinct c.name), '[]')
        from live as l cross join unnest(l.capabilities) as c (name) where l.may_claim and l.has_room)));
end;
$$;
comment on function flowgres.serving_runners() is $$Which runners live, what they serve, and what one of them serves that has room: {live, served, free}

A runner that was told to stop lives and serves nothing more. Asked once a query.$$;

create or replace function flowgres.heard_runner(p_runner_id uuid)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select jsonb_build_object('runner', flowgres.runner_name(p_runner_id => r.id), 'last_heard_at', r.seen_at)
    from flowgres.runners as r
    where r.tenant_id = flowgres.system_tenant_id() and r.id = p_runner_id);
end;
$$;
comment on function flowgres.heard_runner(uuid) is $$A runner as its leases tell of it: {runner, last_heard_at}$$;

create or replace function flowgres.place_in_line(p_tenant_id uuid, p_execution_id uuid, p_queue_id bigint)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
  -- As the claim does: along its index, and not through whatever has heaped up.
  set enable_seqscan to off set enable_bitmapscan to off set enable_sort to off set plan_cache_mode to force_generic_plan
as $$
declare
  v_row record;
  v_before integer;
begin
  if p_tenant_id is distinct from flowgres.tenant_id() and not flowgres.is_operator() then
    return '{}';
  end if;
  select q.capability, q.priority, q.is_new, q.rank into v_row
  from flowgres.work_queue as q
  where q.tenant_id = p_tenant_id and q.execution_id = p_execution_id and q.id = p_queue_id and flowgres.is_ready(q);
  if not found then
    return '{}';
  end if;
  -- In the order of the claim, along its index, and no further than anybody wants to know.
  select count(*) into v_before
  from (
    select
    from flowgres.work_queue as q
    where q.capability = v_row.capability and q.tenant_id = p_tenant_id and flowgres.is_ready(q)
      and (q.priority, q.is_new, q.rank) < (v_row.priority, v_row.is_new, v_row.rank)
    order by q.priority, q.is_new, q.rank
    limit 1001
  ) as b;
  return jsonb_build_object(
    'before', least(v_before, 1000), 'is_more', v_before > 1000,
    -- Tenants take turns. How many others stand in the line is nobody's business; that there are any explains the wait.
    'shares_with_others', exists (
      select from flowgres.work_queue as q
      where q.capability = v_row.capability and flowgres.is_ready(q) and q.tenant_id > p_tenant_id
      order by q.tenant_id
      limit 1
    ) or exists (
      select from flowgres.work_queue as q
      where q.capability = v_row.capability and flowgres.is_ready(q) and q.tenant_id < p_tenant_id
      order by q.tenant_id desc
      limit 1
    ));
end;
$$;
comment on function flowgres.place_in_line(uuid, uuid, bigint) is $$How many steps of the same tenant go before a step that is ready: {before, is_more, shares_with_others}

At most 1000 are counted: is_more says that there are others. Of another tenant's step a caller learns nothing.$$;
