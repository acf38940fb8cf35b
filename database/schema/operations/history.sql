-- History partitions: made ahead, dropped as a whole when their time has passed.

set local role flowgres_owner;

create or replace function flowgres.create_history_period(p_starts_at timestamptz, p_ends_at timestamptz, p_is_first boolean)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_suffix text := to_char(p_starts_at at time zone 'UTC', 'YYYYMMDDHH24MI');
  -- The first period reaches back to the beginning of time, so that no id is too old.
  v_from text := case when p_is_first then 'minvalue' else quote_literal(flowgres.uuid_v7_floor(p_starts_at)) end;
  v_parent text;
  v_partition text;
begin
  foreach v_parent in array array['executions', 'step_executions', 'attempts', 'events'] loop
    v_partition := format('flowgres.%I', v_parent || '_' || v_suffix);
    execute format(
      'create table %s partition of flowgres.%I for values from (%s) to (%L)%s',
      v_partition, v_parent, v_from, flowgres.uuid_v7_floor(p_ends_at),
      -- Executions are updated in place while they run; the others are mostly appended to.
      case v_parent
        when 'executions' then ' with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05)'
        when 'step_executions' then ' with (fillfactor = 95)'
        else ''
      end);
    execute format('comment on table %s is %L', v_partition,
      format('%s from %s to %s', v_parent, p_starts_at, p_ends_at));
    perform flowgres.protect_table(v_partition::regclass);
  end loop;
  insert into flowgres.history_periods (starts_at, ends_at, suffix) values (p_starts_at, p_ends_at, v_suffix);
end;
$$;
comment on function flowgres.create_history_period(timestamptz, timestamptz, boolean) is $$Make the partitions of one span of time.$$;

create or replace function flowgres.create_history_ahead()
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_days integer := (flowgres.setting(flowgres.system_tenant_id(), 'history_period_days'))::integer;
  v_ahead integer := (flowgres.setting(flowgres.system_tenant_id(), 'history_ahead_count'))::integer;
  v_span interval := make_interval(days => v_days);
  v_end timestamptz;
  v_stray uuid;
  v_created integer := 0;
begin
  select max(p.ends_at) into v_end from flowgres.history_periods as p;
  if v_end is null then
    v_end := date_trunc('day', v_now at time zone 'UTC') at time zone 'UTC';
    perform flowgres.create_history_period(v_end, v_end + v_span, true);
    v_end := v_end + v_span;
    v_created := 1;
  end if;
  while v_end < v_now + v_ahead * v_span loop
    -- Rows that came while nobody made partitions lie in the default one; a new span must begin after them.
    select max(e.id::text)::uuid into v_stray from flowgres.executions_default as e;
    if v_stray is not null and flowgres.uuid_v7_time(v_stray) >= v_end then
      v_end := date_trunc('minute', flowgres.uuid_v7_time(v_stray)) + interval '1 minute';
    end if;
    perform flowgres.create_history_period(v_end, v_end + v_span, false);
    v_end := v_end + v_span;
    v_created := v_created + 1;
  end loop;
  return v_created;
end;
$$;
comment on function flowgres.create_history_ahead() is $$Make the partitions of the next spans; returns how many spans were made.$$;

create or replace function flowgres.retire_history()
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_before timestamptz := flowgres.now()
    - make_interval(days => (flowgres.setting(flowgres.system_tenant_id(), 'log_retention_days'))::integer);
  v_period flowgres.history_periods;
  v_is_open boolean;
  v_parent text;
  v_retired integer := 0;
begin
  for v_period in
    select p.* from flowgres.history_periods as p where p.ends_at < v_before order by p.starts_at
  loop
    execute format('select exists (select from flowgres.%I where finished_at is null)', 'executions_' || v_period.suffix)
    into v_is_open;
    -- A period goes when its last execution has ended, and not out of turn: the first one has no lower bound.
    exit when v_is_open;
    foreach v_parent in array array['events', 'attempts', 'step_executions', 'executions'] loop
      execute format('drop table flowgres.%I', v_parent || '_' || v_period.suffix);
    end loop;
    delete from flowgres.history_periods as p where p.starts_at = v_period.starts_at;
    v_retired := v_retired + 1;
  end loop;
  return v_retired;
end;
$$;
comment on function flowgres.retire_history() is $$Drop the partitions of spans older than the retention, once all their executions have ended.$$;

create or replace function flowgres.maintain_history()
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp set lock_timeout to '2s'
as $$
begin
  -- One runner at a time; another one has nothing to add.
  if not pg_try_advisory_xact_lock(hashtext('flowgres.maintain_history')) then
    return jsonb_build_object('created', 0, 'retired', 0);
  end if;
  return jsonb_build_object(
    'created', flowgres.create_history_ahead(),
    'retired', flowgres.retire_history());
end;
$$;
comment on function flowgres.maintain_history() is $$Create history partitions ahead and retire old ones

Called by runners; returns {created, retired} in spans.$$;

do $$
declare
  v_parent text;
begin
  -- The safety net: a start must not fail because nobody made a partition in time.
  foreach v_parent in array array['executions', 'step_executions', 'attempts', 'events'] loop
    if to_regclass(format('flowgres.%I', v_parent || '_default')) is null then
      execute format('create table flowgres.%I partition of flowgres.%I default', v_parent || '_default', v_parent);
      execute format('comment on table flowgres.%I is %L', v_parent || '_default', 'Rows for which no period was made in time');
      perform flowgres.protect_table(format('flowgres.%I', v_parent || '_default')::regclass);
    end if;
  end loop;
  perform flowgres.create_history_ahead();
end
$$;
