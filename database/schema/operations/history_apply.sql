-- after-every-change
--
-- The periods that are missing now: all at the installation, and those of a family that a migration has added.

set local role flowgres_owner;

-- A table that joined a family later has no partitions for the periods that there are.
do $$
declare
  v_table record;
begin
  for v_table in
    select t.table_name, t.storage, p.suffix, p.starts_at, p.ends_at, p.attached_at, format('flowgres.%I', t.table_name || '_' || p.suffix) as partition,
      pg_get_expr(c.relpartbound, c.oid) as bounds
    from flowgres.history_tables as t
    join flowgres.history_periods as p on p.family = t.family
    join flowgres.history_tables as f on f.family = t.family and f.position = 1
    left join pg_catalog.pg_class as c on c.oid = to_regclass(format('flowgres.%I', f.table_name || '_' || p.suffix))
    where to_regclass(format('flowgres.%I', t.table_name || '_' || p.suffix)) is null
    order by t.position, p.starts_at
  loop
    execute format(
      'create table %s (like flowgres.%I including all excluding identity) with (%s)', v_table.partition, v_table.table_name,
      v_table.storage);
    perform flowgres.protect_table(p_table => v_table.partition::regclass);
    execute format(
      'comment on table %s is %L', v_table.partition, case
        when v_table.attached_at is null then format('%s of a period that is not attached yet', v_table.table_name)
        else format('%s from %s to %s', v_table.table_name, v_table.starts_at, v_table.ends_at) end);
    if v_table.attached_at is not null then
      execute format('alter table flowgres.%I attach partition %s %s', v_table.table_name, v_table.partition, v_table.bounds);
    end if;
  end loop;
end
$$;

do $$
begin
  while (flowgres.create_history() ->> 'created')::integer > 0 loop
    null;
  end loop;
end
$$;
