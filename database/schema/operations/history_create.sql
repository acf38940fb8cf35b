-- Making the periods of history: tables are built apart, where nobody is in the way, and attached when their locks are free.

set local role flowgres_owner;

create or replace function flowgres.create_history_defaults(p_family text)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_table flowgres.history_tables;
  v_default text;
begin
  -- The safety net: a row must not be refused because nobody made a partition in time. Here it also ends up when it outlives its
  -- period.
  for v_table in
    select t.* from flowgres.history_tables as t
    where t.family = p_family and to_regclass(format('flowgres.%I', t.table_name || '_default')) is null
    order by t.position
  loop
    v_default := format('flowgres.%I', v_table.table_name || '_default');
    execute format('create table %s partition of flowgres.%I default with (%s)', v_default, v_table.table_name, v_table.storage);
    execute format('comment on table %s is %L', v_default, 'Rows without a period: it was not made in time, or they outlived it');
    perform flowgres.protect_table(p_table => v_default::regclass);
  end loop;
  -- The newest and the oldest key of the default partition are asked for every minute.
  select t.* into strict v_table from flowgres.history_tables as t where t.family = p_family and t.position = 1;
  if to_regclass(format('flowgres.%I', v_table.table_name || '_default_key_idx')) is null then
    execute format(
      'create index %I on flowgres.%I (%I, tenant_id)',
      v_table.table_name || '_default_key_idx', v_table.table_name || '_default', v_table.key_column);
  end if;
end;
$$;
comment on function flowgres.create_history_defaults(text) is $$Make the default partitions of a family, unless they are there.$$;

create or replace function flowgres.build_history_period(p_family text)
  returns boolean language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_plan record;
  v_end timestamptz;
  v_days integer;
  v_suffix text;
  v_table flowgres.history_tables;
  v_partition text;
begin
  select p.* into v_plan from flowgres.plan_history(p_family => p_family) as p;
  select max(p.ends_at) into v_end from flowgres.history_periods as p where p.family = p_family;
  if v_end >= v_now + v_plan.ahead
    or exists (select from flowgres.history_periods as p where p.family = p_family and p.attached_at is null)
    -- It is first the turn of retire_history to take away what other settings made ahead.
    or (v_end > v_now + interval '24 hours' and (flowgres.find_unwanted_period(p_family => p_family)).suffix is not null)
  then
    return false;
  end if;
  v_days := flowgres.next_period_days(p_family => p_family);
  -- One after the other; after a time without maintenance from now on, and what came in between stays in the default partition.
  v_end := case
    when v_end is null then date_trunc('day', v_now at time zone 'UTC') at time zone 'UTC'
    else greatest(v_end, date_trunc('minute', v_now)) end;
  v_suffix := to_char(v_end at time zone 'UTC', 'YYYYMMDDHH24MI');

  for v_table in select t.* from flowgres.history_tables as t where t.family = p_family order by t.position loop
    v_partition := format('flowgres.%I', v_table.table_name || '_' || v_suffix);
    execute format(
      'create table %s (like flowgres.%I including all excluding identity) with (%s)',
      v_partition, v_table.table_name, v_table.storage);
    execute format('comment on table %s is %L', v_partition, format('%s of a period that is not attached yet', v_table.table_name));
    perform flowgres.protect_table(p_table => v_partition::regclass);
  end loop;
  insert into flowgres.history_periods (family, starts_at, ends_at, suffix, planned_days)
  values (p_family, v_end, v_end + v_days * interval '24 hours', v_suffix, v_plan.period_days);
  return true;
end;
$$;
comment on function flowgres.build_history_period(text) is $$Build the tables of a family's next period, if it is time, without touching the family; returns whether it was

They stand apart until attach_history_period has made them partitions; not before that is the next one built.$$;

create or replace function flowgres.attach_history_period(p_period flowgres.history_periods)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_period flowgres.history_periods := p_period;
  v_table flowgres.history_tables;
  v_newest uuid;
begin
  -- Of the parent only other changes of its structure are kept out. The tables are new and empty, so that attaching them
  -- reads nothing of theirs, and no constraint has to prove their bounds.
  perform flowgres.lock_history_tables(p_period => v_period, p_parent_mode => 'share update exclusive');

  -- Rows of this span that came meanwhile lie in the default partition: then it begins after them. Now that the partition is
  -- locked there will be no more.
  select t.* into strict v_table from flowgres.history_tables as t where t.family = v_period.family and t.position = 1;
  execute format(
    'select d.%1$I from flowgres.%2$I as d where d.%1$I >= $1 and d.%1$I < $2 order by d.%1$I desc, d.tenant_id desc limit 1',
    v_table.key_column, v_table.table_name || '_default')
  into v_newest
  using flowgres.history_floor(p_at => v_period.starts_at), flowgres.history_floor(p_at => v_period.ends_at);
  if v_newest is not null then
    v_period.starts_at := date_trunc('minute', greatest(flowgres.now(), flowgres.uuid_v7_time(v_newest))) + interval '1 minute';
    v_period.ends_at := v_period.starts_at + extract(epoch from p_period.ends_at - p_period.starts_at) * interval '1 second';
  end if;

  for v_table in select t.* from flowgres.history_tables as t where t.family = v_period.family order by t.position loop
    execute format(
      'alter table flowgres.%I attach partition flowgres.%I for values from (%L) to (%L)',
      v_table.table_name, v_table.table_name || '_' || v_period.suffix,
      flowgres.history_floor(p_at => v_period.starts_at), flowgres.history_floor(p_at => v_period.ends_at));
    execute format(
      'comment on table flowgres.%I is %L', v_table.table_name || '_' || v_period.suffix,
      format('%s from %s to %s', v_table.table_name, v_period.starts_at, v_period.ends_at));
  end loop;
  update flowgres.history_periods as p
  set starts_at = v_period.starts_at, ends_at = v_period.ends_at, attached_at = flowgres.now()
  where p.family = v_period.family and p.suffix = v_period.suffix;
end;
$$;
comment on function flowgres.attach_history_period(flowgres.history_periods) is $$Make the built tables of a period partitions of their parents

Fails with lock_not_available when others hold the default partitions, as pg_dump does for minutes.$$;

create or replace function flowgres.take_history_turn()
  returns boolean language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  -- A row that nobody else may lock. An advisory lock is anybody's: a tenant's login could hold it, and no period would be made.
  perform from flowgres.history_families as f
  where f.family = (select min(a.family) from flowgres.history_families as a)
  for no key update skip locked;
  return found;
end;
$$;
comment on function flowgres.take_history_turn() is $$Be the one who maintains the history until the end of this transaction; false when another one is$$;

create or replace function flowgres.create_history()
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp set lock_timeout to '100ms'
as $$
declare
  v_family text;
  v_period flowgres.history_periods;
  v_postponed integer := 0;
begin
  -- One runner at a time; another one has nothing to add.
  if flowgres.take_history_turn() then
    for v_family in select f.family from flowgres.history_families as f order by f.family loop
      perform flowgres.create_history_defaults(p_family => v_family);
      perform flowgres.build_history_period(p_family => v_family);
    end loop;
    for v_period in
      select p.* from flowgres.history_periods as p where p.attached_at is null order by p.starts_at, p.family
    loop
      begin
        perform flowgres.attach_history_period(p_period => v_period);
        -- Its locks last until the commit, and are not to wait for those of another one.
        return jsonb_build_object('created', 1, 'postponed', v_postponed);
      exception when lock_not_available or deadlock_detected then
        v_postponed := v_postponed + 1;
      end;
    end loop;
  end if;
  return jsonb_build_object('created', 0, 'postponed', v_postponed);
end;
$$;
comment on function flowgres.create_history() is $$Make the next period of history, if it is time; to be called again while it returns that it created one

Called by runners; returns {created, postponed} in periods. Nobody waits for it longer than 100 ms: a period whose locks are not
free by then is built, and attached by a later call.$$;
