-- Deleting old rows where no partition can be dropped: in the default one, and in periods that are still needed.

set local role flowgres_owner;

create or replace function flowgres.delete_history(p_family text, p_suffix text, p_tenant_ids uuid[], p_keys uuid[])
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_table flowgres.history_tables;
  v_deleted integer := 0;
begin
  for v_table in select t.* from flowgres.history_tables as t where t.family = p_family order by t.position desc loop
    execute format(
      'delete from flowgres.%1$I as d
      where d.ctid = any(array(
        select w.ctid
        from unnest($1, $2) as k (tenant_id, key)
        cross join lateral (
          select r.ctid from flowgres.%1$I as r where r.tenant_id = k.tenant_id and r.%2$I = k.key offset 0
        ) as w))', v_table.table_name || '_' || p_suffix, v_table.key_column)
    using p_tenant_ids, p_keys;
    get diagnostics v_deleted = row_count;
  end loop;
  return v_deleted;
end;
$$;
comment on function flowgres.delete_history(text, text, uuid[], uuid[]) is $$Delete these keys from all tables of a family, in the partitions of one suffix; returns how many of its first table$$;

create or replace function flowgres.sweep_history(p_family text, p_suffix text, p_before timestamptz, p_limit integer)
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_table flowgres.history_tables;
  v_partition text;
  v_order text;
  v_last flowgres.history_sweeps;
  v_tenant_ids uuid[];
  v_keys uuid[];
  v_has_ended text := '';
begin
  select t.* into strict v_table from flowgres.history_tables as t where t.family = p_family and t.position = 1;
  v_partition := format('flowgres.%I', v_table.table_name || '_' || p_suffix);
  -- The default partition has an index by the key alone, the others have their primary key.
  v_order := format(
    case p_suffix when 'default' then '%2$s.%1$I, %2$s.tenant_id' else '%2$s.tenant_id, %2$s.%1$I' end, v_table.key_column, 'r');
  select s.* into v_last from flowgres.history_sweeps as s where s.family = p_family and s.suffix = p_suffix;

  -- The next rows in their order, each once a round, so that those that must stay are not looked at again and again.
  execute format(
    'select array_agg(n.tenant_id), array_agg(n.key)
    from (
      select r.tenant_id, r.%1$I as key
      from %2$s as r
      where (%3$s) > (%4$s) and r.%1$I < $3
      order by %3$s
      limit $4
    ) as n',
    v_table.key_column, v_partition, v_order, case p_suffix when 'default' then '$2, $1' else '$1, $2' end)
  into v_tenant_ids, v_keys
  using
    coalesce(v_last.last_tenant_id, flowgres.history_floor(p_at => '-infinity')),
    coalesce(v_last.last_key, flowgres.history_floor(p_at => '-infinity')), flowgres.history_floor(p_at => p_before), p_limit;

  if cardinality(v_keys) = p_limit then
    insert into flowgres.history_sweeps as s (family, suffix, last_tenant_id, last_key)
    values (p_family, p_suffix, v_tenant_ids[p_limit], v_keys[p_limit])
    on conflict (tenant_id, family, suffix) do update
    set last_tenant_id = excluded.last_tenant_id, last_key = excluded.last_key;
  elsif v_last.family is not null then
    delete from flowgres.history_sweeps as s where s.family = p_family and s.suffix = p_suffix;
  end if;
  if v_keys is null then
    return 0;
  end if;

  -- An execution goes as a whole, from when it ended longer ago than the retention.
  if (select f.waits_for_end from flowgres.history_families as f where f.family = p_family) then
    v_has_ended := 'and r.finished_at < $3';
  end if;
  execute format(
    'select array_agg(o.tenant_id), array_agg(o.key)
    from unnest($1, $2) as k (tenant_id, key)
    cross join lateral (
      select r.tenant_id, r.%1$I as key
      from %2$s as r
      where r.tenant_id = k.tenant_id and r.%1$I = k.key %3$s
      for update skip locked
    ) as o', v_table.key_column, v_partition, v_has_ended)
  into v_tenant_ids, v_keys
  using v_tenant_ids, v_keys, p_before;
  if v_keys is null then
    return 0;
  end if;
  return flowgres.delete_history(p_family => p_family, p_suffix => p_suffix, p_tenant_ids => v_tenant_ids, p_keys => v_keys);
end;
$$;
comment on function flowgres.sweep_history(text, text, timestamptz, integer) is $$Delete what is old among the next rows of a partition, up to p_limit of them; returns how many of its first table

Goes through the partition in the order of an index; the next call goes on where this one has stopped, and at the end from the
beginning again.$$;
