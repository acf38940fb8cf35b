-- Changes of tables: written down in the transaction of the application, in a form that costs it as little as can be.
--
-- What they start is the runner's matter (changes.sql). So a statement of an application never waits for the engine and never
-- fails by what a workflow says; and a change that is rolled back was never there.

set local role flowgres_owner;

create or replace function flowgres.columns_as_text(p_relation oid)
  returns text language sql stable set search_path to pg_catalog, pg_temp
as $$
  select string_agg(
    case when t.is_foreign then format('case when r.%1$I is not null then format(''%%s'', r.%1$I) end as %1$I', a.attname)
      else format('r.%I', a.attname) end, ', ' order by a.attnum)
  from pg_attribute as a
  cross join lateral (
    select a.atttypid >= 16384 and not (y.typtype = 'd' and y.typbasetype < 16384) as is_foreign
    from pg_type as y
    where y.oid = a.atttypid
  ) as t
  where a.attrelid = p_relation and a.attnum > 0 and not a.attisdropped
  having bool_or(t.is_foreign);
$$;
comment on function flowgres.columns_as_text(oid) is $$The columns of a table, those of types that were made here as text; null when there are none of these

Making JSON of a type calls the cast to json that its owner may have made, and it would run with the rights of the engine. The text of
a value is made by the server's own functions alone.$$;

set local role flowgres_engine;

create or replace function flowgres.capture_changes()
  returns trigger language plpgsql security definer set search_path to pg_catalog, pg_temp
as $body$
declare
  c_most_rows constant integer := 1000;
  c_query constant text :=
    'select array(select json_agg(l.r order by l.place) from'
    ' (select (select c from (select %s) as c) as r, row_number() over () as place from %I as r) as l'
    ' group by (l.place - 1) / %s order by (l.place - 1) / %s)';
  v_tenant_id uuid := tg_argv[0]::uuid;
  v_name text := tg_argv[1];
  v_change text := lower(tg_op collate "C");
  v_now timestamptz;
  v_columns text;
  v_count integer := 0;
  v_old json[];
  v_new json[];
begin
  if not exists (
    select from flowgres.subscriptions as s
    where s.tenant_id = v_tenant_id and s.name = v_name and s.kind = 'table' and s.is_active and v_change = any(s.changes))
  then
    return null;
  end if;
  -- Asked here, where the plan is kept, as most tables have no such type.
  if exists (
    select from pg_attribute as a
    where a.attrelid = tg_relid and a.attnum > 0 and not a.attisdropped and a.atttypid >= 16384)
  then
    v_columns := flowgres.columns_as_text(tg_relid);
  end if;
  -- The names of transition tables stand before all others. Both have their rows in the same order.
  if tg_op <> 'INSERT' then
    v_count := (select count(*) from flowgres_old);
    if v_columns is null and v_count <= c_most_rows then
      v_old := array[(select json_agg(r) from flowgres_old as r)];
    elsif v_columns is null then
      v_old := array(
        select json_agg(l.r order by l.place)
        from (select r, row_number() over () as place from flowgres_old as r) as l
        group by (l.place - 1) / c_most_rows order by (l.place - 1) / c_most_rows);
    else
      execute format(c_query, v_columns, 'flowgres_old', c_most_rows, c_most_rows) into v_old;
    end if;
  end if;
  if tg_op <> 'DELETE' then
    v_count := (select count(*) from flowgres_new);
    if v_columns is null and v_count <= c_most_rows then
      v_new := array[(select json_agg(r) from flowgres_new as r)];
    elsif v_columns is null then
      v_new := array(
        select json_agg(l.r order by l.place)
        from (select r, row_number() over () as place from flowgres_new as r) as l
        group by (l.place - 1) / c_most_rows order by (l.place - 1) / c_most_rows);
    else
      execute format(c_query, v_columns, 'flowgres_new', c_most_rows, c_most_rows) into v_new;
    end if;
  end if;
  if v_count = 0 then
    return null;
  end if;
  v_now := flowgres.now();
  insert into flowgres.table_changes (
    tenant_id, id, name, change, old_rows, new_rows, row_count, hops, changed_at, due_at)
  select
    v_tenant_id, flowgres.uuid_v7(v_now + p.place * interval '1 millisecond'), v_name, v_change, v_old[p.place], v_new[p.place],
    least(v_count - (p.place - 1) * c_most_rows, c_most_rows), flowgres.count_hops(v_tenant_id), v_now, v_now
  from generate_subscripts(coalesce(v_new, v_old), 1) as p (place);
  -- A hint, and only to who sleeps: it takes a lock of the whole database at the commit. Who hears nothing looks once a second.
  if exists (select from flowgres.runners as r where r.is_idle and r.stopped_at is null) then
    perform pg_notify('flowgres_work', '');
  end if;
  return null;
end;
$body$;
comment on function flowgres.capture_changes() is $$What triggers of installed tables call: write down the rows that a statement has changed

Arguments: the tenant whose workflows it may start, and the name of the table in their definitions. Whoever may create a trigger with it
chooses the tenant: that is an operator's right, and no role of an application has it.$$;
