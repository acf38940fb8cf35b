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
        a.given[1]::uuid as tenant_id, a.given[2] as name,
        case when t.tgtype & 4 > 0 then 'insert' when t.tgtype & 8 > 0 then 'delete' else 'update' end as change,
        t.tgname::text as trigger, n.nspname || '.' || c.relname as relation, t.tgenabled <> 'D' as is_enabled,
        format('drop trigger %I on %I.%I', t.tgname, n.nspname, c.relname) as removal
      from pg_trigger as t
      join pg_class as c on c.oid = t.tgrelid
      join pg_namespace as n on n.oid = c.relnamespace
      cross join lateral (select string_to_array(encode(t.tgargs, 'escape'), '\000') as given) as a
      where t.tgfoid = 'flowgres.capture_changes'::regproc and not t.tgisinternal
    ),
    both_sides as (
      select
        coalesce(w.tenant_id, i.tenant_id) as tenant_id, coalesce(w.name, i.name) as name, coalesce(w.change, i.change) as change,
        coalesce(w.workflows, '[]') as workflows, i.relation, i.removal,
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
      'table', b.name, 'event', b.change, 'tenant', coalesce(t.slug, b.tenant_id::text), 'workflows', b.workflows, 'status', b.status,
      'relation', b.relation,
      'install', case when b.status in ('missing', 'disabled') then
        flowgres.table_trigger_sql(p_tenant_id => b.tenant_id, p_name => b.name, p_change => b.change) end,
      'remove', b.removal) order by b.name, t.slug, b.change), '[]')
    from both_sides as b
    left join flowgres.tenants as t on t.tenant_id = b.tenant_id
    where (p_slug is null or t.slug = p_slug) and (p_table is null or b.name = p_table));
end;
$body$;
comment on function flowgres.list_table_triggers(text, text) is $$Triggers on tables, those that workflows ask for and those that there are

A list of {table, event, tenant, workflows, status, relation, install, remove}. status: installed, missing (asked for and not there),
no_table, unused (there, and no workflow asks for it), disabled, renamed (the table has another name now), inactive (so are its
workflows). install and remove are the statements that an operator runs.$$;
