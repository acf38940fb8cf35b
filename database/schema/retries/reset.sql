-- Executions that have ended go on: what failed and what was cancelled with it is written out and removed, and judged anew by what is left.

set local role flowgres_owner;

create or replace function flowgres.last_of_all_done(p_tenant_id uuid, p_execution_id uuid, p_step_index smallint)
  returns integer language plpgsql stable
as $$
begin
  return (
    select l.item_count - 1
    from flowgres.step_executions as l
    where l.tenant_id = p_tenant_id and l.execution_id = p_execution_id and l.step_index = p_step_index and l.iteration = -1
      and l.item_count = (
        select count(*) from flowgres.step_executions as c
        where c.tenant_id = p_tenant_id and c.execution_id = p_execution_id and c.step_index = p_step_index and c.iteration >= 0
          and c.status = 'completed'));
end;
$$;
comment on function flowgres.last_of_all_done(uuid, uuid, smallint) is $$The last iteration of a list that failed although all of them completed (their outputs were too large together); else null

It runs again, since something has to end the list.$$;

create or replace function flowgres.forget_steps(
  p_tenant_id uuid, p_execution_ids uuid[], p_step_indexes smallint[], p_lists boolean[], p_kept_ids uuid[], p_kept_indexes smallint[],
  p_kept_iterations integer[]
)
  returns void language plpgsql
as $$
begin
  -- What the rows alone have told of: events, and tries that were not stored twice.
  with gone as materialized (
    select s.*
    from unnest(p_execution_ids, p_step_indexes, p_lists) as r (execution_id, step_index, is_list)
    cross join lateral (
      select s.* from flowgres.step_executions as s
      where s.tenant_id = p_tenant_id and s.execution_id = r.execution_id and s.step_index = r.step_index
        and (not r.is_list or s.iteration >= 0 and (s.status <> 'completed' or s.iteration = flowgres.last_of_all_done(
          p_tenant_id => p_tenant_id, p_execution_id => r.execution_id, p_step_index => r.step_index)))
      offset 0
    ) as s
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, began_at, type, level, step, message, details)
    select
      g.tenant_id, g.execution_id, g.seq, g.finished_at, g.started_at, 'step_' || g.status,
      case g.status when 'failed' then 'error' else 'info' end, flowgres.step_label(g.step, g.iteration), g.error ->> 'message',
      case when g.error is not null then flowgres.describe_outcome(
        p_attempt => g.attempts, p_error => g.error, p_due_at => null, p_child_execution_id => null) end
    from gone as g
    where g.seq is not null and g.is_logged is null
  ),
  tried as (
    insert into flowgres.attempts as a (
      tenant_id, execution_id, step_index, iteration, generation, attempt, step, status, runner_id, started_at, finished_at, error, round)
    select
      g.tenant_id, g.execution_id, g.step_index, g.iteration, coalesce(g.generation, 1), g.attempts, g.step, g.status, g.runner_id,
      g.started_at, g.finished_at, g.error, g.round
    from gone as g
    where g.status in ('completed', 'failed') and g.attempts > 0 and g.type <> 'outputs'
    on conflict (tenant_id, execution_id, step_index, iteration, generation, attempt) do nothing
  )
  delete from flowgres.step_executions as s
  using gone as g
  where s.tenant_id = g.tenant_id and s.execution_id = g.execution_id and s.step_index = g.step_index and s.iteration = g.iteration
    and not exists (
      select from unnest(p_kept_ids, p_kept_indexes, p_kept_iterations) as k (execution_id, step_index, iteration)
      where k.execution_id = g.execution_id and k.step_index = g.step_index and k.iteration = g.iteration);

  delete from flowgres.step_items as i
  using unnest(p_execution_ids, p_step_indexes, p_lists) as r (execution_id, step_index, is_list)
  where not r.is_list and i.tenant_id = p_tenant_id and i.execution_id = r.execution_id and i.step_index = r.step_index;

  -- Those that wait for their children have their rows of the queue already, and come first.
  update flowgres.step_executions as s
  set
    status = 'running', edge = null, untaken = null, finished_at = null, output = null, error = null, seq = null, is_logged = true,
    failed_count = 0, done_count = s.item_count - cardinality(n.redo), redo = n.redo,
    next_item = s.item_count - cardinality(n.redo) + greatest(n.kept_count, least(cardinality(n.redo), w.parallel))
  from unnest(p_execution_ids, p_step_indexes, p_lists) as r (execution_id, step_index, is_list)
  cross join lateral (
    select
      array_agg(i.number order by k.iteration is null, i.number) as redo, count(k.iteration)::integer as kept_count
    from flowgres.step_executions as l
    cross join lateral generate_series(0, l.item_count - 1) as i (number)
    left join flowgres.step_executions as c
      on c.tenant_id = l.tenant_id and c.execution_id = l.execution_id and c.step_index = l.step_index and c.iteration = i.number
        and c.status = 'completed'
    left join unnest(p_kept_ids, p_kept_indexes, p_kept_iterations) as k (execution_id, step_index, iteration)
      on k.execution_id = l.execution_id and k.step_index = l.step_index and k.iteration = i.number
    where l.tenant_id = p_tenant_id and l.execution_id = r.execution_id and l.step_index = r.step_index and l.iteration = -1
      and c.iteration is null
    offset 0
  ) as n
  cross join lateral (
    select coalesce((w.iterates ->> 'max_parallel')::numeric::integer, 100) as parallel
    from flowgres.executions as e
    join flowgres.workflow_steps as w on w.tenant_id = e.tenant_id and w.version_id = e.version_id
    where e.tenant_id = p_tenant_id and e.id = r.execution_id and w.index = r.step_index
    offset 0
  ) as w
  where r.is_list and s.tenant_id = p_tenant_id and s.execution_id = r.execution_id and s.step_index = r.step_index and s.iteration = -1;
end;
$$;
comment on function flowgres.forget_steps is $$Remove the rows of steps that run again, once what they alone have told of is written down

Of a list (p_lists) the iterations that did not complete, and it is counted anew. Rows of p_kept_ids stay, as they are, for their children.$$;

create or replace function flowgres.reset_executions(
  p_tenant_id uuid, p_execution_ids uuid[], p_actor text, p_reason text, p_waits boolean, p_now timestamptz,
  p_due_at timestamptz[] default null, p_errors jsonb[] default null, p_queue_ids bigint[] default null,
  p_version flowgres.workflow_versions default null
)
  returns void language plpgsql
as $$
declare
  v_ids uuid[];
  v_steps smallint[];
  v_lists boolean[];
  v_children flowgres.retried_child[];
  v_kept_ids uuid[];
  v_kept_indexes smallint[];
  v_kept_iterations integer[];
  v_state flowgres.advance_state;
  v_child_ids uuid[];
  v_child_queue_ids bigint[];
  v_child_due_at timestamptz[];
begin
  select array_agg(r.execution_id), array_agg(r.step_index), array_agg(r.is_list) into v_ids, v_steps, v_lists
  from flowgres.steps_to_reset(p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids) as r;
  v_children := flowgres.find_retried_children(
    p_tenant_id => p_tenant_id, p_execution_ids => v_ids, p_step_indexes => v_steps, p_lists => v_lists, p_waits => p_waits);
  select array_agg(c.execution_id), array_agg(c.step_index), array_agg(c.iteration)
  into v_kept_ids, v_kept_indexes, v_kept_iterations
  from unnest(v_children) as c;
  perform flowgres.forget_steps(
    p_tenant_id => p_tenant_id, p_execution_ids => v_ids, p_step_indexes => v_steps, p_lists => v_lists, p_kept_ids => v_kept_ids,
    p_kept_indexes => v_kept_indexes, p_kept_iterations => v_kept_iterations);

  select
    array_agg(q.child_id), array_agg(q.queue_id), array_agg(p_due_at[array_position(p_execution_ids, q.execution_id)])
  into v_child_ids, v_child_queue_ids, v_child_due_at
  from flowgres.park_for_children(
    p_tenant_id => p_tenant_id, p_children => v_children, p_now => p_now, p_version_id => (p_version).id) as q;
  v_state := flowgres.reopen_executions(
    p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids, p_actor => p_actor, p_reason => p_reason, p_now => p_now,
    p_due_at => p_due_at, p_errors => p_errors, p_queue_ids => p_queue_ids, p_version => p_version);
  v_state := flowgres.judge_again(p_state => v_state, p_children => v_children);
  perform flowgres.carry_on(p_state => v_state);
  if p_due_at is not null then
    perform flowgres.put_off(p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids, p_due_at => p_due_at);
  end if;
  if v_child_ids is not null then
    perform flowgres.reset_executions(
      p_tenant_id => p_tenant_id, p_execution_ids => v_child_ids, p_actor => p_actor, p_reason => p_reason, p_waits => p_waits,
      p_now => p_now, p_due_at => case when p_due_at is not null then v_child_due_at end, p_queue_ids => v_child_queue_ids);
    perform flowgres.pause_below(p_tenant_id => p_tenant_id, p_execution_ids => v_child_ids);
  end if;
  -- The place that they had may be another's by now.
  perform flowgres.park_again(p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids);
end;
$$;
comment on function flowgres.reset_executions is $$Let executions that have ended go on, from the steps that failed, and their children

The caller holds their locks and has judged them (retry_refusals). p_due_at (and p_errors), for each: not before then. p_queue_ids: the
rows of their parents that wait for them. Children are locked on the way, waited for if p_waits; one that is held, gone, has not ended or
cannot be retried is left alone, and its step starts another.$$;

create or replace function flowgres.reopen_executions(
  p_tenant_id uuid, p_execution_ids uuid[], p_actor text, p_reason text, p_now timestamptz, p_due_at timestamptz[], p_errors jsonb[],
  p_queue_ids bigint[], p_version flowgres.workflow_versions
)
  returns flowgres.advance_state language plpgsql
as $$
declare
  v_state flowgres.advance_state;
begin
  v_state.now := p_now;
  with opened as (
    update flowgres.executions as e
    set
      -- One that was paused while its last step ran stays so.
      status = case when b.status = 'paused' then 'paused' else 'running' end, generation = e.generation + 1, phase = 'run', stop = null, error = null, output = null, finished_at = null,
      active_seconds = 0, active_since = null, deadline_at = null, event_seq = e.event_seq + 1,
      paused_at = case when b.status = 'paused' then e.paused_at end, paused_for = case when b.status = 'paused' then e.paused_for end,
      resolved_count = c.resolved, completed_count = c.completed,
      -- Those that come after a failure count when they have their turn.
      version_id = v.id, version = v.version, step_count = v.step_count, hidden_step_count = v.hidden_step_count,
      timeout_seconds = case when v.id = e.version_id then e.timeout_seconds else v.timeout_seconds end,
      parent_queue_id = coalesce(x.queue_id, e.parent_queue_id),
      retry_at = x.due_at,
      -- Those of people, and of parents, begin anew.
      retry_count = case when x.error is not null then e.retry_count + 1 else 0 end
    from unnest(p_execution_ids, p_due_at, p_errors, p_queue_ids) as x (id, due_at, error, queue_id)
    cross join lateral (
      select
        count(*) filter (where s.finished_at is not null) as resolved,
        count(*) filter (where s.status = 'completed') as completed
      from flowgres.step_executions as s
      where s.tenant_id = p_tenant_id and s.execution_id = x.id and s.iteration = -1
      offset 0
    ) as c
    cross join lateral (
      select b.id, b.version_id, b.status from flowgres.executions as b where b.tenant_id = p_tenant_id and b.id = x.id offset 0
    ) as b
    cross join lateral (
      select v.id, v.version, v.step_count, v.hidden_step_count, v.timeout_seconds
      from flowgres.workflow_versions as v
      where v.tenant_id = p_tenant_id and v.id = coalesce((p_version).id, b.version_id)
      offset 0
    ) as v
    where e.tenant_id = p_tenant_id and e.id = x.id
    returning e.*, x.due_at, x.error as last_error
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, type, level, message, actor, details)
    select
      o.tenant_id, o.id, o.event_seq, p_now, case when o.due_at is null then 'execution_retried' else 'execution_retrying' end,
      case when o.due_at is null then 'info' else 'warning' end, coalesce(nullif(p_reason, ''), o.last_error ->> 'message'), p_actor,
      jsonb_strip_nulls(jsonb_build_object(
        'generation', o.generation, 'due_at', o.due_at, 'retry', nullif(o.retry_count, 0), 'error', o.last_error,
        'version', case when (p_version).id is not null then o.version end))
    from opened as o
  )
  select
    array_agg(o.tenant_id order by o.id), array_agg(o.id order by o.id), array_agg(o.version_id order by o.id),
    array_agg(o.event_seq - 1 order by o.id), array_agg(o.event_seq order by o.id), array_agg(o.resolved_count::integer order by o.id),
    array_agg(o.step_count + o.hidden_step_count order by o.id), array_agg(o.priority order by o.id),
    array_agg(o.generation order by o.id), array_agg(o.started_at is not null order by o.id),
    array_agg(o.status = 'paused' order by o.id)
  into
    v_state.tenant_ids, v_state.execution_ids, v_state.version_ids, v_state.event_seqs, v_state.last_seqs, v_state.resolved_counts,
    v_state.total_counts, v_state.priorities, v_state.generations, v_state.started_flags, v_state.paused_flags
  from opened as o;
  perform flowgres.note_reopened(
    p_tenant_ids => v_state.tenant_ids, p_execution_ids => v_state.execution_ids, p_generations => v_state.generations);
  v_state.failing_flags := array_fill(false, array[cardinality(v_state.execution_ids)]);
  v_state.running_flags := v_state.failing_flags;
  v_state.newly_resolved := array_fill(0, array[cardinality(v_state.execution_ids)]);
  v_state.newly_completed := v_state.newly_resolved;
  v_state.touched_slots := array(select s from generate_subscripts(v_state.execution_ids, 1) as s);
  v_state.capabilities := '{}';
  v_state.room := 0;
  v_state.lease_count := 0;
  return v_state;
end;
$$;
comment on function flowgres.reopen_executions is $$The next generation of executions begins: their rows, the event, and the state of an advance that has no reports.$$;
