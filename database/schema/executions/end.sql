-- Ending executions from outside: cancel, expire, and the children that go with them.

set local role flowgres_owner;

create or replace function flowgres.end_execution(
  p_tenant_id uuid, p_execution_id uuid, p_status text, p_error jsonb, p_reason text, p_actor text
)
  returns boolean language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_execution flowgres.executions;
  v_step_events integer;
begin
  select e.* into v_execution
  from flowgres.executions as e
  where e.tenant_id = p_tenant_id and e.id = p_execution_id and e.finished_at is null
  for no key update;
  if v_execution.id is null then
    return false;
  end if;

  with doomed as materialized (
    select w.index, w.id, w.type
    from flowgres.workflow_steps as w
    where w.tenant_id = p_tenant_id and w.version_id = v_execution.version_id
      and not exists (
        select from flowgres.step_executions as s
        where s.tenant_id = p_tenant_id and s.execution_id = p_execution_id and s.step_index = w.index
          and s.iteration = -1 and s.finished_at is not null)
  ),
  cancelled as (
    insert into flowgres.step_executions as s (
      tenant_id, execution_id, step_index, step, type, status, edge, finished_at)
    select p_tenant_id, p_execution_id, d.index, d.id, d.type, 'cancelled', 'dead', v_now
    from doomed as d
    on conflict (tenant_id, execution_id, step_index, iteration) do update
    set status = 'cancelled', edge = 'dead', finished_at = v_now, due_at = null
    returning s.step_index, s.step, s.type, s.child_execution_id
  ),
  orphaned as (
    insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason)
    select p_tenant_id, c.child_execution_id, v_now, 'the parent was ended'
    from cancelled as c
    where c.child_execution_id is not null
    on conflict (tenant_id, execution_id) do nothing
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, type, step)
    select
      p_tenant_id, p_execution_id, v_execution.event_seq + row_number() over (order by c.step_index), v_now,
      'step_cancelled', c.step
    from cancelled as c
    where c.type <> 'outputs'
    returning 1
  )
  select count(*) into v_step_events from told;

  -- Whoever runs a step of it loses the lease here, and learns so at the next heartbeat.
  delete from flowgres.work_queue as q where q.tenant_id = p_tenant_id and q.execution_id = p_execution_id;

  insert into flowgres.events (tenant_id, execution_id, seq, at, type, level, message, actor, details)
  values (
    p_tenant_id, p_execution_id, v_execution.event_seq + v_step_events + 1, v_now, 'execution_' || p_status,
    case p_status when 'failed' then 'error' else 'info' end, coalesce(p_reason, p_error ->> 'message'), p_actor, p_error);

  update flowgres.executions as e
  set
    status = p_status, error = coalesce(p_error, e.error), finished_at = v_now, deadline_at = null, active_since = null,
    active_seconds = e.active_seconds + coalesce(extract(epoch from v_now - e.active_since), 0),
    event_seq = v_execution.event_seq + v_step_events + 1,
    resolved_count = e.step_count + e.hidden_step_count
  where e.tenant_id = p_tenant_id and e.id = p_execution_id;

  if v_execution.parent_execution_id is not null then
    perform flowgres.wake_parent(p_tenant_id => p_tenant_id, p_execution_id => p_execution_id);
  end if;
  return true;
end;
$$;
comment on function flowgres.end_execution is $$End an execution now: cancelled, or failed by its timeout

Steps that have not ended are cancelled, running ones lose their lease, children are left to cancel_orphan. False when it had
already ended.$$;

set local role flowgres_definer;

create or replace function flowgres.cancel_execution(p_execution_id uuid, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_status text;
begin
  if not flowgres.end_execution(
    p_tenant_id => v_tenant_id, p_execution_id => p_execution_id, p_status => 'cancelled',
    p_error => jsonb_build_object('code', 'cancelled', 'message', coalesce(nullif(p_reason, ''), 'the execution was cancelled')),
    p_reason => nullif(p_reason, ''), p_actor => flowgres.actor())
  then
    select e.status into v_status
    from flowgres.executions as e where e.tenant_id = v_tenant_id and e.id = p_execution_id;
    if v_status is null then
      perform flowgres.fail_execution_not_found(p_execution_id => p_execution_id);
    elsif v_status <> 'cancelled' then
      perform flowgres.fail(
        p_status => 409, p_code => 'execution_ended', p_message => format('execution %s is already %s', p_execution_id, v_status),
        p_hint => 'Only an execution that has not ended can be cancelled.');
    end if;
  end if;
  return flowgres.get_execution(p_execution_id => p_execution_id);
end;
$$;
comment on function flowgres.cancel_execution(uuid, text) is $$Cancel an execution and its children

After it no new step starts; running ones are aborted within 5 s. Cancelling twice is no error.$$;

create or replace function flowgres.get_execution(p_execution_id uuid)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_answer jsonb;
begin
  select
    jsonb_build_object(
      'id', e.id, 'tenant_id', e.tenant_id, 'workflow_id', e.workflow_id, 'workflow_name', w.name, 'version', e.version,
      'status', flowgres.visible_status(p_execution => e), 'input', e.input, 'output', e.output, 'error', e.error,
      'priority', e.priority, 'correlation_id', e.correlation_id, 'idempotency_key', e.idempotency_key,
      'trigger_type', e.trigger_type, 'parent_execution_id', e.parent_execution_id, 'replayed_from', e.replayed_from,
      'generation', e.generation, 'metadata', e.metadata, 'created_by', e.created_by)
    || jsonb_build_object(
      'steps_completed', e.completed_count - (e.hidden_step_count > 0 and e.status = 'completed')::integer,
      'total_steps', e.step_count,
      'progress', flowgres.progress_percent(p_execution => e),
      'scheduled_at', e.scheduled_at, 'created_at', e.created_at, 'started_at', e.started_at, 'finished_at', e.finished_at,
      'steps', flowgres.list_steps(p_execution => e))
  into v_answer
  from flowgres.executions as e
  join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  where e.tenant_id = v_tenant_id and e.id = p_execution_id;
  if v_answer is null then
    perform flowgres.fail_execution_not_found(p_execution_id => p_execution_id);
  end if;
  return v_answer;
end;
$$;
comment on function flowgres.get_execution(uuid) is $$An execution with every step of its workflow, whether it ran or not.$$;

set local role flowgres_owner;

create or replace function flowgres.fail_execution_not_found(p_execution_id uuid)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.fail(
    p_status => 404, p_code => 'execution_not_found', p_message => format('execution %s does not exist', p_execution_id),
    p_hint => 'List /executions.');
end;
$$;
comment on function flowgres.fail_execution_not_found(uuid) is $$Refuse an execution id that is unknown to this tenant.$$;

create or replace function flowgres.visible_status(p_execution flowgres.executions)
  returns text language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  -- A claim writes the queue alone, so a first step that is running shows there before it shows in the execution.
  if p_execution.status in ('queued', 'waiting', 'retrying') and exists (
    select from flowgres.work_queue as q
    where q.tenant_id = p_execution.tenant_id and q.execution_id = p_execution.id and q.runner_id is not null)
  then
    return 'running';
  end if;
  return p_execution.status;
end;
$$;
comment on function flowgres.visible_status(flowgres.executions) is $$The status as a person would say it: running as soon as a step is leased.$$;

create or replace function flowgres.progress_percent(p_execution flowgres.executions)
  returns integer language sql immutable parallel safe
as $$
  select case
    when (p_execution).status = 'completed' then 100
    else least(99, 100 * (p_execution).resolved_count / greatest((p_execution).step_count + (p_execution).hidden_step_count, 1))
  end;
$$;
comment on function flowgres.progress_percent(flowgres.executions) is $$Percent of the steps that have ended; 100 only when completed.$$;

create or replace function flowgres.list_steps(p_execution flowgres.executions)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select jsonb_agg(
      jsonb_build_object(
        'step', w.id, 'type', w.type, 'status', x.status, 'output', s.output, 'error', s.error,
        'attempts', greatest(coalesce(s.attempts, 0), coalesce(q.attempt, 0)),
        'ready_at', coalesce(q.ready_at, s.ready_at), 'started_at', coalesce(s.started_at, q.claimed_at),
        'finished_at', s.finished_at, 'due_at', s.due_at, 'child_execution_id', s.child_execution_id,
        'depends_on', (
          select coalesce(jsonb_agg(d.id order by d.index), '[]')
          from flowgres.workflow_steps as d
          where d.tenant_id = w.tenant_id and d.version_id = w.version_id and d.index = any(w.dependencies)))
      order by w.index)
    from flowgres.workflow_steps as w
    left join flowgres.step_executions as s
      on s.tenant_id = w.tenant_id and s.execution_id = p_execution.id and s.step_index = w.index and s.iteration = -1
    left join flowgres.work_queue as q
      on q.tenant_id = w.tenant_id and q.execution_id = p_execution.id and q.step_index = w.index and q.iteration = -1
    cross join lateral (select case
      when s.finished_at is not null then s.status
      when q.runner_id is not null then 'running'
      when q.id is not null and q.due_at is null then 'ready'
      else coalesce(s.status, 'pending')
    end as status) as x
    where w.tenant_id = p_execution.tenant_id and w.version_id = p_execution.version_id and w.type <> 'outputs');
end;
$$;
comment on function flowgres.list_steps(flowgres.executions) is $$Every step of an execution with its status, output, error and attempts, in the order of the definition.$$;

set local role flowgres_engine;

create or replace function flowgres.cancel_orphan()
  returns boolean language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_row flowgres.cancellations;
begin
  -- One a call, so that no two executions are locked out of order.
  select c.* into v_row
  from flowgres.cancellations as c
  order by c.requested_at
  limit 1
  for update skip locked;
  if v_row.execution_id is null then
    return false;
  end if;
  perform flowgres.end_execution(
    p_tenant_id => v_row.tenant_id, p_execution_id => v_row.execution_id, p_status => 'cancelled',
    p_error => jsonb_build_object('code', 'cancelled', 'message', v_row.reason), p_reason => v_row.reason,
    p_actor => 'engine');
  delete from flowgres.cancellations as c where c.tenant_id = v_row.tenant_id and c.execution_id = v_row.execution_id;
  return true;
end;
$$;
comment on function flowgres.cancel_orphan() is $$Cancel one child whose parent has ended; false when there is none

Call it until it says so.$$;
