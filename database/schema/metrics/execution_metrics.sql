-- Figures of a span of time, for people: from the figures that are kept, and as they are at both ends and where something is open.

set local role flowgres_owner;

create or replace function flowgres.metric_parts(p_tenant_id uuid, p_since timestamptz, p_until timestamptz, p_workflow_id uuid)
  returns table (
    workflow_id uuid, measure text, step text, type text, status text, total bigint, retried bigint, seconds double precision,
    places smallint[], counts bigint[]
  )
  language plpgsql stable rows 1000 set search_path to pg_catalog, pg_temp set jit to off
as $$
declare
  v_mark timestamptz := flowgres.metrics_until();
  -- Whole minutes of it, and of these the whole hours. The minute and the hour of the mark hold what is before it, and no more.
  v_from timestamptz := flowgres.minute_of(p_since + interval '1 minute' - interval '1 us');
  v_to timestamptz := case when p_until >= v_mark then v_mark else flowgres.minute_of(p_until) end;
  v_from_hour timestamptz := flowgres.hour_of(v_from + interval '1 hour' - interval '1 us');
  v_to_hour timestamptz := case when p_until >= v_mark then v_mark else flowgres.hour_of(v_to) end;
begin
  if v_from >= v_to then
    v_from := p_until;
    v_to := p_until;
  end if;
  if v_from_hour >= v_to_hour then
    v_from_hour := v_to;
    v_to_hour := v_to;
  end if;
  return query
  select r.workflow_id, r.measure, r.step, r.type, r.status, r.total, r.retried, r.seconds, r.places, r.counts
  from (
    values (3600, v_from_hour, v_to_hour), (60, v_from, v_from_hour), (60, v_to_hour, v_to)
  ) as s (span_seconds, from_at, to_at)
  cross join lateral (
    select * from flowgres.metric_rollups as r
    where r.tenant_id = p_tenant_id and r.span_seconds = s.span_seconds and r.starts_at >= s.from_at and r.starts_at < s.to_at
      and (p_workflow_id is null or r.workflow_id = p_workflow_id)
    offset 0
  ) as r
  union all
  select
    g.workflow_id, g.measure, g.step, g.type, g.status, g.total, g.retried, g.seconds,
    case when g.place is not null then array[g.place] else '{}' end,
    case when g.place is not null then array[g.total] else '{}' end
  from (
    select
      s.workflow_id, s.measure, s.step, s.type, s.status, flowgres.duration_place(s.seconds) as place, count(*) as total,
      sum(s.retried)::bigint as retried, coalesce(sum(s.seconds), 0) as seconds
    from (
      select flowgres.uuid_v7_floor(p_since) as from_id, flowgres.uuid_v7_floor(v_from) as to_id
      union all
      select flowgres.uuid_v7_floor(v_to), flowgres.uuid_v7_floor(p_until)
      where v_to < p_until
      union all
      select o.execution_id, o.execution_id
      from flowgres.metric_open as o
      where o.tenant_id = p_tenant_id and o.execution_id >= flowgres.uuid_v7_floor(v_from)
        and o.execution_id < flowgres.uuid_v7_floor(v_to) and o.counted_generation is null
    ) as r
    cross join lateral flowgres.metric_samples(p_tenant_id => p_tenant_id, p_from => r.from_id, p_to => r.to_id) as s
    where p_workflow_id is null or s.workflow_id = p_workflow_id
    group by 1, 2, 3, 4, 5, 6
  ) as g;
end;
$$;
comment on function flowgres.metric_parts(uuid, timestamptz, timestamptz, uuid) is $$Parts that add up to the figures of a tenant's executions that started in a span of time

Like rows of metric_rollups; several may be of the same kind. Exact: what ended, and what is open as it is.$$;

create or replace function flowgres.execution_metrics(p_since timestamptz, p_until timestamptz, p_workflow text)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp set jit to off
as $$
declare
  v_until timestamptz := coalesce(p_until, flowgres.now());
  v_since timestamptz := coalesce(p_since, v_until - interval '24 hours');
  v_tenant_id uuid := flowgres.require_tenant();
  v_workflow_id uuid;
  v_executions jsonb;
  v_steps jsonb;
begin
  if v_since not between '1970-01-01' and '2999-12-31' or v_until not between v_since and '2999-12-31' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'since must come before until', p_details => 'since');
  end if;
  if p_workflow is not null then
    select w.id into v_workflow_id
    from flowgres.workflows as w
    where w.tenant_id = v_tenant_id and w.deleted_at is null and (w.name = p_workflow or w.id::text = p_workflow);
    if v_workflow_id is null then
      perform flowgres.fail(
        p_status => 404, p_code => 'workflow_not_found',
        p_message => format('workflow %L does not exist', left(p_workflow, 100)), p_hint => 'List /workflows.');
    end if;
  end if;

  with parts as materialized (
    -- Figures of executions are of all workflows together.
    select case p.measure when 'step' then p.workflow_id end as workflow_id, p.measure, p.step, p.type, p.status, p.total, p.retried,
      p.seconds, p.places, p.counts
    from flowgres.metric_parts(
      p_tenant_id => v_tenant_id, p_since => v_since, p_until => v_until, p_workflow_id => v_workflow_id) as p
    where p.measure <> 'step' or p.status in ('completed', 'failed')
  ),
  places as (
    select
      c.*, sum(c.count) over (partition by c.workflow_id, c.measure, c.step, c.type order by c.place) as count_up_to,
      sum(c.count) over (partition by c.workflow_id, c.measure, c.step, c.type) as count_of_all
    from (
      select p.workflow_id, p.measure, p.step, p.type, h.place, sum(h.count) as count
      from parts as p
      cross join lateral unnest(p.places, p.counts) as h (place, count)
      -- How long it takes: what failed says little about that.
      where p.status in ('completed', '')
      group by 1, 2, 3, 4, 5
    ) as c
  ),
  quantiles as (
    select
      h.workflow_id, h.measure, h.step, h.type,
      jsonb_build_object(
        'p50', flowgres.shown_seconds(min(h.place) filter (where h.count_up_to >= 0.5 * h.count_of_all)),
        'p95', flowgres.shown_seconds(min(h.place) filter (where h.count_up_to >= 0.95 * h.count_of_all))) as seconds
    from places as h
    group by 1, 2, 3, 4
  ),
  totals as (
    select
      p.workflow_id, p.measure, p.step, p.type, sum(p.total) as total,
      coalesce(sum(p.total) filter (where p.status = 'failed'), 0) as failed, sum(p.retried) as retried,
      sum(p.total) filter (where p.status in ('completed', 'failed')) as judged, sum(p.seconds) as seconds
    from parts as p
    group by 1, 2, 3, 4
  ),
  shown as (
    select
      w.name as workflow, t.step, t.type, t.total, t.failed, round(t.failed / t.total, 4) as failure_rate, t.retried,
      coalesce(q.seconds, '{"p50": null, "p95": null}') as duration_seconds, t.seconds / t.total as duration_seconds_mean
    from totals as t
    join flowgres.workflows as w on w.tenant_id = v_tenant_id and w.id = t.workflow_id
    left join quantiles as q
      on q.measure = 'step' and q.workflow_id = t.workflow_id and q.step = t.step and q.type = t.type
    where t.measure = 'step'
    order by t.failed desc, t.total desc, w.name, t.step
    limit 200
  )
  select
    jsonb_build_object(
      'total', coalesce((select t.total from totals as t where t.measure = 'execution'), 0),
      'by_status', coalesce((
        select jsonb_object_agg(s.status, s.total)
        from (select p.status, sum(p.total) as total from parts as p where p.measure = 'execution' group by p.status) as s), '{}'),
      'failure_rate', (select round(t.failed / t.judged, 4) from totals as t where t.measure = 'execution'),
      'duration_seconds', coalesce(
        (select q.seconds from quantiles as q where q.measure = 'execution'), '{"p50": null, "p95": null}'),
      'waiting_seconds', coalesce((select q.seconds from quantiles as q where q.measure = 'wait'), '{"p50": null, "p95": null}')),
    coalesce((select jsonb_agg(to_jsonb(s) order by s.failed desc, s.total desc, s.workflow, s.step) from shown as s), '[]')
  into v_executions, v_steps;

  return jsonb_build_object(
    'since', v_since, 'until', v_until, 'workflow', p_workflow, 'executions', v_executions, 'steps', v_steps,
    'webhooks', flowgres.webhook_metrics(p_tenant_id => v_tenant_id, p_since => v_since, p_until => v_until));
end;
$$;
comment on function flowgres.execution_metrics(timestamptz, timestamptz, text) is $$Counts, durations and failure rates of a span of time

Of executions that were started in it, read with the caller's own rights. Counts are exact, p50 and p95 at most 5 % off.$$;
