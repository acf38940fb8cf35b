-- Advancing executions, last part: bring the execution rows up to date, end those whose steps have all ended.

set local role flowgres_owner;

create or replace function flowgres.finish_advance(p_state flowgres.advance_state)
  returns void language plpgsql
as $$
declare
  -- Variables of their own: an element of an array within a composite is read from a copy of all of it.
  v_tenant_ids uuid[] := p_state.tenant_ids;
  v_execution_ids uuid[] := p_state.execution_ids;
  v_last_seqs integer[] := p_state.last_seqs;
  v_newly_resolved integer[] := p_state.newly_resolved;
  v_newly_completed integer[] := p_state.newly_completed;
  v_running_flags boolean[] := p_state.running_flags;
  v_failing_flags boolean[] := p_state.failing_flags;
  -- They were running and still are, because something of them is ready or running.
  v_plain integer[] := array(
    select t.slot
    from unnest(p_state.touched_slots) as t (slot)
    where v_running_flags[t.slot] and not v_failing_flags[t.slot] and (
      t.slot = any(p_state.moving_slots) or exists (
        select from flowgres.work_queue as q
        where q.tenant_id = v_tenant_ids[t.slot] and q.execution_id = v_execution_ids[t.slot] and q.due_at is null)));
begin
  if v_plain <> '{}' then
    -- No more than their numbers: no indexed column changes, so the row stays in place.
    update flowgres.executions as e
    set
      event_seq = v_last_seqs[t.slot], resolved_count = e.resolved_count + v_newly_resolved[t.slot],
      completed_count = e.completed_count + v_newly_completed[t.slot]
    from unnest(v_plain) as t (slot)
    where e.tenant_id = v_tenant_ids[t.slot] and e.id = v_execution_ids[t.slot];
  end if;
  if not p_state.touched_slots <@ v_plain then
    perform flowgres.turn_executions(p_state => p_state, p_plain_slots => v_plain);
  end if;
  perform flowgres.tell_streams(
    p_tenant_ids => v_tenant_ids, p_execution_ids => v_execution_ids, p_event_seqs => p_state.event_seqs, p_now => p_state.now);
end;
$$;
comment on function flowgres.finish_advance(flowgres.advance_state) is $$Bring the executions of a batch up to date: one update each, however many of their steps are in it.$$;

create or replace function flowgres.turn_executions(p_state flowgres.advance_state, p_plain_slots integer[])
  returns void language plpgsql
as $$
declare
  -- Variables of their own: an element of an array within a composite is read from a copy of all of it.
  v_tenant_ids uuid[] := p_state.tenant_ids;
  v_execution_ids uuid[] := p_state.execution_ids;
  v_last_seqs integer[] := p_state.last_seqs;
  v_newly_resolved integer[] := p_state.newly_resolved;
  v_newly_completed integer[] := p_state.newly_completed;
  v_resolved_counts integer[] := p_state.resolved_counts;
  v_total_counts integer[] := p_state.total_counts;
  v_failing_flags boolean[] := p_state.failing_flags;
  v_paused_flags boolean[] := p_state.paused_flags;
  v_began_at timestamptz[] := p_state.began_at;
  v_retried_slots integer[] := p_state.retried_slots;
  v_woken_tenants uuid[];
  v_woken uuid[];
  v_is_awaited boolean;
  v_told_tenants uuid[];
  v_told uuid[];
  v_traced_tenants uuid[];
  v_traced uuid[];
  v_followed_tenants uuid[];
  v_followed uuid[];
begin
  with turning as materialized (
    select
      t.slot, v_last_seqs[t.slot] as last_seq, v_tenant_ids[t.slot] as tenant_id, v_execution_ids[t.slot] as id,
      x.is_finished,
      case
        when x.is_finished and v_failing_flags[t.slot] then 'failed'
        when x.is_finished then 'completed'
        when v_paused_flags[t.slot] then 'paused'
        when t.slot = any(p_state.moving_slots) then 'running'
        else flowgres.derive_status(p_tenant_id => v_tenant_ids[t.slot], p_execution_id => v_execution_ids[t.slot])
      end as status
    from unnest(p_state.touched_slots) as t (slot)
    cross join lateral (
      select v_resolved_counts[t.slot] + v_newly_resolved[t.slot] >= v_total_counts[t.slot]
        and (v_retried_slots is null or t.slot <> all(v_retried_slots)) as is_finished
    ) as x
    where t.slot <> all(p_plain_slots)
  ),
  updated as (
    update flowgres.executions as e
    set
      -- A row tells of the end of one that failed or was stopped; of one that completed the execution itself does.
      event_seq = t.last_seq + t.is_finished::integer,
      resolved_count = e.resolved_count + v_newly_resolved[t.slot],
      completed_count = e.completed_count + v_newly_completed[t.slot],
      phase = case when v_failing_flags[t.slot] and e.phase = 'run' then 'always' else e.phase end,
      error = coalesce(e.error, p_state.failing_errors -> t.slot::text),
      started_at = coalesce(e.started_at, v_began_at[t.slot]),
      status = case when t.is_finished then coalesce(e.stop ->> 'status', t.status) else t.status end,
      active_since = case when t.status in ('running', 'retrying') then coalesce(e.active_since, p_state.now) end,
      active_seconds = e.active_seconds + case
        when t.status in ('running', 'retrying') or e.active_since is null then 0
        else extract(epoch from p_state.now - e.active_since) end,
      -- The time is for the run itself: what still runs after a failure has the timeouts of its steps.
      deadline_at = case when t.status in ('running', 'retrying') and not v_failing_flags[t.slot] then coalesce(
        e.deadline_at, p_state.now + make_interval(secs => greatest(e.timeout_seconds - e.active_seconds, 0))) end,
      finished_at = case when t.is_finished then p_state.now end,
      -- What the step says that stopped it, what its outputs say, else the outputs of its last steps by id.
      output = case when t.is_finished and e.stop ->> 'status' = 'completed' then e.stop -> 'output' when t.status = 'completed' then (
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
    returning t.slot, t.is_finished, e.tenant_id, e.id, e.status, e.event_seq, e.error, e.parent_execution_id, e.is_awaited, e.trigger_type
  ),
  ended as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, type, level, message, details)
    select
      u.tenant_id, u.id, u.event_seq, p_state.now, 'execution_' || u.status, case u.status when 'failed' then 'error' else 'info' end,
      u.error ->> 'message', u.error
    from updated as u
    where u.is_finished and u.status in ('failed', 'cancelled')
  )
  select
    array_agg(u.tenant_id order by u.id) filter (where u.parent_execution_id is not null),
    array_agg(u.id order by u.id) filter (where u.parent_execution_id is not null), bool_or(u.is_awaited),
    -- Mostly nobody is told of anything, and to see that is one look a statement.
    array_agg(u.tenant_id order by u.id) filter (where u.is_told), array_agg(u.id order by u.id) filter (where u.is_told),
    array_agg(u.tenant_id) filter (where u.is_traced), array_agg(u.id) filter (where u.is_traced),
    array_agg(u.tenant_id) filter (where u.trigger_type = 'transition'), array_agg(u.id) filter (where u.trigger_type = 'transition')
  into
    v_woken_tenants, v_woken, v_is_awaited, v_told_tenants, v_told, v_traced_tenants, v_traced, v_followed_tenants, v_followed
  from (
    select
      u.tenant_id, u.id, u.parent_execution_id, u.is_awaited, u.trigger_type,
      (select exists (select from flowgres.notifications))
      and exists (select from flowgres.notifications as n where n.tenant_id = u.tenant_id) as is_told,
      (select exists (select from flowgres.trace_exports)) as is_traced
    from updated as u
    where u.is_finished
  ) as u;
  if v_is_awaited then perform flowgres.tell_ends(); end if;

  if v_woken is not null then
    if p_state.runner_id is null then
      -- Maybe a caller's transaction, which stays open for as long as it likes: the row of a parent is not to be held so long.
      perform flowgres.wake_later(p_tenant_ids => v_woken_tenants, p_child_ids => v_woken);
    else
      perform flowgres.wake_parked(p_tenant_ids => v_woken_tenants, p_child_ids => v_woken);
    end if;
  end if;
  if v_told is not null then
    perform flowgres.tell_of(p_tenant_ids => v_told_tenants, p_execution_ids => v_told);
  end if;
  if v_traced is not null then
    perform flowgres.keep_ends(p_tenant_ids => v_traced_tenants, p_execution_ids => v_traced);
  end if;
  if v_followed is not null then
    perform flowgres.follow_ends(p_tenant_ids => v_followed_tenants, p_execution_ids => v_followed);
  end if;
end;
$$;
comment on function flowgres.turn_executions(flowgres.advance_state, integer[]) is $$Update executions whose status may change: those that begin, wait, or end

Keeps the account of active time; writes the output and the last event of those that end, wakes their parents, and tells of them.$$;

create or replace function flowgres.derive_status(p_tenant_id uuid, p_execution_id uuid)
  returns text language plpgsql volatile
as $$
begin
  return (
    select case
      when bool_or(q.due_at is null and q.capability not like 'limit:@%') then 'running'
      -- It has begun before, and waits for its place as one that has not.
      when bool_or(q.due_at is null) then 'queued'
      when bool_or(q.waits_for = 'retry') then 'retrying'
      else 'waiting'
    end
    from flowgres.work_queue as q
    where q.tenant_id = p_tenant_id and q.execution_id = p_execution_id);
end;
$$;
comment on function flowgres.derive_status(uuid, uuid) is $$running, queued, retrying or waiting, as the queue rows of an execution say

Volatile on purpose: it must see what this transaction has just done to the queue.$$;
