-- Measuring history: what has ended is added to the figures once, by whichever runner comes by.
--
-- An execution is in one of three places, and changes it in one transaction: it started after the mark (it is read as it is), it
-- started before the mark and had not ended (metric_open: it is read as it is, too), or it is in the figures. So what
-- execution_metrics says is exact at any moment, whoever dies between.
--
-- The mark may pass a moment when no transaction is left that could still write ids of before. A moment is noted, and then the id of
-- the transaction that notes it; when all transactions with smaller ids have ended, whatever they started is to be seen. Others took
-- their transaction id later, and the time of their executions at most c_margin before that.

set local role flowgres_owner;

create or replace function flowgres.add_to_rollups(
  p_tenant_ids uuid[], p_from uuid[], p_to uuid[], p_look_at timestamptz, p_counted smallint[] default null
)
  returns integer language plpgsql
  -- How many executions there are is not known when it is planned: many, or it costs nothing anyway. So all that is put
  -- together is hashed.
  set enable_nestloop to off set enable_mergejoin to off set enable_sort to off
as $$
declare
  v_count integer;
  v_tenant_ids uuid[];
  v_ids uuid[];
begin
  -- One snapshot decides for each of them: what has ended is counted, and what has not is open. What counts metric_samples() says.
  with passed as materialized (
    select
      r.tenant_id, e.id, flowgres.id_minute(e.id) as minute, e.workflow_id, e.status, e.generation, e.created_at, e.scheduled_at,
      e.started_at, e.finished_at, r.counted
    from unnest(p_tenant_ids, p_from, p_to, p_counted) as r (tenant_id, from_id, to_id, counted)
    cross join lateral (
      select e.id, e.workflow_id, e.status, e.generation, e.created_at, e.scheduled_at, e.started_at, e.finished_at
      from flowgres.executions as e
      where e.tenant_id = r.tenant_id and e.id >= r.from_id and e.id <= r.to_id and not flowgres.is_hidden(e.id)
      offset 0
    ) as e
  ),
  opened as (
    insert into flowgres.metric_open (tenant_id, execution_id, look_at)
    select p.tenant_id, p.id, p_look_at from passed as p where p.finished_at is null
  ),
  -- Each kind by itself: what is the same for all of a kind is in no key.
  of_steps as materialized (
    select
      p.tenant_id, p.minute, p.workflow_id, s.step, s.type, s.status, flowgres.duration_place(s.seconds) as place,
      count(*) as total, sum(s.retried) as retried, coalesce(sum(s.seconds), 0) as seconds,
      array_agg(p.id) filter (where s.status = 'failed') as failed_ids
    from (
      select r.tenant_id, s.*
      from unnest(p_tenant_ids, p_from, p_to, p_counted) as r (tenant_id, from_id, to_id, counted)
      cross join lateral (
        select
          s.execution_id, s.step, s.type, s.status, greatest(s.attempts - 1, 0) as retried,
          date_part('epoch', s.finished_at - s.started_at) as seconds
        from flowgres.step_executions as s
        where s.tenant_id = r.tenant_id and s.execution_id >= r.from_id and s.execution_id <= r.to_id
          and s.finished_at is not null and s.iteration = -1 and s.type <> 'outputs'
          -- Of one that was retried after it was measured what has run since.
          and (r.counted is null or coalesce(s.generation, 1) > r.counted)
        offset 0
      ) as s
      offset 0
    ) as s
    join passed as p on p.id = s.execution_id and p.tenant_id = s.tenant_id
    where p.finished_at is not null
    group by 1, 2, 3, 4, 5, 6, 7
  ),
  of_executions as materialized (
    select
      p.tenant_id, p.minute, p.workflow_id, p.status, flowgres.duration_place(p.seconds) as place, count(*) as total,
      -- Those retries that its last end has not counted.
      sum(p.generation - coalesce(p.counted, 1)) as retried, coalesce(sum(p.seconds), 0) as seconds,
      array_agg(p.id) filter (where p.status = 'failed') as failed_ids
    from (select e.*, date_part('epoch', e.finished_at - e.started_at) as seconds from passed as e) as p
    where p.finished_at is not null
    group by 1, 2, 3, 4, 5
  ),
  of_waits as (
    select
      p.tenant_id, p.minute, p.workflow_id, flowgres.duration_place(p.seconds) as place, count(*) as total,
      sum(p.seconds) as seconds
    from (
      select e.*, date_part('epoch', e.started_at - greatest(e.created_at, e.scheduled_at)) as seconds from passed as e
    ) as p
    -- It has begun once, however often it ends.
    where p.finished_at is not null and p.seconds is not null and p.counted is null
    group by 1, 2, 3, 4
  ),
  cells as materialized (
    select s.tenant_id, s.minute, s.workflow_id, 'step' as measure, s.step, s.type, s.status, s.place, s.total, s.retried, s.seconds
    from of_steps as s
    union all
    select e.tenant_id, e.minute, e.workflow_id, 'execution', '', '', e.status, e.place, e.total, e.retried, e.seconds
    from of_executions as e
    union all
    select w.tenant_id, w.minute, w.workflow_id, 'wait', '', '', '', w.place, w.total, 0, w.seconds
    from of_waits as w
  ),
  spans (tenant_id, span_seconds, starts_at, workflow_id, measure, step, type, status, place, total, retried, seconds) as (
    select
      c.tenant_id, 60, to_timestamp(c.minute * 60), c.workflow_id, c.measure, c.step, c.type, c.status, c.place, c.total, c.retried,
      c.seconds
    from cells as c
    union all
    select
      c.tenant_id, 3600, to_timestamp(c.minute / 60 * 3600), c.workflow_id, c.measure, c.step, c.type, c.status, c.place,
      sum(c.total)::bigint, sum(c.retried)::bigint, sum(c.seconds)
    from cells as c
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9
    union all
    -- What Prometheus reads: neither tenants nor workflows, of which there may be any number.
    select
      flowgres.system_tenant_id(), 0, '-infinity', flowgres.system_tenant_id(), c.measure, '', c.type, c.status, c.place,
      sum(c.total)::bigint, sum(c.retried)::bigint, sum(c.seconds)
    from cells as c
    group by c.measure, c.type, c.status, c.place
  ),
  written as (
    insert into flowgres.metric_rollups as r (
      tenant_id, span_seconds, starts_at, workflow_id, measure, step, type, status, total, retried, seconds, places, counts)
    select
      s.tenant_id, s.span_seconds, s.starts_at, s.workflow_id, s.measure, s.step, s.type, s.status, sum(s.total), sum(s.retried),
      sum(s.seconds), coalesce(array_agg(s.place order by s.place) filter (where s.place is not null), '{}'),
      coalesce(array_agg(s.total order by s.place) filter (where s.place is not null), '{}')
    from spans as s
    group by 1, 2, 3, 4, 5, 6, 7, 8
    on conflict (tenant_id, span_seconds, starts_at, workflow_id, measure, step, type, status) do update
    set
      total = r.total + excluded.total, retried = r.retried + excluded.retried, seconds = r.seconds + excluded.seconds,
      (places, counts) = (
        select coalesce(array_agg(b.place), '{}'), coalesce(array_agg(b.count), '{}')
        from (
          select a.place, sum(a.count)::bigint as count
          from unnest(r.places || excluded.places, r.counts || excluded.counts) as a (place, count)
          group by a.place
          order by a.place
        ) as b)
  ),
  failed as (
    select s.tenant_id, f.id from of_steps as s cross join unnest(s.failed_ids) as f (id)
    union
    select e.tenant_id, f.id from of_executions as e cross join unnest(e.failed_ids) as f (id)
  )
  select (select count(*) from passed), array_agg(f.tenant_id), array_agg(f.id) into v_count, v_tenant_ids, v_ids from failed as f;
  if v_ids is not null then
    perform flowgres.add_to_errors(p_tenant_ids => v_tenant_ids, p_from => v_ids, p_to => v_ids);
  end if;
  return v_count;
end;
$$;
comment on function flowgres.add_to_rollups(uuid[], uuid[], uuid[], timestamptz, smallint[]) is $$Add what has ended of these ranges of ids to the figures: of each tenant from one id to another

What has not ended is noted in metric_open, to be looked at at p_look_at. Returns how many executions there are. The caller holds the
mark, and sees to it that nothing is added twice.$$;

create or replace function flowgres.is_settled(p_mark flowgres.metric_marks)
  returns boolean language sql volatile
as $$
  -- Mostly the snapshot knows. Who writes elsewhere for long does not count; who starts something writes to the queue.
  select coalesce(
    pg_snapshot_xmin(pg_current_snapshot()) >= (p_mark).asked_xid
    or flowgres.is_queue_settled(p_xid => (p_mark).asked_xid), false);
$$;
comment on function flowgres.is_settled(flowgres.metric_marks) is $$Whether all that started before asked_at is to be seen, by the next statement.$$;

create or replace function flowgres.next_mark(p_mark flowgres.metric_marks, p_tenant_ids uuid[], p_limit integer)
  returns timestamptz language plpgsql
  -- An unknown limit is planned as a tenth of the table, which would be read and sorted; it is a few entries of the index.
  set enable_seqscan to off set enable_bitmapscan to off
as $$
declare
  v_target timestamptz := flowgres.mark_target(p_mark);
  v_last timestamptz;
begin
  -- Tenant by tenant, as no index has the ids of all. Those of a millisecond stay together; a start of ten thousand is one.
  select flowgres.uuid_v7_time(n.id) into v_last
  from unnest(p_tenant_ids) as t (id)
  cross join lateral (
    select e.id
    from flowgres.executions as e
    where e.tenant_id = t.id and e.id >= flowgres.uuid_v7_floor((p_mark).measured_until)
      and e.id < flowgres.uuid_v7_floor(v_target)
    order by e.tenant_id, e.id
    limit p_limit + 1
  ) as n
  order by n.id
  offset p_limit
  limit 1;
  return greatest(
    least(v_target, coalesce(v_last, v_target)), least(v_target, (p_mark).measured_until + interval '1 ms'));
end;
$$;
comment on function flowgres.next_mark(flowgres.metric_marks, uuid[], integer) is $$Up to where history may be measured now, by about so many executions at once, of these tenants$$;

create or replace function flowgres.mark_target(p_mark flowgres.metric_marks)
  returns timestamptz language sql stable
as $$
  -- How long before its number a transaction may have asked for the time.
  select greatest((p_mark).measured_until, date_trunc('milliseconds', (p_mark).asked_at - interval '10 s'));
$$;
comment on function flowgres.mark_target(flowgres.metric_marks) is $$Up to where history may be measured once the mark is settled.$$;

create or replace function flowgres.note_starter(p_tenant_id uuid, p_now timestamptz)
  returns void language plpgsql
as $$
begin
  insert into flowgres.metric_starters (tenant_id, from_at, until_at)
  values (p_tenant_id, p_now - interval '10 s', p_now + interval '10 s');
end;
$$;
comment on function flowgres.note_starter(uuid, timestamptz) is $$Note that a tenant starts something now, and for the next seconds. Called where it is not noted yet.$$;

create or replace function flowgres.find_starters(p_mark flowgres.metric_marks)
  returns uuid[] language sql volatile
as $$
  select array(
    select distinct s.tenant_id
    from flowgres.metric_starters as s
    where s.until_at > (p_mark).measured_until - interval '10 s' and s.from_at < flowgres.mark_target(p_mark) + interval '10 s');
$$;
comment on function flowgres.find_starters(flowgres.metric_marks) is $$Tenants that may have started something between the mark and where it may go next.$$;

create or replace function flowgres.forget_starters(p_measured_until timestamptz, p_limit integer)
  returns void language sql
as $$
  delete from flowgres.metric_starters as s
  where s.ctid = any(array(
    select o.ctid from flowgres.metric_starters as o where o.until_at < p_measured_until - interval '1 minute' limit p_limit));
$$;
comment on function flowgres.forget_starters(timestamptz, integer) is $$Delete what the mark has passed a minute ago, a bounded number.$$;

create or replace function flowgres.turn_mark_back(p_now timestamptz)
  returns timestamptz language plpgsql
as $$
declare
  v_mark timestamptz := flowgres.hour_of(p_now - interval '1 minute');
begin
  -- Who has started something since is known no more.
  insert into flowgres.metric_starters (tenant_id, from_at, until_at)
  select t.tenant_id, v_mark, flowgres.metrics_until() + interval '10 s' from flowgres.tenants as t;
  delete from flowgres.metric_rollups as r where r.span_seconds > 0 and r.starts_at >= v_mark;
  delete from flowgres.metric_open as o where o.execution_id >= flowgres.uuid_v7_floor(v_mark);
  delete from flowgres.error_rollups as r where r.starts_at >= v_mark;
  return v_mark;
end;
$$;
comment on function flowgres.turn_mark_back(timestamptz) is $$Forget the figures from the last full hour on, and return that hour

The clock was set back: ids come that lie before the mark. What is forgotten is measured again.$$;

set local role flowgres_engine;

create or replace function flowgres.measure_history(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp set jit to off
as $$
declare
  v_now timestamptz := flowgres.now();
  v_mark flowgres.metric_marks;
  v_is_settled boolean;
  v_until timestamptz;
  v_tenant_ids uuid[];
  v_ids uuid[];
  v_counted smallint[];
  v_count integer := 0;
  v_counts integer;
begin
  perform flowgres.require_read_committed();
  -- Whoever comes second has nothing to do.
  select m.* into v_mark
  from flowgres.metric_marks as m
  where m.tenant_id = '00000000-0000-0000-0000-000000000000'
  for update skip locked;
  if not found then
    return 0;
  end if;
  v_counts := flowgres.add_counts(p_limit => p_limit);
  if v_now < v_mark.measured_until then
    v_mark.measured_until := flowgres.turn_mark_back(p_now => v_now);
    v_mark.asked_at := null;
  end if;

  -- Those that were open: what has ended is measured, what is gone is forgotten.
  with looked as (
    select o.tenant_id, o.execution_id, e.id is null as is_gone, e.finished_at is not null as is_ended
    from (
      select d.* from flowgres.metric_open as d where d.look_at <= v_now order by d.look_at limit p_limit
    ) as o
    left join lateral (
      select e.id, e.finished_at from flowgres.executions as e
      where e.tenant_id = o.tenant_id and e.id = o.execution_id
      offset 0
    ) as e on true
  ),
  postponed as (
    update flowgres.metric_open as o
    set look_at = v_now + least(
      greatest((v_now - flowgres.uuid_v7_time(o.execution_id)) / 10, interval '2 s'), interval '1 hour')
    from looked as l
    where o.tenant_id = l.tenant_id and o.execution_id = l.execution_id and not l.is_gone and not l.is_ended
  ),
  ended as (
    delete from flowgres.metric_open as o
    using looked as l
    where o.tenant_id = l.tenant_id and o.execution_id = l.execution_id and (l.is_gone or l.is_ended)
    returning o.tenant_id, o.execution_id, o.counted_generation
  )
  select array_agg(d.tenant_id), array_agg(d.execution_id), array_agg(d.counted_generation) into v_tenant_ids, v_ids, v_counted from ended as d;
  if v_ids is not null then
    v_count := cardinality(v_ids);
    perform flowgres.add_to_rollups(
      p_tenant_ids => v_tenant_ids, p_from => v_ids, p_to => v_ids, p_look_at => v_now + interval '2 s', p_counted => v_counted);
  end if;

  v_is_settled := flowgres.is_settled(p_mark => v_mark);
  v_until := v_mark.measured_until;
  if v_is_settled then
    v_tenant_ids := flowgres.find_starters(p_mark => v_mark);
    v_until := flowgres.next_mark(p_mark => v_mark, p_tenant_ids => v_tenant_ids, p_limit => p_limit);
  end if;
  if v_until > v_mark.measured_until and v_tenant_ids <> '{}' then
    v_count := v_count + flowgres.add_to_rollups(
      p_tenant_ids => v_tenant_ids,
      p_from => array_fill(flowgres.uuid_v7_floor(v_mark.measured_until), array[cardinality(v_tenant_ids)]),
      p_to => array_fill(flowgres.uuid_v7_floor(v_until), array[cardinality(v_tenant_ids)]),
      p_look_at => v_now + interval '2 s');
  end if;
  if v_mark.asked_at is null or v_is_settled then
    v_mark.asked_at := v_now;
    -- Given out when the mark was locked, and so after the time was asked.
    v_mark.asked_xid := pg_current_xact_id();
  end if;
  update flowgres.metric_marks as m
  set measured_until = v_until, asked_at = v_mark.asked_at, asked_xid = v_mark.asked_xid
  where m.tenant_id = '00000000-0000-0000-0000-000000000000';
  perform flowgres.forget_starters(p_measured_until => v_until, p_limit => 10 * p_limit);
  return greatest(v_count, v_counts);
end;
$$;
comment on function flowgres.measure_history(integer) is $$Add what has ended to the figures, about so many executions at once; returns how many were looked at

Called by every runner about once a second. Full when it returns the limit or more: then call it again.$$;

create or replace function flowgres.prune_metrics(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_before timestamptz := flowgres.now() - make_interval(
    days => (flowgres.setting(flowgres.system_tenant_id(), 'log_retention_days'))::integer);
  v_rows integer;
  v_errors integer;
begin
  delete from flowgres.metric_rollups as r
  where r.ctid = any(array(
    select o.ctid from flowgres.metric_rollups as o
    where o.span_seconds > 0 and o.starts_at < v_before - interval '1 hour' order by o.starts_at limit p_limit
    for update skip locked));
  get diagnostics v_rows = row_count;
  delete from flowgres.error_rollups as r
  where r.ctid = any(array(
    select o.ctid from flowgres.error_rollups as o
    where o.starts_at < v_before - interval '1 hour' order by o.starts_at limit p_limit
    for update skip locked));
  get diagnostics v_errors = row_count;
  return greatest(v_rows, v_errors);
end;
$$;
comment on function flowgres.prune_metrics(integer) is $$Delete figures of spans that history is no longer kept of, a bounded number; counters stay. Returns how many.$$;
