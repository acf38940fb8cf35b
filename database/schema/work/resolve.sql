-- Advancing executions, fourth part: what the steps that ended mean to their children.

set local role flowgres_owner;

create or replace function flowgres.resolve_children(inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  -- Variables of their own: an element of an array within a composite is read from a copy of all of it.
  v_tenant_ids uuid[] := p_state.tenant_ids;
  v_execution_ids uuid[] := p_state.execution_ids;
  v_version_ids uuid[] := p_state.version_ids;
  v_failing_flags boolean[] := p_state.failing_flags;
  v_generations smallint[] := p_state.generations;
  v_resolved_counts integer[] := p_state.resolved_counts;
  v_newly_resolved integer[];
  v_last_seqs integer[];
  v_frontier flowgres.resolved_step[] := p_state.frontier;
  v_ready flowgres.ready_step[];
  v_skipped flowgres.resolved_step[];
  v_passed_by flowgres.resolved_step[] := '{}';
  v_has_rest boolean;
  v_rest_slots integer[];
  v_rest_indexes smallint[];
  v_unhandled jsonb;
  v_row record;
begin
  p_state.frontier := null;
  -- A skipped step may skip its children in turn: go on until a round skips nothing.
  while v_frontier is not null loop
    v_last_seqs := p_state.last_seqs;
    v_newly_resolved := p_state.newly_resolved;
    with touched as materialized (
      select distinct on (f.slot, c.child)
        f.slot, v_tenant_ids[f.slot] as tenant_id, v_execution_ids[f.slot] as execution_id,
        v_version_ids[f.slot] as version_id, f.queue_id, c.child,
        case when c.child = any(f.untaken) then 'dead' else f.edge end as edge
      from unnest(v_frontier) as f
      cross join unnest(f.children) as c (child)
      order by f.slot, c.child, f.queue_id
    ),
    judged as materialized (
      select
        t.*, w.id as step, w.type as step_type, w.capability, w.children, w.join_rule, w.rest_indexes, w.is_early,
        flowgres.judge_join(
          p_join_rule => w.join_rule, p_join_count => w.join_count, p_has_gates => w.gates <> '{}', p_dependency_count => cardinality(w.dependencies),
          p_resolved => coalesce(d.counts[1], 1), p_taken => coalesce(d.counts[2], (t.edge = 'taken')::integer),
          p_failed => coalesce(d.counts[3], (t.edge = 'failed')::integer),
          p_open_gates => case when w.gates = '{}' then 0
            else coalesce(d.counts[4], (t.edge <> 'dead')::integer) end) as verdict
      from touched as t
      cross join lateral (
        select
          w.id, w.type, w.capability, w.children, w.join_rule, w.join_count, w.gates, w.dependencies, w.rest_indexes, w.is_early
        from flowgres.workflow_steps as w
        where w.tenant_id = t.tenant_id and w.version_id = t.version_id and w.index = t.child
        offset 0
      ) as w
      -- With one dependency the edge in hand decides; else the others are read, with a snapshot that is younger than the lock:
      -- how many have ended, were taken, have failed, and how many gates are not known to be dead. But not when the join waits
      -- for all, and fewer steps than it waits for have ended at all.
      cross join lateral (
        select case when cardinality(w.dependencies) > 1 and (
          w.is_early or coalesce(v_resolved_counts[t.slot] + v_newly_resolved[t.slot] >= cardinality(w.dependencies), true)) then (
          select array[
            count(*), count(*) filter (where e.edge = 'taken'), count(*) filter (where e.edge = 'failed'),
            count(*) filter (where e.is_gate and e.edge <> 'dead') + cardinality(w.gates) - count(*) filter (where e.is_gate)
          ]::integer[]
          from (
            select
              case when t.child = any(s.untaken) then 'dead' else s.edge end as edge,
              s.step_index = any(w.gates) as is_gate
            from flowgres.step_executions as s
            where s.tenant_id = t.tenant_id and s.execution_id = t.execution_id and s.step_index = any(w.dependencies)
              and s.iteration = -1 and s.edge is not null
          ) as e) end as counts
        offset 0
      ) as d
      where not v_failing_flags[t.slot] or w.join_rule = 'always'
    ),
    decided as materialized (
      select
        j.*,
        (v_last_seqs[j.slot] + sum((j.verdict = 'skipped' and j.step_type <> 'outputs')::integer)
          over (partition by j.slot order by j.child))::integer as seq
      from judged as j
      where j.verdict is not null and (
        -- It may have been decided before: by a join that does not wait for all, because it was cancelled, or before a retry.
        not j.is_early and v_generations[j.slot] = 1 or not exists (
          select from flowgres.step_executions as s
          where s.tenant_id = j.tenant_id and s.execution_id = j.execution_id and s.step_index = j.child and s.iteration = -1))
    ),
    marked as (
      insert into flowgres.step_executions as s (
        tenant_id, execution_id, step_index, step, type, status, edge, ready_at, finished_at, seq, generation)
      select
        d.tenant_id, d.execution_id, d.child, d.step, d.step_type, d.verdict,
        case when d.verdict = 'skipped' then 'dead' end, p_state.now, case when d.verdict = 'skipped' then p_state.now end,
        case when d.verdict = 'skipped' and d.step_type <> 'outputs' then d.seq end, nullif(v_generations[d.slot], 1)
      from decided as d
      where d.verdict = 'skipped' or d.is_early
    )
    select
      array_agg(flowgres.make_ready_step(
        p_slot => d.slot, p_queue_id => d.queue_id, p_step_index => d.child, p_capability => d.capability,
        p_only_computes => flowgres.only_computes(d.step_type))
        order by d.slot, d.child) filter (where d.verdict = 'ready'),
      array_agg(flowgres.make_resolved_step(
        p_slot => d.slot, p_queue_id => d.queue_id, p_step_index => d.child, p_step => d.step, p_join_rule => d.join_rule,
        p_children => d.children, p_untaken => null, p_edge => 'dead', p_outcome => 'skipped')
        order by d.slot, d.child) filter (where d.verdict = 'skipped'),
      bool_or(d.verdict = 'ready' and d.rest_indexes <> '{}')
    into v_ready, v_skipped, v_has_rest
    from decided as d;

    p_state.ready := p_state.ready || v_ready;
    for v_row in
      select k.slot, count(*) as resolved, count(*) filter (where k.step <> '$outputs') as told
      from unnest(v_skipped) as k
      group by k.slot
    loop
      p_state.last_seqs[v_row.slot] := p_state.last_seqs[v_row.slot] + v_row.told;
      p_state.newly_resolved[v_row.slot] := p_state.newly_resolved[v_row.slot] + v_row.resolved;
    end loop;
    -- Those that were to handle a failure, and did not run.
    v_passed_by := v_passed_by || array(
      select f from unnest(v_frontier) as f where f.join_rule = 'failed' and f.outcome in ('skipped', 'cancelled'));
    v_frontier := v_skipped;
    if v_has_rest then
      -- The join is met: what else leads only there is not needed any more.
      select array_agg(r.slot), array_agg(i.index) into v_rest_slots, v_rest_indexes
      from unnest(v_ready) as r
      join flowgres.workflow_steps as w
        on w.tenant_id = v_tenant_ids[r.slot] and w.version_id = v_version_ids[r.slot] and w.index = r.step_index
      cross join unnest(w.rest_indexes) as i (index);
      p_state := flowgres.cancel_steps(
        p_slots => v_rest_slots, p_indexes => v_rest_indexes, p_spares_always => false, p_reason => 'enough others had ended',
        p_state => p_state);
      v_frontier := v_frontier || p_state.frontier;
      p_state.frontier := null;
    end if;
  end loop;

  v_passed_by := v_passed_by || array(
    select flowgres.make_resolved_step(
      p_slot => o.slot, p_queue_id => o.queue_id, p_step_index => o.step_index, p_step => o.step, p_join_rule => o.join_rule,
      p_children => null, p_untaken => null, p_edge => o.edge, p_outcome => o.outcome)
    from unnest(p_state.outcomes) as o where o.outcome in ('skipped', 'cancelled') and o.join_rule = 'failed');
  if v_passed_by <> '{}' then
    v_unhandled := flowgres.find_unhandled(p_state => p_state, p_passed_by => v_passed_by);
    if v_unhandled is not null then
      p_state.failing_errors := coalesce(p_state.failing_errors, '{}') || v_unhandled;
      p_state := flowgres.begin_failing(p_state => p_state);
      p_state := flowgres.resolve_children(p_state => p_state);
    end if;
  end if;
end;
$$;
comment on function flowgres.resolve_children(flowgres.advance_state) is $$Find the children that became ready, and skip those that cannot run

Runs under the locks of the executions: two siblings that finish at once are seen one after the other.$$;

-- No search_path: a function with one is not inlined, and this runs once a child.
create or replace function flowgres.judge_join(
  p_join_rule text,
  p_join_count smallint,
  p_has_gates boolean,
  p_dependency_count integer,
  p_resolved integer,
  p_taken integer,
  p_failed integer,
  p_open_gates integer
)
  returns text language sql immutable parallel safe
as $$
  select case
    when p_has_gates and p_open_gates = 0 then 'skipped'
    when p_join_rule = 'any' and p_taken > 0 then 'ready'
    when p_join_rule = 'at_least' and p_taken >= p_join_count then 'ready'
    when p_join_rule = 'failed' and p_failed > 0 then 'ready'
    when p_resolved < p_dependency_count then null
    when p_join_rule in ('always', 'end') then 'ready'
    when p_join_rule = 'all' and p_taken = p_dependency_count then 'ready'
    when p_join_rule = 'default' and p_failed = 0 and p_taken > 0 then 'ready'
    else 'skipped'
  end;
$$;
comment on function flowgres.judge_join is $$ready, skipped, or null while it must wait: the join rules in one place

Open gates are those that are not known to be dead.$$;
