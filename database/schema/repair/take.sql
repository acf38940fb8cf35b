-- Taking steps out of the hands that have them: of a runner, a worker, a timer, or whoever was to wake them.
--
-- What was under way is an attempt that was cancelled, and says by whom. The token grows, so that whatever is still said of the step under
-- the old one is refused.

set local role flowgres_owner;

create or replace function flowgres.tell_repairs(
  p_targets flowgres.step_target[], p_act text, p_details jsonb, p_actor text, p_reason text, inout p_state flowgres.advance_state
)
  language plpgsql
as $$
declare
  v_slots integer[];
  v_last_seqs integer[];
  v_begun_slots integer[];
  v_seqs integer[];
begin
  -- An execution whose first try is cut short has begun with it; its start is number 1, which needs no row.
  v_begun_slots := array(
    select distinct t.slot from unnest(p_targets) as t where t.is_untold and not p_state.started_flags[t.slot]);
  if v_begun_slots <> '{}' then
    with begun as (
      update flowgres.executions as e
      set started_at = b.at
      from (select t.slot, min(t.claimed_at) as at from unnest(p_targets) as t where t.slot = any(v_begun_slots) group by t.slot) as b
      where e.tenant_id = p_state.tenant_ids[b.slot] and e.id = p_state.execution_ids[b.slot]
      returning b.slot, b.at
    )
    insert into flowgres.events (tenant_id, execution_id, seq, at, type)
    select p_state.tenant_ids[b.slot], p_state.execution_ids[b.slot], p_state.last_seqs[b.slot] + 1, b.at, 'execution_started'
    from begun as b
    where p_state.last_seqs[b.slot] > 0;
    for i in 1..cardinality(v_begun_slots) loop
      p_state.started_flags[v_begun_slots[i]] := true;
      p_state.last_seqs[v_begun_slots[i]] := p_state.last_seqs[v_begun_slots[i]] + 1;
    end loop;
  end if;
  v_seqs := p_state.last_seqs;
  with numbered as materialized (
    select
      t.*, (v_seqs[t.slot] + sum(1 + t.is_untold::integer) over (partition by t.slot order by t.place))::integer as seq
    from unnest(p_targets) as t
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, began_at, type, step, message, actor, details)
    select
      n.tenant_id, n.execution_id, n.seq, p_state.now, case when n.is_untold then n.claimed_at end, 'step_repaired',
      flowgres.step_label(n.step, n.iteration), p_reason, p_actor, jsonb_build_object('act', p_act) || coalesce(p_details, '{}')
    from numbered as n
  ),
  audited as (
    insert into flowgres.audit_log (tenant_id, id, at, actor, action, subject, details)
    select
      n.tenant_id, flowgres.uuid_v7(p_state.now), p_state.now, p_actor, 'step_' || p_act, n.execution_id::text,
      jsonb_strip_nulls(jsonb_build_object('step', n.step, 'iteration', nullif(n.iteration, -1), 'reason', p_reason))
      || coalesce(p_details, '{}')
    from numbered as n
  )
  select array_agg(l.slot), array_agg(l.seq) into v_slots, v_last_seqs
  from (select n.slot, max(n.seq) as seq from numbered as n group by n.slot) as l;
  for i in 1..coalesce(cardinality(v_slots), 0) loop
    v_seqs[v_slots[i]] := v_last_seqs[i];
  end loop;
  p_state.last_seqs := v_seqs;
end;
$$;
comment on function flowgres.tell_repairs is $$Tell of an act upon steps, in the audit log and as an event each, under the next numbers of their executions.$$;

create or replace function flowgres.cut_attempts(p_targets flowgres.step_target[], p_act text, p_actor text, p_reason text, p_now timestamptz)
  returns void language plpgsql
as $$
begin
  insert into flowgres.attempts (
    tenant_id, execution_id, step_index, iteration, generation, attempt, step, status, runner_id, started_at, finished_at, error, detail, round)
  select
    t.tenant_id, t.execution_id, t.step_index, t.iteration, t.generation, t.attempt, t.step, 'cancelled', t.runner_id,
    coalesce(t.claimed_at, s.started_at), p_now,
    jsonb_build_object('code', 'cancelled', 'class', 'cancelled', 'message', format('%s has %s the step', p_actor, p_act)),
    jsonb_strip_nulls(jsonb_build_object('act', p_act, 'by', p_actor, 'reason', p_reason)), q.round
  from unnest(p_targets) as t
  join flowgres.work_queue as q on q.tenant_id = t.tenant_id and q.execution_id = t.execution_id and q.id = t.queue_id
  left join lateral (
    select s.started_at
    from flowgres.step_executions as s
    where s.tenant_id = t.tenant_id and s.execution_id = t.execution_id and s.step_index = t.step_index and s.iteration = t.iteration
    offset 0
  ) as s on true
  where t.is_under_way
  on conflict (tenant_id, execution_id, step_index, iteration, generation, attempt) do nothing;

  delete from flowgres.waits as w
  using unnest(p_targets) as t
  where w.tenant_id = t.tenant_id and w.execution_id = t.execution_id and w.queue_id = t.queue_id;

  -- A child that nobody waits for any more; who holds an execution does not reach for those below it.
  insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason, generation)
  select t.tenant_id, substr(t.waits_for, 7)::uuid, p_now, 'the step that waits for it was ' || p_act, (
    select c.generation from flowgres.executions as c where c.tenant_id = t.tenant_id and c.id = substr(t.waits_for, 7)::uuid)
  from unnest(p_targets) as t
  where t.waits_for like 'child:%';

  if exists (select from unnest(p_targets) as t where t.step_type = 'approval') then
    perform flowgres.cancel_approvals(
      p_tenant_ids => array_agg(t.tenant_id), p_execution_ids => array_agg(t.execution_id), p_step_indexes => array_agg(t.step_index),
      p_iterations => array_agg(t.iteration), p_now => p_now)
    from unnest(p_targets) as t
    where t.step_type = 'approval';
  end if;
end;
$$;
comment on function flowgres.cut_attempts is $$End what is under way of these steps: the attempt, and what the engine, people or children were to do for it

The caller has locked their rows of the queue.$$;

create or replace function flowgres.take_steps(
  p_act text, p_actor text, p_reason text, inout p_targets flowgres.step_target[], inout p_state flowgres.advance_state
)
  language plpgsql
as $$
declare
  v_slots integer[];
  v_indexes smallint[];
  v_held_places integer[];
  v_held_for uuid[];
begin
  perform flowgres.cut_attempts(p_targets => p_targets, p_act => p_act, p_actor => p_actor, p_reason => p_reason, p_now => p_state.now);
  select array_agg(t.slot), array_agg(t.step_index) into v_slots, v_indexes from unnest(p_targets) as t where t.queue_id is null;
  if v_slots is not null then
    -- Of an execution that is held what comes next is held as well.
    select array_agg(t.place), array_agg(q.held_for) into v_held_places, v_held_for
    from unnest(p_targets) as t
    cross join lateral (
      select q.held_for from flowgres.work_queue as q
      where q.tenant_id = t.tenant_id and q.execution_id = t.execution_id and q.step_index = t.step_index and q.held
      limit 1
    ) as q
    where t.queue_id is null;
    -- A list under way: its iterations are cancelled, and the step has a row of its own again.
    p_state := flowgres.cancel_steps(
      p_slots => v_slots, p_indexes => v_indexes, p_spares_always => false, p_reason => 'its step was ' || p_act, p_state => p_state,
      p_is_rest => true);
    update flowgres.step_executions as s
    set done_count = s.item_count
    from unnest(p_targets) as t
    where t.queue_id is null and s.tenant_id = t.tenant_id and s.execution_id = t.execution_id and s.step_index = t.step_index
      and s.iteration = -1;
    with added as (
      insert into flowgres.work_queue (
        tenant_id, execution_id, version_id, ready_at, step_index, iteration, attempt, generation, priority, capability, held,
        held_for)
      select
        t.tenant_id, t.execution_id, t.version_id, p_state.now, t.step_index, -1, t.attempt, t.generation, t.priority, t.capability,
        coalesce(t.place = any(v_held_places), false), v_held_for[array_position(v_held_places, t.place)]
      from unnest(p_targets) as t
      where t.queue_id is null
      returning execution_id, step_index, id
    )
    select array_agg(
      (jsonb_populate_record(t, jsonb_build_object('queue_id', coalesce(t.queue_id, a.id))))::flowgres.step_target order by t.place)
    into p_targets
    from unnest(p_targets) as t
    left join added as a on a.execution_id = t.execution_id and a.step_index = t.step_index and t.queue_id is null;
  end if;
  with taken as (
    update flowgres.work_queue as q
    set
      runner_id = null, claimed_at = null, due_at = null, waits_for = null, resume = null, token = q.token + 1, ready_at = p_state.now,
      rank = flowgres.next_rank(),
      -- Its start is told of, and it may have rows.
      is_announced = true,
      -- What somebody says in its place is an attempt of its own.
      attempt = t.attempt + (p_act in ('completed', 'failed'))::integer, capability = t.capability
    from unnest(p_targets) as t
    where q.tenant_id = t.tenant_id and q.execution_id = t.execution_id and q.id = t.queue_id
    returning t.place, q.token
  )
  select array_agg((jsonb_populate_record(t, jsonb_build_object('token', k.token)))::flowgres.step_target order by t.place)
  into p_targets
  from unnest(p_targets) as t
  join taken as k on k.place = t.place;
end;
$$;
comment on function flowgres.take_steps is $$Take steps that are under way or ready out of all hands, so that their end can be said: as a lease that nobody has.$$;
