-- How long the periods of a family are, and what stands in the way of dropping one.

set local role flowgres_owner;

create or replace function flowgres.bounded_setting(p_name text, p_least integer, p_most integer)
  returns integer language sql stable set search_path to pg_catalog, pg_temp
as $$
  -- One that is missing counts as the most: what is not known is not deleted.
  select least(greatest(coalesce(
    (flowgres.setting(flowgres.system_tenant_id(), p_name))::numeric, p_most), p_least), p_most)::integer;
$$;
comment on function flowgres.bounded_setting(text, integer, integer) is $$A number among the installation's settings, kept within bounds.$$;

create or replace function flowgres.plan_history(
  p_family text, out retention interval, out ahead interval, out period_days integer
)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_family flowgres.history_families;
  v_shortest integer;
  v_kept integer;
  v_ahead integer;
begin
  select f.* into strict v_family from flowgres.history_families as f where f.family = p_family;
  v_shortest := flowgres.bounded_setting(p_name => v_family.period_setting, p_least => 1, p_most => 3650);
  v_kept := flowgres.bounded_setting(p_name => v_family.retention_setting, p_least => 0, p_most => 36500);
  v_ahead := v_shortest * flowgres.bounded_setting(p_name => v_family.ahead_setting, p_least => 1, p_most => 12);
  -- Every statement pays for every partition, so there are 12 at most. The ends of the periods lie from "kept" days back to
  -- "ahead" days and a period ahead: with a tenth of both together for a period that makes 11, and one to spare, which
  -- waits for its locks.
  period_days := greatest(v_shortest, ceil((v_kept + v_ahead) / 10.0));
  -- In hours: a day of a session's time zone may have 23 of them.
  retention := v_kept * interval '24 hours';
  ahead := v_ahead * interval '24 hours';
end;
$$;
comment on function flowgres.plan_history(text) is $$What the settings ask of a family: how long rows are kept, how far ahead periods are made, how long one is.$$;

create or replace function flowgres.next_period_days(p_family text)
  returns integer language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_plan record;
  v_now timestamptz := flowgres.now();
  v_end timestamptz;
  v_most bigint;
  v_days integer;
begin
  select p.* into v_plan from flowgres.plan_history(p_family => p_family) as p;
  select greatest(v_now, max(p.ends_at)) into v_end from flowgres.history_periods as p where p.family = p_family;
  select greatest(11, 1 + count(*)) into v_most
  from flowgres.history_periods as p
  where p.family = p_family and p.ends_at >= greatest(v_now, v_end - v_plan.ahead) - v_plan.retention;
  -- Periods of other settings may be many, and stay for long: then the next ones are as much longer as it takes until the
  -- old ones have gone. For each of the next ones: when it is made, how many stand beside it that are not too old?
  v_days := v_plan.period_days;
  while exists (
    select from generate_series(1, 11) as n (number)
    where n.number + (
      select count(*) from flowgres.history_periods as p
      where p.family = p_family and p.ends_at >= greatest(
        v_now, v_end - v_plan.ahead + (n.number - 1) * v_days * interval '24 hours') - v_plan.retention
    ) > v_most)
  loop
    v_days := v_days + 1;
  end loop;
  return v_days;
end;
$$;
comment on function flowgres.next_period_days(text) is $$The length of the next period: that of the plan, or longer while periods of earlier settings are many.$$;

create or replace function flowgres.history_floor(p_at timestamptz)
  returns uuid language sql immutable set search_path to pg_catalog, pg_temp
as $$
  -- No id is older than the epoch, and -infinity has no id at all.
  select flowgres.uuid_v7_floor(greatest(p_at, 'epoch'));
$$;
comment on function flowgres.history_floor(timestamptz) is $$The smallest id of a moment, of any moment.$$;

create or replace function flowgres.lock_history_tables(p_period flowgres.history_periods, p_parent_mode text)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_until timestamptz := clock_timestamp() + current_setting('lock_timeout')::interval;
  v_lock text;
begin
  -- Whoever comes after a lock that is waited for waits, too. So all of them together have the time of one: what the caller
  -- has set as its lock_timeout.
  for v_lock in
    select l.command
    from flowgres.history_tables as t
    cross join lateral (values
      (1, format('lock table only flowgres.%I in %s mode', t.table_name, p_parent_mode)),
      (2, format('lock table flowgres.%I in access exclusive mode', t.table_name || '_default')),
      (3, format('lock table flowgres.%I in access exclusive mode', t.table_name || '_' || p_period.suffix))
    ) as l (number, command)
    where t.family = p_period.family
    order by t.position, l.number
  loop
    perform set_config(
      'lock_timeout', greatest(1, ceil(extract(epoch from v_until - clock_timestamp()) * 1000))::text, true);
    execute v_lock;
  end loop;
end;
$$;
comment on function flowgres.lock_history_tables(flowgres.history_periods, text) is $$Lock the tables of a period, their parents and the default partitions, or fail soon

The caller sets lock_timeout for itself: it is the time for all locks together.$$;
