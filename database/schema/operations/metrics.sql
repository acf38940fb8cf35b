-- Figures for people and monitors: what a tenant's executions did in a span of time, and whether the engine is alive.

set local role flowgres_owner;

create or replace function flowgres.version()
  returns text language sql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
  select '0.1.0';
$$;
comment on function flowgres.version() is $$Version of the installed schema; the package's tests hold it equal to the package.$$;

create or replace function flowgres.execution_metrics(p_since timestamptz, p_until timestamptz, p_workflow text)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_until timestamptz := coalesce(p_until, flowgres.now());
  v_since timestamptz := coalesce(p_since, v_until - interval '24 hours');
  v_tenant_id uuid := flowgres.require_tenant();
  v_from uuid;
  v_to uuid;
  v_workflow_id uuid;
  v_executions jsonb;
  v_steps jsonb;
begin
  if v_since not between '1970-01-01' and '2999-12-31' or v_until not between v_since and '2999-12-31' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'since must come before until', p_details => 'since');
  end if;
  -- Ids are ordered by time: a span of time is a span of ids, which reaches only its own partitions.
  v_from := flowgres.uuid_v7_floor(v_since);
  v_to := flowgres.uuid_v7_floor(v_until);
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

  with counted as (
    select
      e.status, count(*) as total,
      percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from e.finished_at - e.started_at))
        filter (where e.status = 'completed') as durations
    from flowgres.executions as e
    where e.tenant_id = v_tenant_id and e.id >= v_from and e.id < v_to and not flowgres.is_hidden(e.id)
      and (v_workflow_id is null or e.workflow_id = v_workflow_id)
    group by e.status
  )
  select jsonb_build_object(
    'total', coalesce(sum(c.total), 0),
    'by_status', coalesce(jsonb_object_agg(c.status, c.total), '{}'),
    'failure_rate', round(
      coalesce(sum(c.total) filter (where c.status = 'failed'), 0)
        / nullif(sum(c.total) filter (where c.status in ('completed', 'failed')), 0), 4),
    'duration_seconds', jsonb_build_object(
      'p50', max(c.durations[1]) filter (where c.status = 'completed'),
      'p95', max(c.durations[2]) filter (where c.status = 'completed')))
  into v_executions
  from counted as c;

  select coalesce(jsonb_agg(to_jsonb(f) order by f.failed desc, f.total desc, f.workflow, f.step), '[]') into v_steps
  from (
    select
      w.name as workflow, s.step, s.type, count(*) as total,
      count(*) filter (where s.status = 'failed') as failed,
      round(count(*) filter (where s.status = 'failed')::numeric / count(*), 4) as failure_rate,
      avg(extract(epoch from s.finished_at - s.started_at))::double precision as duration_seconds_mean
    from flowgres.step_executions as s
    join flowgres.executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
    join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    where s.tenant_id = v_tenant_id and s.execution_id >= v_from and s.execution_id < v_to
      and e.id >= v_from and e.id < v_to
      and s.status in ('completed', 'failed') and s.type <> 'outputs' and s.iteration = -1 and not flowgres.is_hidden(e.id)
      and (v_workflow_id is null or e.workflow_id = v_workflow_id)
    group by w.name, s.step, s.type
    order by failed desc, total desc
    limit 200
  ) as f;

  return jsonb_build_object(
    'since', v_since, 'until', v_until, 'workflow', p_workflow, 'executions', v_executions, 'steps', v_steps);
end;
$$;
comment on function flowgres.execution_metrics(timestamptz, timestamptz, text) is $$Counts, durations and failure rates of a span of time

Of executions that were started in it, read with the caller's own rights.$$;

set local role flowgres_engine;

create or replace function flowgres.oldest_ready_at()
  returns timestamptz language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  -- The head of each queue, hopping from group to group along work_queue_ready_idx: a backlog of any size costs nothing.
  with recursive heads as (
    (
      select q.capability, q.tenant_id, q.priority, q.is_new, q.ready_at
      from flowgres.work_queue as q
      where flowgres.is_ready(q)
      order by q.capability, q.tenant_id, q.priority, q.is_new, q.rank
      limit 1
    )
    union all
    select n.*
    from heads as h
    cross join lateral (
      select q.capability, q.tenant_id, q.priority, q.is_new, q.ready_at
      from flowgres.work_queue as q
      where flowgres.is_ready(q)
        and (q.capability, q.tenant_id, q.priority, q.is_new) > (h.capability, h.tenant_id, h.priority, h.is_new)
      order by q.capability, q.tenant_id, q.priority, q.is_new, q.rank
      limit 1
    ) as n
  )
  select min(b.ready_at) from (select h.ready_at from heads as h limit 2000) as b;
$$;
comment on function flowgres.oldest_ready_at() is $$Since when the longest waiting head of a queue is ready; null when nothing is

Looks at the steps that are next in line in each tenant and priority, of at most 2,000 such lines.$$;

create or replace function flowgres.health()
  returns jsonb language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'engine', 'flowgres',
    'installation', flowgres.installation_mark(),
    'status', case when f.live_runners = 0 or f.is_copy then 'degraded' else 'ok' end,
    'version', flowgres.version(),
    'lag_seconds', coalesce(greatest(round(extract(epoch from f.now - f.oldest_ready_at)::numeric, 3), 0), 0),
    'live_runners', f.live_runners,
    'unserved_types', to_jsonb(flowgres.unserved_types()),
    'is_copy', f.is_copy)
  from (
    select
      n.now, flowgres.oldest_ready_at() as oldest_ready_at, flowgres.is_copy() as is_copy,
      (
        select count(*)
        from flowgres.runners as r
        where flowgres.is_live(r, n.now - make_interval(
          secs => (flowgres.setting(flowgres.system_tenant_id(), 'lease_seconds'))::double precision))
      ) as live_runners
    from (select flowgres.now() as now) as n
  ) as f;
$$;
comment on function flowgres.health() is $$Whether the engine is alive

degraded means that no runner lives, or that none can claim (in a copy that nobody has adopted, none), so nothing advances. engine
is always flowgres, and installation another one in every database: clients see by them whom they talk to. unserved_types are those
of packages that steps wait for and no live runner serves, as after an uninstall: those steps stay ready. Tells nothing about any
tenant.$$;
