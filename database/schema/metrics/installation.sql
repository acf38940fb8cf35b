-- Figures of the installation, for monitors: counters that are kept, and what is so now. The price does not grow with history or queue.

set local role flowgres_engine;

create or replace function flowgres.runner_counters()
  returns table (name text, total double precision) language sql stable rows 10 security definer set search_path to pg_catalog, pg_temp
as $$
  select c.name, sum(c.total)
  from (
    select r.type as name, r.seconds as total
    from flowgres.metric_rollups as r
    where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.span_seconds = 0 and r.measure = 'runner'
    union all
    select n.key, n.value::double precision
    from flowgres.runners as r
    cross join lateral jsonb_each_text(case jsonb_typeof(r.stats -> 'counters') when 'object' then r.stats -> 'counters' else '{}' end) as n
    where n.value ~ '^[0-9]{1,15}(\.[0-9]{1,15})?$'
  ) as c
  group by c.name;
$$;
comment on function flowgres.runner_counters() is $$What all runners have counted, those included that are gone

Each says what its process counted since it is known under its id, with its heartbeats; prune adds the last word of those it deletes.$$;

create or replace function flowgres.forget_runners(p_before timestamptz)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_count integer;
begin
  -- One statement: a runner is counted by its row or here, never twice and never not.
  with gone as (
    delete from flowgres.runners as r
    where r.ctid = any(array(
      select s.ctid
      from flowgres.runners as s
      where s.stopped_at < p_before and not exists (select from flowgres.work_queue as q where q.runner_id = s.id)
      for update skip locked))
    returning r.stats
  ),
  counted as (
    insert into flowgres.metric_rollups as r (tenant_id, span_seconds, starts_at, workflow_id, measure, type, total, seconds)
    select
      flowgres.system_tenant_id(), 0, '-infinity', flowgres.system_tenant_id(), 'runner', n.key, count(*), sum(n.value::double precision)
    from gone as g
    cross join lateral jsonb_each_text(case jsonb_typeof(g.stats -> 'counters') when 'object' then g.stats -> 'counters' else '{}' end) as n
    where n.value ~ '^[0-9]{1,15}(\.[0-9]{1,15})?$'
    group by n.key
    on conflict (tenant_id, span_seconds, starts_at, workflow_id, measure, step, type, status) do update
    set total = r.total + excluded.total, seconds = r.seconds + excluded.seconds
  )
  select count(*) into v_count from gone;
  return v_count;
end;
$$;
comment on function flowgres.forget_runners(timestamptz) is $$Delete runners that stopped before a moment and hold nothing, and keep what they counted; returns how many.$$;

create or replace function flowgres.runner_states(p_since timestamptz)
  returns jsonb language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  -- What a runner tells of itself is read with care: an older one says less, and one gone wrong anything.
  select jsonb_build_object(
    'deaf_runners', count(*) filter (
      where case when r.stats ->> 'deaf_seconds' ~ '^[0-9]{1,9}(\.[0-9]{1,9})?$' then (r.stats ->> 'deaf_seconds')::double precision end > 15),
    'runners_without_evaluators', count(*) filter (where r.stats ->> 'is_without_evaluators' = 'true'),
    'evaluators_died_lately', coalesce(sum(case
      when r.stats ->> 'evaluators_died_lately' ~ '^[0-9]{1,9}$' then (r.stats ->> 'evaluators_died_lately')::bigint end), 0))
  from flowgres.runners as r
  where flowgres.is_live(r, p_since);
$$;
comment on function flowgres.runner_states(timestamptz) is $$How the parts of runners are that were seen since a moment

Returns {deaf_runners, runners_without_evaluators, evaluators_died_lately}: of how many LISTEN has not worked for 15 s, how many cannot start
a process for expressions, and how many such processes have died within a minute.$$;

create or replace function flowgres.installation_health()
  returns jsonb language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select flowgres.health() || flowgres.runner_states(p_since => f.now - make_interval(
    secs => (flowgres.setting(flowgres.system_tenant_id(), 'lease_seconds'))::double precision)) || jsonb_build_object(
    'schedule_lag_seconds', greatest(coalesce(extract(epoch from f.now - (
      select s.next_at from flowgres.schedules as s where s.next_at is not null order by s.next_at limit 1)), 0), 0),
    'changes_lag_seconds', greatest(coalesce(extract(epoch from f.now - (
      select c.due_at from flowgres.table_changes as c order by c.due_at limit 1)), 0), 0),
    'sla_lag_seconds', greatest(coalesce(extract(epoch from f.now - flowgres.next_sla_at()), 0), 0),
    'history_ahead_seconds', (
      select extract(epoch from max(p.ends_at) - f.now)
      from flowgres.history_periods as p
      where p.family = 'executions' and p.attached_at is not null))
  from (select flowgres.now() as now) as f;
$$;
comment on function flowgres.installation_health() is $$What health() says, and more of what must go on by itself, for the front

How the parts of runners are, how late the latest schedule, the oldest change of a table and the latest sla are, and for how long there are partitions.
Tells nothing of any tenant.$$;

create or replace function flowgres.installation_metrics()
  returns jsonb language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select flowgres.installation_health() || jsonb_build_object(
    'counters', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'measure', r.measure, 'type', r.type, 'status', r.status, 'total', r.total, 'retried', r.retried, 'seconds', r.seconds,
        'places', to_jsonb(r.places), 'counts', to_jsonb(r.counts)) order by r.measure, r.type collate "C", r.status), '[]')
      from flowgres.metric_rollups as r
      where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.span_seconds = 0 and r.measure <> 'runner'
    ),
    'runner_counters', (select coalesce(jsonb_object_agg(c.name, c.total), '{}') from flowgres.runner_counters() as c),
    'measured_age_seconds', greatest(extract(epoch from f.now - (
      select m.measured_until from flowgres.metric_marks as m where m.tenant_id = '00000000-0000-0000-0000-000000000000'
    )), 0),
    -- Of the first so many: a backlog is one, whether it has ten thousand rows or a million.
    'changes', (
      select jsonb_build_object('waiting', count(*) filter (where c.attempts = 0), 'failing', count(*) filter (where c.attempts > 0))
      from (select d.attempts from flowgres.table_changes as d order by d.due_at limit 10000) as c),
    'queue', jsonb_build_object(
      'ready', (select count(*) from (select from flowgres.work_queue as q where flowgres.is_ready(q) limit 10000) as q),
      'leased', (select count(*) from (select from flowgres.work_queue as q where q.runner_id is not null limit 10000) as q),
      'waiting', (select count(*) from (select from flowgres.work_queue as q where q.due_at is not null limit 10000) as q)))
  from (select flowgres.now() as now) as f;
$$;
comment on function flowgres.installation_metrics() is $$Figures of the whole installation, for its monitor

Those of installation_health() and {counters, runner_counters, measured_age_seconds, queue: {ready, leased, waiting}, changes: {waiting,
failing} (both counted up to 10,000)}. counters are rows of metric_rollups: how many have ended since it was installed, as far
as history is measured. Tells nothing of any tenant.$$;
