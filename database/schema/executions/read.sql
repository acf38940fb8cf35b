-- Reading executions: one with all its steps, and what their columns mean to a person.

set local role flowgres_definer;

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
      'generation', e.generation, 'max_retries', e.max_retries, 'retry_count', e.retry_count,
      'retry_at', case when e.status = 'retrying' and e.retry_at > flowgres.now() then e.retry_at end, 'metadata', e.metadata, 'created_by', e.created_by)
    || jsonb_build_object(
      'instance_id', case when e.trigger_type = 'transition' then e.trigger -> 'instance_id' end,
      'steps_completed', e.completed_count - (e.hidden_step_count > 0 and e.status = 'completed' and e.stop is null)::integer,
      'total_steps', e.step_count,
      'progress', flowgres.progress_percent(p_execution => e), 'phase', e.phase,
      'scheduled_at', e.scheduled_at, 'created_at', e.created_at, 'started_at', e.started_at, 'finished_at', e.finished_at,
      'paused_at', case when e.status = 'paused' then e.paused_at end, 'timeout_seconds', e.timeout_seconds, 'deadline_at', e.deadline_at,
      'steps', flowgres.list_steps(p_execution => e))
  into v_answer
  from flowgres.executions as e
  join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  where e.tenant_id = v_tenant_id and e.id = p_execution_id and not flowgres.is_hidden(p_execution_id);
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
    where q.tenant_id = p_execution.tenant_id and q.execution_id = p_execution.id and flowgres.is_leased(q))
  then
    return 'running';
  end if;
  return p_execution.status;
end;
$$;
comment on function flowgres.visible_status(flowgres.executions) is $$The status as a person would say it: running as soon as a step is leased.$$;

create or replace function flowgres.progress_percent(p_execution flowgres.executions)
  returns integer language plpgsql stable parallel safe
as $$
begin
  -- In PL/pgSQL, which plans only what it comes to, and once: the steps are partitioned, and lists mostly need none of them.
  if p_execution.status = 'completed' then
    return 100;
  elsif p_execution.status in ('failed', 'cancelled') then
    -- All their steps have ended, most of them by being cancelled: what was done is asked of the steps.
    return least(99, (
      select 100 * count(*)::integer / greatest(p_execution.step_count, 1)
      from flowgres.step_executions as s
      where s.tenant_id = p_execution.tenant_id and s.execution_id = p_execution.id and s.iteration = -1
        and s.status in ('completed', 'skipped') and s.type <> 'outputs'
    ));
  end if;
  return least(99, 100 * p_execution.resolved_count / greatest(p_execution.step_count + p_execution.hidden_step_count, 1));
end;
$$;
comment on function flowgres.progress_percent(flowgres.executions) is $$How much is done, in percent of the steps; 100 only when completed

While it runs, steps that have ended; after a failure or a cancel those that completed or were skipped.$$;

create or replace function flowgres.list_steps(p_execution flowgres.executions)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select jsonb_agg(
      jsonb_build_object(
        'step', w.id, 'type', w.type, 'section', w.section, 'status', x.status, 'output', s.output, 'error', s.error,
        'attempts', greatest(coalesce(s.attempts, 0), coalesce(q.attempt, 0)),
        'ready_at', coalesce(q.ready_at, s.ready_at, s.started_at), 'started_at', coalesce(s.started_at, q.claimed_at),
        'finished_at', s.finished_at, 'due_at', s.due_at, 'child_execution_id', s.child_execution_id,
        'items', case when s.item_count is not null then jsonb_build_object(
          'count', s.item_count, 'done', s.done_count, 'failed', s.failed_count) end,
        'round', s.round, 'reused_from', s.reused_from,
        'waits_for', case when q.runner_id is null then q.waits_for end,
        'overrides', q.overrides,
        'reason', case
          when x.status = 'ready' then flowgres.unserved_reason(p_type => w.type)
          when q.waits_for like 'worker:%' then format('waits for a worker of the queue %s', substr(q.waits_for, 8))
          when q.waits_for like 'task:%' then format('the worker %s has it', substr(q.waits_for, 6)) end,
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
    where w.tenant_id = p_execution.tenant_id and w.version_id = p_execution.version_id and w.type <> 'outputs'
      -- What is for failures is told of when it has its turn.
      and (w.section = 'steps' or s.status is not null or q.id is not null));
end;
$$;
comment on function flowgres.list_steps(flowgres.executions) is $$Every step of an execution with its status, output, error and attempts, in the order of the definition.$$;
