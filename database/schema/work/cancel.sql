-- Advancing executions: steps that will not run any more, because their execution fails, was cancelled or ran out of time.

set local role flowgres_owner;

create or replace function flowgres.cancel_steps(
  p_slots integer[], p_spares_always boolean, p_reason text, inout p_state flowgres.advance_state
)
  language plpgsql
as $$
declare
  v_cancelled flowgres.resolved_step[];
  v_slots integer[];
  v_last_seqs integer[];
  v_counts integer[];
begin
  -- The rows of the queue first, in their order, so that nobody who gives one back waits for us while we wait for him.
  with held as materialized (
    select s.slot, q.*
    from (select s.slot from unnest(p_slots) as s (slot) order by p_state.execution_ids[s.slot]) as s
    cross join lateral (
      select q.* from flowgres.work_queue as q
      where q.tenant_id = p_state.tenant_ids[s.slot] and q.execution_id = p_state.execution_ids[s.slot]
      order by q.id
      for update
    ) as q
  ),
  doomed as materialized (
    select
      s.slot, p_state.tenant_ids[s.slot] as tenant_id, p_state.execution_ids[s.slot] as execution_id, w.index, w.id, w.type,
      w.join_rule, w.children, r.is_recorded, r.child_execution_id, h.id as queue_id, h.runner_id, h.attempt, h.generation,
      h.claimed_at, h.ready_at,
      -- Nobody has told yet that it was begun.
      (h.runner_id is not null and not h.is_announced) is true as is_unannounced
    from unnest(p_slots) as s (slot)
    join flowgres.workflow_steps as w
      on w.tenant_id = p_state.tenant_ids[s.slot] and w.version_id = p_state.version_ids[s.slot]
    cross join lateral (
      select count(*) > 0 as is_recorded, bool_or(r.finished_at is not null) is true as has_ended, max(r.child_execution_id::text)::uuid as child_execution_id
      from flowgres.step_executions as r
      where r.tenant_id = p_state.tenant_ids[s.slot] and r.execution_id = p_state.execution_ids[s.slot]
        and r.step_index = w.index and r.iteration = -1
    ) as r
    left join held as h on h.slot = s.slot and h.step_index = w.index and h.iteration = -1
    where not r.has_ended and not (p_spares_always and w.join_rule = 'always')
  ),
  numbered as materialized (
    select
      d.*, (p_state.last_seqs[d.slot]
        + sum(case when d.type = 'outputs' then 0 else 1 + d.is_unannounced::integer end) over (partition by d.slot order by d.index)
      )::integer as seq
    from doomed as d
  ),
  cancelled as (
    insert into flowgres.step_executions as s (
      tenant_id, execution_id, step_index, attempts, step, type, status, edge, runner_id, ready_at, started_at, finished_at, seq)
    select
      n.tenant_id, n.execution_id, n.index, coalesce(n.attempt, 0), n.id, n.type, 'cancelled', 'dead', n.runner_id, n.ready_at,
      n.claimed_at, p_state.now, case when n.type <> 'outputs' then n.seq end
    from numbered as n
    on conflict (tenant_id, execution_id, step_index, iteration) do update
    set
      status = 'cancelled', edge = 'dead', finished_at = excluded.finished_at, due_at = null, seq = excluded.seq,
      attempts = greatest(s.attempts, excluded.attempts), started_at = coalesce(s.started_at, excluded.started_at),
      is_logged = true
  ),
  told as (
    -- A step that had a row before has told of itself in events so far; its end is told there, too.
    insert into flowgres.events (tenant_id, execution_id, seq, at, began_at, type, step)
    select
      n.tenant_id, n.execution_id, n.seq, p_state.now, case when n.is_unannounced then n.claimed_at end, 'step_cancelled', n.id
    from numbered as n
    where n.is_recorded and n.type <> 'outputs'
  ),
  tried as (
    insert into flowgres.attempts (
      tenant_id, execution_id, step_index, iteration, generation, attempt, step, status, runner_id, started_at, finished_at, error)
    select
      n.tenant_id, n.execution_id, n.index, -1, n.generation, n.attempt, n.id, 'cancelled', n.runner_id, n.claimed_at, p_state.now,
      jsonb_build_object('code', 'cancelled', 'message', p_reason, 'class', 'cancelled')
    from numbered as n
    where n.runner_id is not null
    on conflict (tenant_id, execution_id, step_index, iteration, generation, attempt) do nothing
  ),
  orphaned as (
    insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason)
    select n.tenant_id, n.child_execution_id, p_state.now, p_reason
    from numbered as n
    where n.child_execution_id is not null
  ),
  dropped as (
    -- Running steps lose their lease and are aborted at their runner's next heartbeat.
    delete from flowgres.work_queue as q
    using held as h
    where q.tenant_id = h.tenant_id and q.execution_id = h.execution_id and q.id = h.id
      and exists (select from numbered as n where n.slot = h.slot and n.index = h.step_index)
  )
  select t.*, g.*
  into v_cancelled, v_slots, v_last_seqs, v_counts
  from (
    select array_agg(flowgres.make_resolved_step(
      p_slot => n.slot, p_queue_id => null, p_step_index => n.index, p_step => n.id, p_join_rule => n.join_rule,
      p_children => n.children, p_untaken => null, p_edge => 'dead', p_outcome => 'cancelled') order by n.slot, n.index)
    from numbered as n
  ) as t
  cross join (
    select array_agg(g.slot), array_agg(g.last_seq), array_agg(g.step_count)
    from (
      select n.slot, max(n.seq) as last_seq, count(*)::integer as step_count from numbered as n group by n.slot
    ) as g
  ) as g;

  for i in 1..coalesce(cardinality(v_slots), 0) loop
    p_state.last_seqs[v_slots[i]] := v_last_seqs[i];
    p_state.newly_resolved[v_slots[i]] := p_state.newly_resolved[v_slots[i]] + v_counts[i];
  end loop;
  -- What had just become ready is among them.
  p_state.ready := array(
    select r from unnest(p_state.ready) as r
    where not exists (select from unnest(v_cancelled) as c where c.slot = r.slot and c.step_index = r.step_index));
  if p_state.ready = '{}' then
    p_state.ready := null;
  end if;
  p_state.frontier := p_state.frontier || v_cancelled;
end;
$$;
comment on function flowgres.cancel_steps(integer[], boolean, text, flowgres.advance_state) is $$Cancel every step of these executions that has not ended, or all but those that join always

Their rows leave the queue, a runner that has one learns so at its next heartbeat, their children are left to cancel_orphan.$$;

create or replace function flowgres.begin_failing(inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_slots integer[] := array(
    select f.slot::integer from jsonb_object_keys(p_state.failing_errors) as f (slot)
    where not p_state.failing_flags[f.slot::integer]
    order by p_state.execution_ids[f.slot::integer]);
  v_slot integer;
begin
  p_state := flowgres.cancel_steps(
    p_slots => v_slots, p_spares_always => true, p_reason => 'the execution failed', p_state => p_state);
  foreach v_slot in array v_slots loop
    p_state.failing_flags[v_slot] := true;
  end loop;
  -- What was running or waiting there may be gone: only the queue can tell now.
  p_state.moving_slots := array(select m.slot from unnest(p_state.moving_slots) as m (slot) where m.slot <> all(v_slots));
end;
$$;
comment on function flowgres.begin_failing(flowgres.advance_state) is $$Turn the executions of failing_errors towards their end: the phase always begins

Steps that have not ended are cancelled, except those that join always.$$;

create or replace function flowgres.find_failures(p_state flowgres.advance_state)
  returns jsonb language plpgsql
as $$
begin
  -- The first unhandled failure of an execution names its error.
  return (
    select jsonb_object_agg(f.slot, f.error)
    from (
      select distinct on (o.slot) o.slot, o.error || jsonb_build_object('step', o.step) as error
      from unnest(p_state.outcomes) as o
      where o.is_unhandled and not p_state.failing_flags[o.slot]
      order by o.slot, o.queue_id
    ) as f);
end;
$$;
comment on function flowgres.find_failures(flowgres.advance_state) is $$The errors of a batch that nothing handles, by slot; null when there is none.$$;

create or replace function flowgres.find_unhandled(p_state flowgres.advance_state, p_skipped flowgres.resolved_step[])
  returns jsonb language plpgsql
as $$
begin
  return (
    select jsonb_object_agg(f.slot, f.error)
    from (
      select distinct on (k.slot) k.slot, p.error || jsonb_build_object('step', p.step) as error
      from unnest(p_skipped) as k
      join flowgres.workflow_steps as w
        on w.tenant_id = p_state.tenant_ids[k.slot] and w.version_id = p_state.version_ids[k.slot] and w.index = k.step_index
      cross join lateral (
        select s.step_index, s.step, s.error, s.seq from flowgres.step_executions as s
        where s.tenant_id = p_state.tenant_ids[k.slot] and s.execution_id = p_state.execution_ids[k.slot]
          and s.step_index = any(w.dependencies) and s.iteration = -1 and s.edge = 'failed'
        offset 0
      ) as p
      where k.join_rule = 'failed' and not p_state.failing_flags[k.slot]
        -- Another one that joins on this failure may still handle it, or has.
        and not exists (
          select
          from flowgres.workflow_steps as f
          join flowgres.workflow_steps as h
            on h.tenant_id = f.tenant_id and h.version_id = f.version_id and h.index = any(f.children) and h.join_rule = 'failed'
          where f.tenant_id = w.tenant_id and f.version_id = w.version_id and f.index = p.step_index
            and not exists (
              select from flowgres.step_executions as s
              where s.tenant_id = p_state.tenant_ids[k.slot] and s.execution_id = p_state.execution_ids[k.slot]
                and s.step_index = h.index and s.iteration = -1 and s.status = 'skipped'))
      order by k.slot, p.seq
    ) as f);
end;
$$;
comment on function flowgres.find_unhandled(flowgres.advance_state, flowgres.resolved_step[]) is $$Failures whose handlers have all been skipped, by slot, in the form of find_failures

A step that joins on failed handles a failure by running; one that is skipped after all has handled nothing.$$;
