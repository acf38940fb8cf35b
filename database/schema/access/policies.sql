-- after-every-change
--
-- Row-level security: every policy of the product is made here, from one expression.
--
-- | policy          | roles                          | sees                                            |
-- |-----------------|--------------------------------|-------------------------------------------------|
-- | tenant_all      | tenant roles, flowgres_definer | rows of (select flowgres.tenant_id())           |
-- | tenant_select   | tenant roles, flowgres_definer | and, of shared tables, the installation's rows  |
-- | engine_all      | flowgres_engine, flowgres_owner| all rows: the runners' functions and migrations |
-- | operator_select | flowgres_operator              | all rows, to read                               |
--
-- Policies say which rows, grants (grants.sql) say which verbs: tenant roles may only SELECT, whatever tenant_all allows.

set local role flowgres_owner;

create or replace function flowgres.tenant_predicate()
  returns text language sql immutable set search_path to pg_catalog, pg_temp
as $$
  select 'tenant_id = (select flowgres.tenant_id())';
$$;
comment on function flowgres.tenant_predicate() is $$The one expression of every tenant policy

The sub-select makes it one evaluation a query; the column stays bare so that its indexes serve.$$;

create or replace function flowgres.protect_table(p_table regclass)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_name text := (select c.relname from pg_catalog.pg_class as c where c.oid = p_table);
  v_tenant text := flowgres.tenant_predicate();
  v_policy text;
begin
  execute format('alter table %s enable row level security', p_table);
  -- FORCE: the owner's own functions are bound too, and pass by the policy engine_all instead of by ownership.
  execute format('alter table %s force row level security', p_table);
  for v_policy in select p.polname from pg_catalog.pg_policy as p where p.polrelid = p_table loop
    execute format('drop policy %I on %s', v_policy, p_table);
  end loop;

  if v_name = 'clock' then
    -- Whoever can move the clock can end every lease: the owner alone reads and writes it.
    execute format('create policy owner_all on %s to flowgres_owner using (true) with check (true)', p_table);
    return;
  end if;
  execute format('create policy engine_all on %s to flowgres_engine, flowgres_owner using (true) with check (true)', p_table);
  execute format('create policy operator_select on %s for select to flowgres_operator using (true)', p_table);
  -- member and admin inherit viewer, and with it the policy.
  execute format('create policy tenant_all on %s to flowgres_viewer, flowgres_definer using (%s) with check (%s)',
    p_table, v_tenant, v_tenant);
  if v_name in ('settings', 'step_types', 'runners') then
    execute format(
      'create policy tenant_select on %s for select to flowgres_viewer, flowgres_definer using (tenant_id = %L)',
      p_table, flowgres.system_tenant_id());
  end if;
end;
$$;
comment on function flowgres.protect_table(regclass) is $$Put a table under the tenant policies

Whoever makes a table calls this: migrations through the block below, the partition maker for each partition.$$;

do $$
declare
  v_table regclass;
begin
  for v_table in
    select c.oid::regclass
    from pg_catalog.pg_class as c
    where c.relnamespace = 'flowgres'::regnamespace and c.relkind in ('r', 'p')
    order by c.oid
  loop
    perform flowgres.protect_table(p_table => v_table);
  end loop;
end
$$;
