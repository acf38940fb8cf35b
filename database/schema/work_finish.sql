-- Advancing executions, last part: number the events and bring the execution rows up to date.

set local role flowgres_owner;

create or replace function flowgres.describe_outcome(p_outcome flowgres.step_outcome)
  returns jsonb language plpgsql immutable set search_path to ''
as $$
begin
  if p_outcome.error is not null then
    return jsonb_strip_nulls(jsonb_build_object(
      'attempt', p_outcome.attempt, 'error', p_outcome.error, 'due_at', p_outcome.due_at));
  end if;
  return jsonb_strip_nulls(jsonb_build_object(
    'child_execution_id', p_outcome.child_execution_id, 'due_at', nullif(p_outcome.due_at, 'infinity')));
end;
$$;
comment on function flowgres.describe_outcome(flowgres.step_outcome) is $$Details of the event of an outcome that is no plain completion.$$;

create or replace function flowgres.finish_advance(p_state flowgres.advance_state)
  returns void language plpgsql set search_path to ''
as $$
declare
  v_moving integer[];
  v_slots integer[];
  v_last_seqs integer[];
  v_resolved integer[];
  v_completed integer[];
  v_began_at timestamptz[];
begin
  -- Something of these is ready or running for sure; the others have to ask the queue.
  select array_agg(distinct m.slot) into v_moving
  from (
    select r.slot from unnest(p_state.ready) as r
    union all
    select a.slot from unnest(p_state.active_slots) as a (slot)
  ) as m;

  with facts as materialized (
    -- The event of the outcome itself; width 2 when it also stands for the step_started that nobody has written. The hidden
    -- outputs step has events only when it fails.
    select
      o.slot, (o.queue_id * 64 + o.place) * 4 + 2 as place,
      case when o.step_type = 'outputs' and o.outcome <> 'failed' then 0
        else 1 + (not o.is_announced and o.outcome not in ('skipped', 'started'))::integer end as width,
      case o.outcome when 'suspended' then 'step_waiting' when 'child' then 'step_waiting' else 'step_' || o.outcome end as type,
      case o.outcome when 'failed' then 'error' when 'retrying' then 'warning' when 'lost' then 'warning' else 'info' end as level,
      o.step, o.error ->> 'message' as message,
      case when o.error is not null or o.due_at is not null then flowgres.describe_outcome(p_outcome => o) end as details,
      case when not o.is_announced and o.outcome not in ('skipped', 'started') then o.began_at end as began_at,
      case when o.outcome = 'started' then o.began_at else p_state.now end as at,
      (o.edge is not null and o.iteration = -1)::integer as resolved,
      (o.outcome = 'completed' and o.iteration = -1)::integer as completed
    from unnest(p_state.outcomes) as o
    where o.outcome <> 'started' or not o.is_announced
    union all
    select
      o.slot, (o.queue_id * 64 + o.place) * 4 + 1, 1, 'log', coalesce(l.value ->> 'level', 'info'), o.step, l.value ->> 'message', null, null,
      p_state.now, 0, 0
    from unnest(p_state.outcomes) as o
    cross join jsonb_array_elements(o.logs) as l
    where p_state.has_logs and o.logs is not null
    union all
    select e.slot, 9223372036854775807, (e.step <> '$outputs')::integer, 'step_' || e.outcome, 'info', e.step, null, null, null, p_state.now, 1, 0
    from unnest(p_state.ended) as e
    union all
    select o.slot, -1, 1, 'execution_started', 'info', null, null, null, null, min(o.began_at), 0, 0
    from unnest(p_state.outcomes) as o
    where p_state.has_beginning and not p_state.started_flags[o.slot]
    group by o.slot
  ),
  numbered as materialized (
    select f.*, p_state.event_seqs[f.slot] + sum(f.width) over (partition by f.slot order by f.place, f.step) as seq
    from facts as f
  ),
  recorded as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, began_at, type, level, step, message, details)
    select
      p_state.tenant_ids[n.slot], p_state.execution_ids[n.slot], n.seq, n.at, n.began_at, n.type, n.level, n.step, n.message,
      n.details
    from numbered as n
    where n.width > 0
  ),
  totals as (
    select
      n.slot, max(n.seq)::integer as last_seq, sum(n.resolved)::integer as resolved, sum(n.completed)::integer as completed,
      min(coalesce(n.began_at, n.at)) as began_at
    from numbered as n
    group by n.slot
  )
  select
    array_agg(t.slot), array_agg(t.last_seq), array_agg(t.resolved), array_agg(t.completed), array_agg(t.began_at)
  into v_slots, v_last_seqs, v_resolved, v_completed, v_began_at
  from totals as t;

  -- Most executions just go on, and need no more than their numbers: no indexed column changes, so the row stays in place.
  update flowgres.executions as e
  set
    event_seq = t.last_seq, resolved_count = e.resolved_count + t.resolved, completed_count = e.completed_count + t.completed
  from unnest(v_slots, v_last_seqs, v_resolved, v_completed) as t (slot, last_seq, resolved, completed)
  where e.tenant_id = p_state.tenant_ids[t.slot] and e.id = p_state.execution_ids[t.slot]
    and t.slot = any(v_moving) and p_state.plain_flags[t.slot];

  if exists (select from unnest(v_slots) as t (slot) where not p_state.plain_flags[t.slot] or t.slot <> all(coalesce(v_moving, '{}'))) then
    perform flowgres.turn_executions(
      p_state => p_state, p_moving => coalesce(v_moving, '{}'), p_slots => v_slots, p_last_seqs => v_last_seqs,
      p_resolved => v_resolved, p_completed => v_completed, p_began_at => v_began_at);
  end if;
end;
$$;
comment on function flowgres.finish_advance(flowgres.advance_state) is $$Append the events of a batch and bring its executions up to date

One update an execution, however many of its steps are in the batch.$$;

create or replace function flowgres.turn_executions(
  p_state flowgres.advance_state,
  p_moving integer[],
  p_slots integer[],
  p_last_seqs integer[],
  p_resolved integer[],
  p_completed integer[],
  p_began_at timestamptz[]
)
  returns void language plpgsql set search_path to ''
as $$
declare
  v_woken integer[];
begin
  with turning as materialized (
    select
      t.*, p_state.tenant_ids[t.slot] as tenant_id, p_state.execution_ids[t.slot] as id, x.is_finished,
      case
        when x.is_finished and p_state.failing_flags[t.slot] then 'failed'
        when x.is_finished then 'completed'
        when t.slot = any(p_moving) then 'running'
        else flowgres.derive_status(p_tenant_id => p_state.tenant_ids[t.slot], p_execution_id => p_state.execution_ids[t.slot])
      end as status
    from unnest(p_slots, p_last_seqs, p_resolved, p_completed, p_began_at)
      as t (slot, last_seq, resolved, completed, began_at)
    cross join lateral (
      select p_state.resolved_counts[t.slot] + t.resolved >= p_state.total_counts[t.slot] as is_finished
    ) as x
    where not p_state.plain_flags[t.slot] or t.slot <> all(p_moving)
  ),
  updated as (
    update flowgres.executions as e
    set
      event_seq = t.last_seq + t.is_finished::integer,
      resolved_count = e.resolved_count + t.resolved,
      completed_count = e.completed_count + t.completed,
      is_failing = p_state.failing_flags[t.slot],
      error = coalesce(e.error, p_state.failing_errors -> t.slot::text),
      started_at = coalesce(e.started_at, t.began_at),
      status = t.status,
      active_since = case when t.status in ('running', 'retrying') then coalesce(e.active_since, p_state.now) end,
      active_seconds = e.active_seconds + case
        when t.status in ('running', 'retrying') or e.active_since is null then 0
        else extract(epoch from p_state.now - e.active_since) end,
      deadline_at = case when t.status in ('running', 'retrying') then coalesce(
        e.deadline_at, p_state.now + make_interval(secs => greatest(e.timeout_seconds - e.active_seconds, 0))) end,
      finished_at = case when t.is_finished then p_state.now end,
      output = case when t.status = 'completed' then flowgres.collect_output(
        p_tenant_id => e.tenant_id, p_execution_id => e.id, p_version_id => e.version_id,
        p_has_outputs => e.hidden_step_count > 0) end
    from turning as t
    where e.tenant_id = t.tenant_id and e.id = t.id
    returning t.slot, t.is_finished, e.tenant_id, e.id, e.status, e.event_seq, e.error, e.parent_execution_id
  ),
  ended as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, type, level, message, details)
    select u.tenant_id, u.id, u.event_seq, p_state.now, 'execution_' || u.status,
      case when u.status = 'failed' then 'error' else 'info' end, u.error ->> 'message', u.error
    from updated as u
    where u.is_finished
  )
  select array_agg(u.slot) into v_woken from updated as u where u.is_finished and u.parent_execution_id is not null;

  if v_woken is not null then
    perform flowgres.wake_parent(p_tenant_id => p_state.tenant_ids[s.slot], p_execution_id => p_state.execution_ids[s.slot])
    from unnest(v_woken) as s (slot);
  end if;
end;
$$;
comment on function flowgres.turn_executions is $$Update executions whose status may change: those that begin, wait, or end

Keeps the account of active time, writes the output and the last event, wakes the parent.$$;

create or replace function flowgres.derive_status(p_tenant_id uuid, p_execution_id uuid)
  returns text language plpgsql volatile set search_path to ''
as $$
begin
  return (
    select case
      when bool_or(q.due_at is null) then 'running'
      when bool_or(q.resume is null) then 'retrying'
      else 'waiting'
    end
    from flowgres.work_queue as q
    where q.tenant_id = p_tenant_id and q.execution_id = p_execution_id);
end;
$$;
comment on function flowgres.derive_status(uuid, uuid) is $$running, retrying or waiting, as the queue rows of an execution say

Volatile on purpose: it must see what this transaction has just done to the queue.$$;

create or replace function flowgres.collect_output(
  p_tenant_id uuid, p_execution_id uuid, p_version_id uuid, p_has_outputs boolean
)
  returns jsonb language plpgsql volatile set search_path to ''
as $$
declare
  v_sinks smallint[];
begin
  select v.sink_indexes into v_sinks
  from flowgres.workflow_versions as v
  where v.tenant_id = p_tenant_id and v.id = p_version_id;
  if p_has_outputs then
    return (
      select s.output
      from flowgres.step_executions as s
      where s.tenant_id = p_tenant_id and s.execution_id = p_execution_id and s.step_index = v_sinks[1]
        and s.iteration = -1);
  end if;
  return (
    select jsonb_object_agg(s.step, s.output)
    from flowgres.step_executions as s
    where s.tenant_id = p_tenant_id and s.execution_id = p_execution_id and s.step_index = any(v_sinks)
      and s.iteration = -1 and s.status = 'completed');
end;
$$;
comment on function flowgres.collect_output(uuid, uuid, uuid, boolean) is $$The output of an execution that ends: what its outputs say, else the outputs of its last steps by id.$$;
