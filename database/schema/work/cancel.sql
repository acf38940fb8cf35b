-- Advancing executions: steps that will not run any more, because their execution fails, was stopped, cancelled or ran out of
-- time, or because another step cancels them.

set local role flowgres_owner;

create or replace function flowgres.cancel_steps(
  p_slots integer[], p_indexes smallint[], p_spares_always boolean, p_reason text, inout p_state flowgres.advance_state,
  p_is_rest boolean default false
)
  language plpgsql
as $$
declare
  v_cancelled flowgres.resolved_step[];
  v_slots integer[];
  v_last_seqs integer[];
  v_counts integer[];
  v_rested_slots integer[];
  v_rested_indexes smallint[];
  v_asked_tenants uuid[];
  v_asked_executions uuid[];
  v_asked_indexes smallint[];
  v_asked_iterations integer[];
begin
  -- The rows of the queue first, in their order, so that nobody who gives one back waits for us while we wait for him.
  with held as materialized (
    select s.slot, q.*
    from (
      select s.slot, case when p_indexes is not null then array_agg(s.index) end as indexes
      from unnest(p_slots, p_indexes) as s (slot, index)
      group by s.slot
      order by p_state.execution_ids[s.slot]
    ) as s
    cross join lateral (
      select q.* from flowgres.work_queue as q
      where q.tenant_id = p_state.tenant_ids[s.slot] and q.execution_id = p_state.execution_ids[s.slot]
        and (s.indexes is null or q.step_index = any(s.indexes))
      order by q.id
      for update
    ) as q
  ),
  doomed as materialized (
    select
      s.slot, p_state.tenant_ids[s.slot] as tenant_id, p_state.execution_ids[s.slot] as execution_id, w.index, -1 as iteration,
      w.id, w.type, w.join_rule, w.children, r.is_recorded, r.child_execution_id, h.id as queue_id, h.runner_id, h.attempt, h.generation,
      h.claimed_at, h.ready_at, h.round,
      -- Nobody has told yet that it was begun.
      (h.runner_id is not null and not h.is_announced) is true as is_unannounced
    from (select distinct s.slot, s.index from unnest(p_slots, p_indexes) as s (slot, index)) as s
    join flowgres.workflow_steps as w
      on w.tenant_id = p_state.tenant_ids[s.slot] and w.version_id = p_state.version_ids[s.slot]
        and (p_indexes is null or w.index = s.index)
    cross join lateral (
      select count(*) > 0 as is_recorded, bool_or(r.finished_at is not null) is true as has_ended, max(r.child_execution_id::text)::uuid as child_execution_id
      from flowgres.step_executions as r
      where r.tenant_id = p_state.tenant_ids[s.slot] and r.execution_id = p_state.execution_ids[s.slot]
        and r.step_index = w.index and r.iteration = -1
    ) as r
    left join held as h on h.slot = s.slot and h.step_index = w.index and h.iteration = -1
    where not p_is_rest and not r.has_ended and not (p_spares_always and w.join_rule = 'always')
      -- Of what comes after a failure only the step that has its turn is there yet.
      and (w.section = 'steps' or r.is_recorded or h.id is not null)
    union all
    -- Iterations that are under way.
    select
      h.slot, h.tenant_id, h.execution_id, w.index, h.iteration, w.id, w.type, w.join_rule, w.children, r.step_index is not null, r.child_execution_id, h.id, h.runner_id, h.attempt, h.generation, h.claimed_at, h.ready_at, h.round,
      (h.runner_id is not null and not h.is_announced) is true
    from held as h
    join flowgres.workflow_steps as w
      on w.tenant_id = h.tenant_id and w.version_id = h.version_id and w.index = h.step_index
    left join flowgres.step_executions as r
      on r.tenant_id = h.tenant_id and r.execution_id = h.execution_id and r.step_index = h.step_index and r.iteration = h.iteration
    where h.iteration >= 0 and r.finished_at is null and not (p_spares_always and w.join_rule = 'always')
  ),
  rested as (
    -- Steps that had what they needed, and were to be counted when their last iteration ends: that is now.
    update flowgres.step_executions as s
    set done_count = s.item_count
    from (select distinct s.slot, s.index from unnest(p_slots, p_indexes) as s (slot, index)) as x
    join flowgres.workflow_steps as w
      on w.tenant_id = p_state.tenant_ids[x.slot] and w.version_id = p_state.version_ids[x.slot] and w.iterates is not null
        and (p_indexes is null or w.index = x.index)
    where not p_is_rest and s.tenant_id = w.tenant_id and s.execution_id = p_state.execution_ids[x.slot] and s.step_index = w.index
      and s.iteration = -1 and s.finished_at is not null and s.done_count < s.item_count
      and not (p_spares_always and w.join_rule = 'always')
    returning x.slot, s.step_index
  ),
  numbered as materialized (
    select
      d.*, (p_state.last_seqs[d.slot]
        + sum(case when d.type = 'outputs' then 0 else 1 + d.is_unannounced::integer end) over (partition by d.slot order by d.index, d.iteration)
      )::integer as seq
    from doomed as d
  ),
  cancelled as (
    insert into flowgres.step_executions as s (
      tenant_id, execution_id, step_index, iteration, attempts, step, type, status, edge, runner_id, ready_at, started_at, finished_at,
      seq, generation)
    select
      n.tenant_id, n.execution_id, n.index, n.iteration, coalesce(n.attempt, 0), n.id, n.type, 'cancelled', 'dead', n.runner_id, n.ready_at,
      n.claimed_at, p_state.now, case when n.type <> 'outputs' then n.seq end, nullif(n.generation, 1)
    from numbered as n
    on conflict (tenant_id, execution_id, step_index, iteration) do update
    set
      status = 'cancelled', edge = 'dead', finished_at = excluded.finished_at, due_at = null, seq = excluded.seq,
      attempts = greatest(s.attempts, excluded.attempts), started_at = coalesce(s.started_at, excluded.started_at),
      is_logged = true, generation = coalesce(excluded.generation, s.generation), done_count = s.item_count, previous = null
  ),
  told as (
    -- A step that had a row before has told of itself in events so far; its end is told there, too.
    insert into flowgres.events (tenant_id, execution_id, seq, at, began_at, type, step)
    select
      n.tenant_id, n.execution_id, n.seq, p_state.now, case when n.is_unannounced then n.claimed_at end, 'step_cancelled',
      flowgres.step_label(n.id, n.iteration)
    from numbered as n
    where n.is_recorded and n.type <> 'outputs'
  ),
  tried as (
    insert into flowgres.attempts (
      tenant_id, execution_id, step_index, iteration, generation, attempt, step, status, runner_id, started_at, finished_at, error, round)
    select
      n.tenant_id, n.execution_id, n.index, n.iteration, n.generation, n.attempt, n.id, 'cancelled', n.runner_id, n.claimed_at, p_state.now,
      jsonb_build_object('code', 'cancelled', 'message', p_reason, 'class', 'cancelled'), n.round
    from numbered as n
    where n.runner_id is not null
    on conflict (tenant_id, execution_id, step_index, iteration, generation, attempt) do nothing
  ),
  orphaned as (
    insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason, generation)
    select n.tenant_id, n.child_execution_id, p_state.now, p_reason, c.generation
    from numbered as n
    cross join lateral (
      select c.generation from flowgres.executions as c
      where c.tenant_id = n.tenant_id and c.id = n.child_execution_id
        -- One that was detached goes its own way.
        and c.parent_queue_id is not null
      offset 0
    ) as c
    where n.child_execution_id is not null
  ),
  unawaited as (
    delete from flowgres.waits as w
    using numbered as n
    where w.tenant_id = n.tenant_id and w.execution_id = n.execution_id and w.queue_id = n.queue_id
  ),
  dropped as (
    -- Running steps lose their lease and are aborted at their runner's next heartbeat.
    delete from flowgres.work_queue as q
    using numbered as n
    where q.tenant_id = n.tenant_id and q.execution_id = n.execution_id and q.id = n.queue_id
  )
  select t.*, g.*, p.*, a.*
  into
    v_cancelled, v_slots, v_last_seqs, v_counts, v_rested_slots, v_rested_indexes, v_asked_tenants, v_asked_executions, v_asked_indexes,
    v_asked_iterations
  from (
    select array_agg(flowgres.make_resolved_step(
      p_slot => n.slot, p_queue_id => null, p_step_index => n.index, p_step => n.id, p_join_rule => n.join_rule,
      p_children => n.children, p_untaken => null, p_edge => 'dead', p_outcome => 'cancelled') order by n.slot, n.index)
    from numbered as n
    where n.iteration = -1
  ) as t
  cross join (
    select array_agg(g.slot), array_agg(g.last_seq), array_agg(g.step_count)
    from (
      select n.slot, max(n.seq) as last_seq, count(*) filter (where n.iteration = -1)::integer as step_count
      from numbered as n
      group by n.slot
    ) as g
  ) as g
  cross join (select array_agg(r.slot), array_agg(r.step_index) from rested as r) as p
  cross join (
    select array_agg(n.tenant_id), array_agg(n.execution_id), array_agg(n.index), array_agg(n.iteration)
    from numbered as n
    where n.type = 'approval'
  ) as a;
  if v_asked_tenants is not null then
    perform flowgres.cancel_approvals(
      p_tenant_ids => v_asked_tenants, p_execution_ids => v_asked_executions, p_step_indexes => v_asked_indexes,
      p_iterations => v_asked_iterations, p_now => p_state.now);
  end if;

  for i in 1..coalesce(cardinality(v_slots), 0) loop
    p_state.last_seqs[v_slots[i]] := v_last_seqs[i];
    p_state.newly_resolved[v_slots[i]] := p_state.newly_resolved[v_slots[i]] + v_counts[i];
  end loop;
  for i in 1..coalesce(cardinality(v_rested_slots), 0) loop
    p_state.newly_resolved[v_rested_slots[i]] := p_state.newly_resolved[v_rested_slots[i]] + 1;
  end loop;
  -- What had just become ready is among them.
  p_state.ready := array(
    select r from unnest(p_state.ready) as r
    where not exists (select from unnest(v_cancelled) as c where c.slot = r.slot and c.step_index = r.step_index)
      and not exists (
        select from unnest(v_rested_slots, v_rested_indexes) as c (slot, step_index)
        where c.slot = r.slot and c.step_index = r.step_index and r.iteration >= 0));
  if p_state.ready = '{}' then
    p_state.ready := null;
  end if;
  p_state.frontier := p_state.frontier || v_cancelled;
  -- What was running or waiting there may be gone: only the queue can tell now.
  p_state.moving_slots := array(select m.slot from unnest(p_state.moving_slots) as m (slot) where m.slot <> all(p_slots));
end;
$$;
comment on function flowgres.cancel_steps(integer[], smallint[], boolean, text, flowgres.advance_state, boolean) is $$Cancel steps of these executions that have not ended

All of them, all but those that join always, or those of p_indexes, which lies beside p_slots then: a pair for each step. p_is_rest: the
iterations that are under way, and not their steps.

Their rows leave the queue, a runner that has one learns so at its next heartbeat, their children are left to cancel_orphan.$$;
