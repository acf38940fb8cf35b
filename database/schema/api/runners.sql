-- What callers may know of runners, which belong to the installation: tenants learn what serves them, and no name of a host.

set local role flowgres_owner;

create or replace function flowgres.runner_name(p_runner_id uuid)
  returns text language sql stable
return case
  when flowgres.is_operator() then (
    select r.name
    from flowgres.runners as r
    where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id
  )
  else 'runner-' || right(p_runner_id::text, 12)
end;
comment on function flowgres.runner_name(uuid) is $$What a caller may call a runner

The name that it gave itself is that of a host: for operators. Tenants tell runners apart by their ids.$$;

set local role flowgres_engine;

create or replace function flowgres.list_runners()
  returns table (
    tenant_id uuid, id uuid, name text, version text, capabilities text[], labels text[], concurrency integer, status text,
    started_at timestamptz, seen_at timestamptz, drained_at timestamptz, stopped_at timestamptz
  )
  language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select
    r.tenant_id, r.id, flowgres.runner_name(p_runner_id => r.id), r.version, r.capabilities, r.labels, r.concurrency,
    case
      when r.stopped_at is not null then 'stopped'
      when r.seen_at < n.now - n.lease then 'lost'
      when not flowgres.is_live(r, n.now - n.lease) then 'blocked'
      when r.drained_at is not null then 'draining'
      when r.is_idle then 'idle'
      else 'working'
    end,
    r.started_at, r.seen_at, r.drained_at, r.stopped_at
  from flowgres.runners as r
  cross join (
    select
      flowgres.now() as now,
      make_interval(secs => (flowgres.setting(flowgres.system_tenant_id(), 'lease_seconds'))::double precision) as lease
  ) as n;
$$;
comment on function flowgres.list_runners() is $$Runners, as every caller may know them

They belong to the installation, whose rows the policies keep from tenants.$$;
