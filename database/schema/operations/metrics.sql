-- Whether the engine is alive.

set local role flowgres_owner;

create or replace function flowgres.version()
  returns text language sql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
  select '0.1.0';
$$;
comment on function flowgres.version() is $$Version of the installed schema; the package's tests hold it equal to the package.$$;

set local role flowgres_engine;

create or replace function flowgres.oldest_ready_at()
  returns timestamptz language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  -- The head of each queue, hopping from group to group along work_queue_ready_idx: a backlog of any size costs nothing.
  with recursive heads as (
    (
      select q.capability, q.tenant_id, q.priority, q.is_new, q.ready_at
      from flowgres.work_queue as q
      where flowgres.is_ready(q)
      order by q.capability, q.tenant_id, q.priority, q.is_new, q.rank
      limit 1
    )
    union all
    select n.*
    from heads as h
    cross join lateral (
      select q.capability, q.tenant_id, q.priority, q.is_new, q.ready_at
      from flowgres.work_queue as q
      where flowgres.is_ready(q)
        and (q.capability, q.tenant_id, q.priority, q.is_new) > (h.capability, h.tenant_id, h.priority, h.is_new)
      order by q.capability, q.tenant_id, q.priority, q.is_new, q.rank
      limit 1
    ) as n
  )
  select min(b.ready_at) from (select h.ready_at from heads as h limit 2000) as b;
$$;
comment on function flowgres.oldest_ready_at() is $$Since when the longest waiting head of a queue is ready; null when nothing is

Looks at the steps that are next in line in each tenant and priority, of at most 2,000 such lines.$$;

create or replace function flowgres.health()
  returns jsonb language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'engine', 'flowgres',
    'installation', flowgres.installation_mark(),
    'status', case when f.live_runners = 0 or f.is_copy then 'degraded' else 'ok' end,
    'version', flowgres.version(),
    'lag_seconds', coalesce(greatest(round(extract(epoch from f.now - f.oldest_ready_at)::numeric, 3), 0), 0),
    'live_runners', f.live_runners,
    'unserved_types', to_jsonb(flowgres.unserved_types()),
    'is_copy', f.is_copy)
  from (
    select
      n.now, flowgres.oldest_ready_at() as oldest_ready_at, flowgres.is_copy() as is_copy,
      (
        select count(*)
        from flowgres.runners as r
        where flowgres.is_live(r, n.now - make_interval(
          secs => (flowgres.setting(flowgres.system_tenant_id(), 'lease_seconds'))::double precision))
      ) as live_runners
    from (select flowgres.now() as now) as n
  ) as f;
$$;
comment on function flowgres.health() is $$Whether the engine is alive

degraded means that no runner lives, or that none can claim (in a copy that nobody has adopted, none), so nothing advances. engine
is always flowgres, and installation another one in every database: clients see by them whom they talk to. unserved_types are those
of packages that steps wait for and no live runner serves, as after an uninstall: those steps stay ready. Tells nothing about any
tenant.$$;
