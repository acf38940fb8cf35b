-- The triggers that operators install on tables of applications: which there should be, which there are.

set local role flowgres_owner;

create or replace function flowgres.table_trigger_name(p_tenant_id uuid, p_change text)
  returns text language sql immutable parallel safe
as $$
  select format('flowgres_%s_%s', p_change, replace(p_tenant_id::text, '-', ''));
$$;
comment on function flowgres.table_trigger_name(uuid, text) is $$What the trigger of a tenant for one kind of change is called on every table.$$;

create or replace function flowgres.table_trigger_sql(p_tenant_id uuid, p_name text, p_change text)
  returns text language sql immutable set search_path to pg_catalog, pg_temp
as $$
  select format(
    'create or replace trigger %I after %s on %I.%I referencing %s for each statement execute function flowgres.capture_changes(%L, %L)',
    flowgres.table_trigger_name(p_tenant_id => p_tenant_id, p_change => p_change), p_change, split_part(p_name, '.', 1),
    split_part(p_name, '.', 2),
    case p_change
      when 'insert' then 'new table as flowgres_new'
      when 'delete' then 'old table as flowgres_old'
      else 'old table as flowgres_old new table as flowgres_new' end,
    p_tenant_id, p_name);
$$;
comment on function flowgres.table_trigger_sql(uuid, text, text) is $$The statement that installs the trigger of a tenant for one kind of change of a table.$$;

create or replace function flowgres.installed_triggers()
  returns table (tenant_id uuid, name text, change text, trigger text, schema_name text, table_name text, is_enabled boolean)
  language sql stable rows 10
as $$
  select
    -- Whoever installs one by hand may get this wrong; then it is no tenant's, and still to be seen.
    case when a.given[1] ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then a.given[1]::uuid end, a.given[2],
    case when t.tgtype & 4 > 0 then 'insert' when t.tgtype & 8 > 0 then 'delete' else 'update' end,
    t.tgname::text, n.nspname::text, c.relname::text,
    -- One that fires on replicas alone (R) is silent where an application writes.
    t.tgenabled in ('O', 'A')
  from pg_catalog.pg_trigger as t
  join pg_catalog.pg_class as c on c.oid = t.tgrelid
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  cross join lateral (select string_to_array(encode(t.tgargs, 'escape'), '\000') as given) as a
  where t.tgfoid = 'flowgres.capture_changes'::regproc and not t.tgisinternal;
$$;
comment on function flowgres.installed_triggers() is $$The triggers on tables of applications that there are, of all tenants

name is what definitions call the table; it has another name now when it was renamed. The catalogue tells the same to everybody.$$;

create or replace function flowgres.installed_changes()
  returns table (tenant_id uuid, name text, changes text[]) language sql stable rows 10
as $$
  select i.tenant_id, i.name, array_agg(i.change)
  from flowgres.installed_triggers() as i
  where i.is_enabled
  group by i.tenant_id, i.name;
$$;
comment on function flowgres.installed_changes() is $$Which changes of which tables are told to which tenants by installed triggers.$$;

create or replace function flowgres.describe_subscriptions(p_workflow flowgres.workflows)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', s.id,
    'workflow_id', s.workflow_id,
    'workflow_name', (p_workflow).name,
    'kind', s.kind,
    'name', s.name,
    'changes', s.changes,
    'status', case when s.is_active then 'active' else 'inactive' end,
    'is_installed', case s.kind when 'table' then s.changes <@ coalesce(i.changes, '{}') end) order by s.place), '[]')
  from flowgres.subscriptions as s
  left join flowgres.installed_changes() as i on i.tenant_id = s.tenant_id and i.name = s.name
  where s.tenant_id = (p_workflow).tenant_id and s.workflow_id = (p_workflow).id;
$$;
comment on function flowgres.describe_subscriptions(flowgres.workflows) is $$The subscriptions of a workflow, in the order of its triggers

is_installed: whether every change that it asks for is told; null for an event.$$;

set local role flowgres_engine;

create or replace function flowgres.list_table_triggers(p_slug text default null, p_table text default null)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $body$
begin
  return (
    with wanted as (
      select s.tenant_id, s.name, c.change, jsonb_agg(distinct w.name) as workflows, bool_or(s.is_active) as is_active
      from flowgres.subscriptions as s
      join flowgres.workflows as w on w.tenant_id = s.tenant_id and w.id = s.workflow_id
      cross join unnest(s.changes) as c (change)
      where s.kind = 'table'
      group by s.tenant_id, s.name, c.change
    ),
    installed as (
      select
        t.tenant_id, t.name, t.change, t.is_enabled, t.schema_name || '.' || t.table_name as relation,
        format('drop trigger %I on %I.%I', t.trigger, t.schema_name, t.table_name) as removal
      from flowgres.installed_triggers() as t
    ),
    both_sides as (
      select
        coalesce(w.tenant_id, i.tenant_id) as tenant_id, coalesce(w.name, i.name) as name, coalesce(w.change, i.change) as change,
        coalesce(w.workflows, '[]') as workflows, coalesce(w.is_active, false) as is_wanted, i.relation, i.removal,
        case
          when i.name is null and not exists (
            select from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
            where n.nspname = split_part(w.name, '.', 1) and c.relname = split_part(w.name, '.', 2)) then 'no_table'
          when i.name is null then 'missing'
          when w.name is null then 'unused'
          when not i.is_enabled then 'disabled'
          when i.relation <> i.name then 'renamed'
          when not w.is_active then 'inactive'
          else 'installed'
        end as status
      from wanted as w
      full join installed as i on i.tenant_id = w.tenant_id and i.name = w.name and i.change = w.change
    )
    select coalesce(jsonb_agg(jsonb_build_object(
      'table', b.name, 'event', b.change, 'tenant', coalesce(t.slug, b.tenant_id::text), 'workflows', b.workflows,
      'is_wanted', b.is_wanted, 'status', b.status, 'relation', b.relation,
      'install', case when b.status in ('missing', 'disabled') then
        flowgres.table_trigger_sql(p_tenant_id => b.tenant_id, p_name => b.name, p_change => b.change) end,
      'remove', b.removal) order by b.name, t.slug, b.change), '[]')
    from both_sides as b
    left join flowgres.tenants as t on t.tenant_id = b.tenant_id
    where (p_slug is null or t.slug = p_slug) and (p_table is null or b.name = p_table));
end;
$body$;
comment on function flowgres.list_table_triggers(text, text) is $$Triggers on tables, those that workflows ask for and those that there are

A list of {table, event, tenant, workflows, is_wanted, status, relation, install, remove}. is_wanted: one of the workflows is active,
and starts nothing without it. status: installed, missing (asked for and not there),
no_table, unused (there, and no workflow asks for it), disabled, renamed (the table has another name now), inactive (so are its
workflows). install and remove are the statements that an operator runs.$$;
