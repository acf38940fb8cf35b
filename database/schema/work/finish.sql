-- Advancing executions, last part: bring the execution rows up to date, end those whose steps have all ended.

set local role flowgres_owner;

create or replace function flowgres.record_ended(inout p_state flowgres.advance_state)
  language plpgsql
as $$
begin
  with ended as materialized (
    select
      e.slot, e.step, e.outcome,
      -- The hidden outputs step has no event.
      (sum((e.step <> '$outputs')::integer) over (partition by e.slot order by e.position))::integer as place
    from unnest(p_state.ended) with ordinality as e (
      slot, tenant_id, execution_id, version_id, queue_id, step_index, step, children, untaken, edge, outcome, position)
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, type, step)
    select
      p_state.tenant_ids[t.slot], p_state.execution_ids[t.slot], t.last_seq + e.place, p_state.now, 'step_' || e.outcome, e.step
    from unnest(p_state.touched_slots, p_state.last_seqs) as t (slot, last_seq)
    join ended as e on e.slot = t.slot
    where e.step <> '$outputs'
  )
  select
    array_agg(t.last_seq + coalesce(c.events, 0) order by t.position),
    array_agg(t.resolved + coalesce(c.steps, 0) order by t.position)
  into p_state.last_seqs, p_state.newly_resolved
  from unnest(p_state.touched_slots, p_state.last_seqs, p_state.newly_resolved) with ordinality
    as t (slot, last_seq, resolved, position)
  left join (
    select e.slot, max(e.place) as events, count(*)::integer as steps from ended as e group by e.slot
  ) as c on c.slot = t.slot;
end;
$$;
comment on function flowgres.record_ended(flowgres.advance_state) is $$Append the events of steps that ended without a report: skipped ones, and those that a failure cancelled.$$;

create or replace function flowgres.finish_advance(p_state flowgres.advance_state)
  returns void language plpgsql
as $$
declare
  -- They were running and still are: something of them is ready or running for sure.
  v_plain integer[] := array(
    select m.slot from unnest(p_state.moving_slots) as m (slot) where p_state.running_flags[m.slot] and not p_state.failing_flags[m.slot]);
begin
  if v_plain <> '{}' then
    -- No more than their numbers: no indexed column changes, so the row stays in place.
    update flowgres.executions as e
    set
      event_seq = t.last_seq, resolved_count = e.resolved_count + t.resolved, completed_count = e.completed_count + t.completed
    from unnest(p_state.touched_slots, p_state.last_seqs, p_state.newly_resolved, p_state.newly_completed)
      as t (slot, last_seq, resolved, completed)
    where e.tenant_id = p_state.tenant_ids[t.slot] and e.id = p_state.execution_ids[t.slot] and t.slot = any(v_plain);
  end if;
  if not p_state.touched_slots <@ v_plain then
    perform flowgres.turn_executions(p_state => p_state, p_plain_slots => v_plain);
  end if;
end;
$$;
comment on function flowgres.finish_advance(flowgres.advance_state) is $$Bring the executions of a batch up to date: one update each, however many of their steps are in it.$$;

create or replace function flowgres.turn_executions(p_state flowgres.advance_state, p_plain_slots integer[])
  returns void language plpgsql
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
        when t.slot = any(p_state.moving_slots) then 'running'
        else flowgres.derive_status(p_tenant_id => p_state.tenant_ids[t.slot], p_execution_id => p_state.execution_ids[t.slot])
      end as status
    from unnest(
      p_state.touched_slots, p_state.last_seqs, p_state.newly_resolved, p_state.newly_completed, p_state.began_at)
      as t (slot, last_seq, resolved, completed, began_at)
    cross join lateral (
      select p_state.resolved_counts[t.slot] + t.resolved >= p_state.total_counts[t.slot] as is_finished
    ) as x
    where t.slot <> all(p_plain_slots)
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
      -- What its outputs say, else the outputs of its last steps by id.
      output = case when t.status = 'completed' then (
        select case when e.hidden_step_count > 0 then o.outputs -> '$outputs' else o.outputs end
        from (
          select jsonb_object_agg(s.step, s.output) as outputs
          from flowgres.workflow_versions as v
          cross join lateral (
            select s.step, s.output
            from flowgres.step_executions as s
            where s.tenant_id = e.tenant_id and s.execution_id = e.id and s.step_index = any(v.sink_indexes)
              and s.iteration = -1 and s.status = 'completed'
            offset 0
          ) as s
          where v.tenant_id = e.tenant_id and v.id = e.version_id
        ) as o) end
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
comment on function flowgres.turn_executions(flowgres.advance_state, integer[]) is $$Update executions whose status may change: those that begin, wait, or end

Keeps the account of active time; writes the output and the last event of those that end, and wakes their parents.$$;

create or replace function flowgres.derive_status(p_tenant_id uuid, p_execution_id uuid)
  returns text language plpgsql volatile
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
