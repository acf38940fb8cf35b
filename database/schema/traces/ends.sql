-- Which executions have ended while runners tell of them (OpenTelemetry), kept in the transaction that ends them.
--
-- Whoever ends executions looks whether anybody tells (trace_exports); mostly nobody does, and that is all. Rows are only added: of
-- the same execution there is one for each end, as it may be retried. Callers who cancel see no row of the installation, so it is looked at as the engine.

set local role flowgres_engine;

create or replace function flowgres.keep_ends(p_tenant_ids uuid[], p_execution_ids uuid[])
  returns void language sql volatile security definer set search_path to pg_catalog, pg_temp
as $$
  insert into flowgres.trace_ends (tenant_id, execution_id, generation, expires_at)
  select e.tenant_id, e.id, o.generation, x.expires_at
  from flowgres.trace_exports as x
  cross join unnest(p_tenant_ids, p_execution_ids) as e (tenant_id, id)
  cross join lateral (
    select o.generation from flowgres.executions as o where o.tenant_id = e.tenant_id and o.id = e.id offset 0
  ) as o
  where x.expires_at > flowgres.now() and not flowgres.is_hidden(e.id)
  on conflict (tenant_id, execution_id, generation) do nothing;
$$;
comment on function flowgres.keep_ends(uuid[], uuid[]) is $$Keep that these executions have ended, for whoever tells of it

Deliveries of notifications are nobody's executions, and not told of.$$;
