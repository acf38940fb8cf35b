-- What runners tell a collector of executions that have ended: spans, made of history.
--
-- Taking is a lease: what a runner has taken and not told of in time is taken by another one. So nothing is missed, and what is told twice
-- has the same ids.

set local role flowgres_owner;

create or replace function flowgres.epoch_microseconds(p_at timestamptz)
  returns bigint language sql immutable parallel safe
as $$
  select (extract(epoch from p_at) * 1000000)::bigint;
$$;
comment on function flowgres.epoch_microseconds(timestamptz) is $$A moment as microseconds since 1970.$$;

set local role flowgres_engine;

create or replace function flowgres.take_ends(p_limit integer, p_lease_seconds double precision)
  returns table (
    tenant_id uuid, execution_id uuid, trace_id text, parent_span text, is_sampled boolean, is_own boolean, span_count integer
  )
  language plpgsql security definer rows 100 set search_path to pg_catalog, pg_temp
as $$
declare
  -- As long as ends are kept when nobody tells of them: a collector may be away, runners may be restarted.
  c_kept constant interval := interval '1 hour';
  v_now timestamptz := flowgres.now();
begin
  -- Looked at first: an upsert locks the row even where it leaves it as it is, and others would wait here.
  if not exists (
    select from flowgres.trace_exports as x where x.expires_at between v_now + c_kept - interval '1 minute' and v_now + c_kept)
  then
    insert into flowgres.trace_exports (tenant_id, expires_at)
    values (flowgres.system_tenant_id(), v_now + c_kept)
    on conflict on constraint trace_exports_pkey do update set expires_at = excluded.expires_at;
  end if;
  return query
  with taken as (
    update flowgres.trace_ends as t
    set taken_until = v_now + p_lease_seconds * interval '1 s'
    from (
      select f.tenant_id, f.execution_id, f.generation
      from flowgres.trace_ends as f
      where f.taken_until is null or f.taken_until <= v_now
      order by f.expires_at
      limit p_limit
      for update skip locked
    ) as f
    where t.tenant_id = f.tenant_id and t.execution_id = f.execution_id and t.generation = f.generation
    returning t.tenant_id, t.execution_id
  )
  select
    t.tenant_id, t.execution_id, flowgres.trace_id(p_execution_id => e.id, p_trigger => e.trigger),
    substr(flowgres.read_traceparent(e.trigger ->> 'traceparent'), 37, 16), flowgres.trace_flags(e.trigger) = '01',
    -- The trace of a parent is ours as well, unless somebody brought it.
    flowgres.read_traceparent(e.trigger ->> 'traceparent') is null or (e.trigger_type = 'sub_workflow' and exists (
      select from flowgres.executions as r
      where r.tenant_id = t.tenant_id and r.id = flowgres.trace_id(p_execution_id => e.id, p_trigger => e.trigger)::uuid)),
    e.event_seq
  -- Several ends of one that was retried are told at once.
  from (select distinct k.tenant_id, k.execution_id from taken as k) as t
  -- What retention has taken is taken all the same: it is to be forgotten.
  left join lateral (
    select e.id, e.trigger, e.trigger_type, e.event_seq
    from flowgres.executions as e
    where e.tenant_id = t.tenant_id and e.id = t.execution_id
    offset 0
  ) as e on true;
end;
$$;
comment on function flowgres.take_ends(integer, double precision) is $$Take executions that have ended and that nobody has told of, for so long; and have ends kept from now on

is_own: the trace begins here, and whether it is sampled is for whoever tells of it to decide. span_count is about how many spans it has.
Ids are null of one that is gone.$$;

create or replace function flowgres.forget_ends(p_tenant_ids uuid[], p_execution_ids uuid[])
  returns integer language sql security definer set search_path to pg_catalog, pg_temp
as $$
  with told as (
    delete from flowgres.trace_ends as t
    using unnest(p_tenant_ids, p_execution_ids) as d (tenant_id, id)
    where t.tenant_id = d.tenant_id and t.execution_id = d.id
      -- It has ended once more since: that is told by who takes it.
      and t.taken_until is not null
    returning 1
  )
  select count(*)::integer from told;
$$;
comment on function flowgres.forget_ends(uuid[], uuid[]) is $$Executions that were told of, or are not to be; returns how many there still were.$$;

create or replace function flowgres.get_spans(p_tenant_ids uuid[], p_execution_ids uuid[], p_most integer)
  returns table (
    execution_id uuid, kind text, span text, parent_span text, name text, status text, error_code text, began_at bigint, ended_at bigint,
    attributes jsonb
  )
  language sql stable security definer rows 100 set search_path to pg_catalog, pg_temp
as $$
  with chosen as materialized (
    select
      e.tenant_id, e.id, e.workflow_id, e.version_id, e.version, e.status, e.error, e.generation, e.trigger, e.trigger_type,
      e.parent_execution_id, e.correlation_id, e.finished_at, w.name, t.slug,
      -- From when it might have begun: what it waited for a runner belongs to it.
      case when e.scheduled_at > e.created_at then least(e.scheduled_at, e.finished_at) else e.created_at end as began_at
    from unnest(p_tenant_ids, p_execution_ids) as x (tenant_id, id)
    cross join lateral (
      select e.* from flowgres.executions as e where e.tenant_id = x.tenant_id and e.id = x.id offset 0
    ) as e
    join flowgres.tenants as t on t.tenant_id = e.tenant_id
    join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    where e.finished_at is not null
  ),
  tries as (
    select c.*, a.*
    from chosen as c
    cross join lateral (
      select
        v.step_index, v.iteration, v.step, v.type, v.attempt, v.generation as of_generation, v.step_status, v.step_error, v.detail,
        v.runner_id, v.attempt_began_at, v.attempt_ended_at, v.round, count(*) over () as total_count
      from (
        select
          a.step_index, a.iteration, a.step, s.type, a.attempt, a.generation, a.status as step_status, a.error as step_error, a.detail,
          a.runner_id,
          -- An attempt that waited is written down as it was resumed; of the first one the step knows when that began.
          coalesce(least(a.started_at, case when a.attempt = 1 then b.started_at end), a.finished_at) as attempt_began_at,
          a.finished_at as attempt_ended_at, a.round
        from flowgres.attempts as a
        join flowgres.workflow_steps as s
          on s.tenant_id = c.tenant_id and s.version_id = c.version_id and s.id = a.step
        left join flowgres.step_executions as b
          on b.tenant_id = a.tenant_id and b.execution_id = a.execution_id and b.step_index = a.step_index
            and b.iteration = a.iteration
        where a.tenant_id = c.tenant_id and a.execution_id = c.id
        union all
        -- A try that has nothing to add to its step's row is not stored twice.
        select
          s.step_index, s.iteration, s.step, s.type, s.attempts, coalesce(s.generation, 1::smallint), s.status, s.error, null, s.runner_id, s.started_at,
          s.finished_at, s.round
        from flowgres.step_executions as s
        where s.tenant_id = c.tenant_id and s.execution_id = c.id and s.started_at is not null and s.finished_at is not null
          and s.attempts > 0 and not exists (
            select from flowgres.attempts as a
            where a.tenant_id = c.tenant_id and a.execution_id = c.id and a.step_index = s.step_index and a.iteration = s.iteration
              and a.generation = coalesce(s.generation, 1) and a.attempt = s.attempts)
      ) as v
      where v.type <> 'outputs'
      order by v.attempt_began_at, v.step_index, v.iteration, v.attempt
      limit p_most
    ) as a
  )
  select
    c.id, 'execution', flowgres.execution_span(c.id), substr(flowgres.read_traceparent(c.trigger ->> 'traceparent'), 37, 16), c.name,
    c.status, c.error ->> 'code', flowgres.epoch_microseconds(c.began_at), flowgres.epoch_microseconds(c.finished_at),
    jsonb_strip_nulls(jsonb_build_object(
      'flowgres.tenant', c.slug, 'flowgres.workflow', c.name, 'flowgres.version', c.version, 'flowgres.execution.id', c.id,
      'flowgres.execution.status', c.status, 'flowgres.trigger', c.trigger_type, 'flowgres.correlation_id', c.correlation_id,
      'flowgres.parent_execution.id', c.parent_execution_id, 'error.type', c.error ->> 'code',
      'flowgres.attempts_left_out', (
        select nullif(greatest(max(r.total_count) - p_most, 0), 0) from tries as r where r.id = c.id)))
  from chosen as c
  union all
  select
    r.id, r.type,
    flowgres.attempt_span(
      p_execution_id => r.id, p_generation => r.of_generation, p_step_index => r.step_index, p_iteration => r.iteration,
      p_attempt => r.attempt),
    -- Iterations are below their step, which makes its list in one attempt.
    case when r.iteration < 0 then flowgres.execution_span(r.id) else flowgres.attempt_span(
      p_execution_id => r.id, p_generation => r.of_generation, p_step_index => r.step_index, p_iteration => -1,
      p_attempt => coalesce((
        select s.attempts from flowgres.step_executions as s
        where s.tenant_id = r.tenant_id and s.execution_id = r.id and s.step_index = r.step_index and s.iteration = -1), 1)) end,
    flowgres.step_label(r.step, r.iteration), r.step_status, r.step_error ->> 'code', flowgres.epoch_microseconds(r.attempt_began_at),
    flowgres.epoch_microseconds(r.attempt_ended_at),
    jsonb_strip_nulls(jsonb_build_object(
      'flowgres.tenant', r.slug, 'flowgres.workflow', r.name, 'flowgres.version', r.version, 'flowgres.execution.id', r.id,
      'flowgres.step', r.step, 'flowgres.step.type', r.type, 'flowgres.step.status', r.step_status, 'flowgres.step.attempt', r.attempt,
      'flowgres.step.iteration', nullif(r.iteration, -1), 'flowgres.step.round', r.round,
      'flowgres.runner', flowgres.runner_name(r.runner_id), 'error.type', r.step_error ->> 'code'))
    || case when r.type = 'http' then jsonb_strip_nulls(jsonb_build_object(
      'http.request.method', r.detail -> 'method', 'http.response.status_code', r.detail -> 'status')) else '{}' end
  from tries as r;
$$;
comment on function flowgres.get_spans(uuid[], uuid[], integer) is $$The spans of executions that have ended: one of each as a whole, one of each attempt

kind is execution, or the type of the step. Times are microseconds since 1970. Names, codes and counts, and nothing that went in or came out. Of an execution at most p_most attempts,
the first ones; flowgres.attempts_left_out says how many there are beyond that.$$;
