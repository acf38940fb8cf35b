-- Step types that packages bring: what is known of them, and who serves them.

set local role flowgres_owner;

create or replace function flowgres.live_runner_ids()
  returns uuid[] language sql stable set search_path to pg_catalog, pg_temp
as $$
  select array(
    select r.id
    from flowgres.runners as r
    where flowgres.is_live(r, flowgres.now() - make_interval(
      secs => (flowgres.setting(flowgres.system_tenant_id(), 'lease_seconds'))::double precision)));
$$;
comment on function flowgres.live_runner_ids() is $$Runners that were heard within a lease, and can claim.$$;

set local role flowgres_engine;

create or replace function flowgres.custom_step_types()
  returns jsonb language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select coalesce(
    jsonb_object_agg(t.type, jsonb_build_object('config_schema', t.config_schema, 'secret_places', t.secret_places)), '{}')
  from flowgres.step_types as t
  where t.tenant_id = flowgres.system_tenant_id() and not t.is_core;
$$;
comment on function flowgres.custom_step_types() is $$Step types beside the built-in ones, by name: {config_schema, secret_places}

As the runner that registered last described them.$$;

create or replace function flowgres.unserved_reason(p_type text)
  returns text language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_live_ids uuid[] := flowgres.live_runner_ids();
begin
  if cardinality(v_live_ids) = 0 then
    return 'no runner is alive';
  end if;
  if p_type = 'outputs' or flowgres.capability_of(p_type => p_type) = 'core' or exists (
    select from flowgres.runners as r where r.id = any(v_live_ids) and p_type = any(r.capabilities))
  then
    return null;
  end if;
  return format('no live runner serves the step type "%s"', p_type);
end;
$$;
comment on function flowgres.unserved_reason(text) is $$Why no runner will take a step of this type now; null when one will.$$;

create or replace function flowgres.unserved_types()
  returns text[] language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  -- From line to line along work_queue_ready_idx: a backlog of any size costs nothing.
  with recursive lines as (
    (select q.capability from flowgres.work_queue as q where flowgres.is_ready(q) order by q.capability limit 1)
    union all
    select n.capability
    from lines as l
    cross join lateral (
      select q.capability
      from flowgres.work_queue as q
      where flowgres.is_ready(q) and q.capability > l.capability
      order by q.capability
      limit 1
    ) as n
  )
  select array(
    select l.capability from lines as l
    where l.capability <> 'core' and l.capability not like 'refused:%' and flowgres.unserved_reason(p_type => l.capability) is not null
    order by l.capability);
$$;
comment on function flowgres.unserved_types() is $$Step types of packages that steps are ready for and no live runner serves.$$;
