-- Dropping the periods of history whose time has passed, as a whole: what still runs is carried over into the default partition.

set local role flowgres_owner;

create or replace function flowgres.open_executions(p_from uuid, p_to uuid)
  returns table (tenant_id uuid, execution_id uuid) language sql stable set search_path to pg_catalog, pg_temp
  -- What the planner knows of the queue is out of date, whatever it is.
  set enable_seqscan to off
as $$
  -- An execution that has not ended has a row in the queue, whose key begins with the tenant: one short look for each tenant,
  -- however many executions there are.
  select t.tenant_id, o.execution_id
  from flowgres.tenants as t
  cross join lateral (
    select distinct q.execution_id
    from flowgres.work_queue as q
    where q.tenant_id = t.tenant_id and q.execution_id >= p_from and q.execution_id < p_to
    offset 0
  ) as o;
$$;
comment on function flowgres.open_executions(uuid, uuid) is $$Executions of a range of ids that have not ended.$$;

create or replace function flowgres.find_unwanted_period(p_family text)
  returns flowgres.history_periods language sql stable set search_path to pg_catalog, pg_temp
as $$
  select l.*
  from (
    select p.* from flowgres.history_periods as p where p.family = p_family order by p.starts_at desc limit 1
  ) as l
  where l.starts_at > flowgres.now() + interval '24 hours' and exists (
    select from flowgres.history_periods as p
    where p.family = p_family and p.starts_at > flowgres.now() + interval '24 hours'
      and p.planned_days <> (select h.period_days from flowgres.plan_history(p_family => p_family) as h));
$$;
comment on function flowgres.find_unwanted_period(text) is $$The last period, if it was made ahead for settings that have changed, or stands behind one that was

Such periods are empty. They go from the last one on, so that no gap comes about, and are made anew at their new length.$$;

create or replace function flowgres.is_history_period_droppable(p_period flowgres.history_periods)
  returns boolean language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_table flowgres.history_tables;
  v_waits_for_end boolean := (select f.waits_for_end from flowgres.history_families as f where f.family = p_period.family);
  v_tenant_ids uuid[];
  v_keys uuid[];
  v_count bigint;
  v_total bigint := 0;
begin
  if p_period.ends_at > flowgres.now() then
    select t.* into strict v_table from flowgres.history_tables as t where t.family = p_period.family and t.position = 1;
    execute format('select count(*) from (select from flowgres.%I limit 1) as o', v_table.table_name || '_' || p_period.suffix)
    into v_count;
    return v_count = 0;
  end if;
  if not v_waits_for_end then
    return true;
  end if;
  select array_agg(o.tenant_id), array_agg(o.execution_id) into v_tenant_ids, v_keys
  from flowgres.open_executions(
    p_from => flowgres.history_floor(p_at => p_period.starts_at), p_to => flowgres.history_floor(p_at => p_period.ends_at)) as o;
  if cardinality(v_keys) > 5000 then
    return false;
  end if;
  for v_table in select t.* from flowgres.history_tables as t where t.family = p_period.family order by t.position loop
    execute format(
      'select count(*)
      from unnest($1, $2) as k (tenant_id, key)
      cross join lateral (
        select from flowgres.%I as r where r.tenant_id = k.tenant_id and r.%I = k.key offset 0
      ) as r', v_table.table_name || '_' || p_period.suffix, v_table.key_column)
    into v_count
    using v_tenant_ids, v_keys;
    v_total := v_total + v_count;
  end loop;
  return v_total <= 5000;
end;
$$;
comment on function flowgres.is_history_period_droppable(flowgres.history_periods) is $$Whether so few rows of a period are still needed that they can be carried over while everybody waits: 5,000.$$;

create or replace function flowgres.drop_history_period(p_period flowgres.history_periods)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_table flowgres.history_tables;
  v_partition text;
  v_columns text;
  v_tenant_ids uuid[];
  v_keys uuid[];
begin
  perform flowgres.lock_history_tables(p_period => p_period, p_parent_mode => 'access exclusive');
  -- Only now nobody can start, end or retry one of them any more.
  if (select f.waits_for_end from flowgres.history_families as f where f.family = p_period.family) then
    select array_agg(o.tenant_id), array_agg(o.execution_id) into v_tenant_ids, v_keys
    from flowgres.open_executions(
      p_from => flowgres.history_floor(p_at => p_period.starts_at), p_to => flowgres.history_floor(p_at => p_period.ends_at)) as o;
  end if;
  for v_table in select t.* from flowgres.history_tables as t where t.family = p_period.family order by t.position loop
    v_partition := v_table.table_name || '_' || p_period.suffix;
    if p_period.attached_at is not null then
      execute format('alter table flowgres.%I detach partition flowgres.%I', v_table.table_name, v_partition);
    end if;
    if v_keys is not null then
      select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into v_columns
      from pg_catalog.pg_attribute as a
      where a.attrelid = format('flowgres.%I', v_table.table_name)::regclass and a.attnum > 0
        and not a.attisdropped and a.attgenerated = '';
      execute format(
        'insert into flowgres.%1$I (%2$s)
        select %2$s from flowgres.%3$I as r
        where r.ctid = any(array(
          select w.ctid
          from unnest($1, $2) as k (tenant_id, key)
          cross join lateral (
            select p.ctid from flowgres.%3$I as p where p.tenant_id = k.tenant_id and p.%4$I = k.key offset 0
          ) as w))', v_table.table_name, v_columns, v_partition, v_table.key_column)
      using v_tenant_ids, v_keys;
    end if;
    execute format('drop table flowgres.%I', v_partition);
  end loop;
  delete from flowgres.history_periods as p where p.family = p_period.family and p.suffix = p_period.suffix;
  delete from flowgres.history_sweeps as s where s.family = p_period.family and s.suffix = p_period.suffix;
end;
$$;
comment on function flowgres.drop_history_period(flowgres.history_periods) is $$Drop the tables of a period, after carrying over what belongs to executions that have not ended

Those rows go through the parent, which no longer has a partition for them, into the default one. Fails with lock_not_available
when others hold the tables.$$;

create or replace function flowgres.retire_history(p_limit integer)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp set lock_timeout to '100ms'
as $$
declare
  v_family text;
  v_plan record;
  v_before timestamptz;
  v_period flowgres.history_periods;
  v_sources text[];
  v_deleted integer := 0;
  v_postponed integer := 0;
begin
  if not flowgres.take_history_turn() then
    return jsonb_build_object('retired', 0, 'deleted', 0, 'postponed', 0);
  end if;
  for v_family in select f.family from flowgres.history_families as f order by f.family loop
    select p.* into v_plan from flowgres.plan_history(p_family => v_family) as p;
    v_before := flowgres.now() - v_plan.retention;
    v_sources := array['default'];
    for v_period in
      select p.* from flowgres.history_periods as p
      where p.family = v_family and (
        p.ends_at < v_before or p.suffix = (flowgres.find_unwanted_period(p_family => v_family)).suffix)
      order by p.starts_at
    loop
      -- One that is still needed is passed over, and what is old in it is deleted instead.
      if not flowgres.is_history_period_droppable(p_period => v_period) then
        v_sources := v_sources || v_period.suffix;
        continue;
      end if;
      begin
        perform flowgres.drop_history_period(p_period => v_period);
        -- Its locks last until the commit, and are to hold up nobody any longer.
        return jsonb_build_object('retired', 1, 'deleted', v_deleted, 'postponed', v_postponed);
      exception when lock_not_available or deadlock_detected then
        v_postponed := v_postponed + 1;
        exit;
      end;
    end loop;

    -- Also what is old in a period that is longer than the settings ask today: it will not be dropped for long.
    v_sources := v_sources || array(
      select p.suffix from flowgres.history_periods as p
      where p.family = v_family and p.attached_at is not null and p.starts_at < v_before and p.ends_at >= v_before
        and p.planned_days > v_plan.period_days
      order by p.starts_at);
    v_deleted := v_deleted + (
      select sum(flowgres.sweep_history(p_family => v_family, p_suffix => s, p_before => v_before, p_limit => p_limit))
      from unnest(v_sources) as s);
  end loop;
  return jsonb_build_object('retired', 0, 'deleted', v_deleted, 'postponed', v_postponed);
end;
$$;
comment on function flowgres.retire_history(integer) is $$Drop one period older than its retention, or else delete old rows where none can be dropped; to be called again while it did

Called by runners; returns {retired, postponed} in periods and {deleted} in rows of the family's first table, so in executions,
of which up to p_limit are looked at in each partition. It waits 100 ms for its locks, and keeps them while it carries over what is open.$$;

create or replace function flowgres.maintain_history()
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_created jsonb := flowgres.create_history();
begin
  if v_created ->> 'created' <> '0' then
    return v_created || '{"retired": 0, "deleted": 0}';
  end if;
  return v_created || flowgres.retire_history(p_limit => 500);
end;
$$;
comment on function flowgres.maintain_history() is $$Create a period of history, or else retire one

For runners of the first version, which know neither create_history nor retire_history.$$;
