-- The hot path: report results, advance their executions, take the next steps, in one call.

set local role flowgres_owner;

create or replace function flowgres.advance(
  p_runner_id uuid,
  p_reports flowgres.step_report[],
  p_capabilities text[],
  p_want integer,
  p_room integer default null
)
  returns setof flowgres.claimed_step language plpgsql
as $$
declare
  v_state flowgres.advance_state;
  v_tenant_ids uuid[];
  v_execution_ids uuid[];
  v_has_children boolean;
  v_has_transitions boolean;
  v_has_parks boolean;
  v_reports flowgres.step_report[] := p_reports;
begin
  v_state.runner_id := p_runner_id;
  v_state.capabilities := p_capabilities;
  select array_agg(x.t), array_agg(x.id), bool_or(x.has_child), bool_or(x.has_transition), bool_or(x.has_park)
  into v_tenant_ids, v_execution_ids, v_has_children, v_has_transitions, v_has_parks
  from (
    select
      r.t, r.x as id, bool_or(r.o = 'child') as has_child, bool_or(r.o = 'transition') as has_transition,
      bool_or(r.o = 'park') as has_park
    from unnest(p_reports) as r
    group by r.t, r.x
  ) as x;
  v_state := flowgres.lock_executions(
    p_tenant_ids => v_tenant_ids, p_execution_ids => v_execution_ids, p_state => v_state);
  if v_state.execution_ids is null then
    return query select p.* from flowgres.pass_over(p_reports => p_reports, p_state => v_state) as p;
    return;
  end if;
  -- From here on every statement has a snapshot younger than the locks.
  if v_has_children then
    v_reports := flowgres.start_children(p_state => v_state, p_reports => p_reports);
    if true = any(v_state.paused_flags) then
      perform flowgres.pause_children(p_state => v_state, p_reports => v_reports);
    end if;
  end if;
  if v_has_transitions then
    v_reports := flowgres.make_transitions(p_state => v_state, p_reports => v_reports);
  end if;
  if v_has_parks then
    v_reports := flowgres.park_steps(p_state => v_state, p_reports => v_reports);
  end if;
  v_state := flowgres.record_outcomes(p_reports => v_reports, p_state => v_state);
  if coalesce(cardinality(v_state.held_queue_ids), 0) < cardinality(p_reports) then
    return query select p.* from flowgres.pass_over(p_reports => p_reports, p_state => v_state) as p;
    if v_state.touched_slots is null then
      return;
    end if;
  end if;
  v_state.room := coalesce(p_room, v_state.lease_count + greatest(p_want, 0));
  if v_state.outcomes is not null then
    v_state := flowgres.take_outcomes(p_state => v_state);
  end if;
  return query select h.* from unnest(flowgres.carry_on(p_state => v_state)) as h;
  if v_has_parks then
    perform flowgres.tell_of_opened(p_reports => v_reports);
  end if;
end;
$$;
comment on function flowgres.advance(uuid, flowgres.step_report[], text[], integer, integer) is $$Advance the executions of a batch of reports

Locks in the order executions, steps, queue rows, each by id. Returns the steps handed over to the runner, and in the same form
the reports that were passed over because somebody else holds their execution.$$;

create or replace function flowgres.take_outcomes(inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_is_any_expanded boolean;
  v_is_any_iteration boolean;
  v_is_any_end boolean;
  v_is_any_cancel boolean;
begin
  perform flowgres.record_unusual(p_state => p_state);
  select bool_or(o.outcome = 'expand'), bool_or(o.iteration >= 0 and o.edge is not null)
  into v_is_any_expanded, v_is_any_iteration
  from unnest(p_state.outcomes) as o;
  if v_is_any_expanded then
    p_state := flowgres.expand_steps(p_state => p_state);
  end if;
  if v_is_any_iteration then
    p_state := flowgres.iterate_steps(p_state => p_state);
  end if;
  select
    bool_or(o.edge = 'failed' or o.step_type = 'stop'), bool_or(o.cancels <> '{}' and o.outcome = 'completed')
  into v_is_any_end, v_is_any_cancel
  from unnest(p_state.outcomes) as o
  where o.iteration = -1;
  if v_is_any_end then
    p_state := flowgres.begin_ending(p_state => p_state);
  end if;
  if v_is_any_cancel then
    p_state := flowgres.cancel_others(p_state => p_state);
  end if;
end;
$$;
comment on function flowgres.take_outcomes(flowgres.advance_state) is $$What follows from outcomes that are more than the good end of a step at its first try

Before carry_on: the steps that go on are written, lists expanded and counted, executions turned towards their end, others cancelled.$$;

create or replace function flowgres.carry_on(p_state flowgres.advance_state)
  returns flowgres.claimed_step[] language plpgsql
as $$
declare
  v_handed flowgres.claimed_step[];
  v_share_of_fan integer;
  v_next flowgres.ready_step[];
  v_ready flowgres.ready_step[];
begin
  if p_state.frontier is not null or p_state.outcomes is not null then
    p_state := flowgres.resolve_children(p_state => p_state);
  end if;
  if p_state.ready is not null then
    v_share_of_fan := flowgres.share_of_fan(p_state => p_state);
    v_handed := flowgres.move_ready(
      p_state => p_state, p_share_of_fan => v_share_of_fan,
      p_room => case when flowgres.may_hand_over(p_state => p_state) then least(p_state.room, v_share_of_fan) else 0 end,
      p_share => flowgres.share_of_tenant(p_state => p_state));
    p_state.moving_slots := p_state.moving_slots || array(select r.slot from unnest(p_state.ready) as r);
  end if;
  if true = any(p_state.failing_flags) then
    v_next := flowgres.take_next_steps(p_state => p_state);
    for i in 1..coalesce(cardinality(v_next), 0) loop
      p_state.total_counts[v_next[i].slot] := p_state.total_counts[v_next[i].slot] + 1;
    end loop;
  end if;
  if v_next is not null then
    -- They are claimed, and not handed over: what they see begins with the error, which no runner has yet.
    v_ready := p_state.ready;
    p_state.ready := v_next;
    v_handed := v_handed || flowgres.move_ready(p_state => p_state, p_share_of_fan => 0, p_room => 0, p_share => null);
    p_state.moving_slots := p_state.moving_slots || array(select r.slot from unnest(v_next) as r);
    p_state.ready := v_ready;
  end if;
  perform flowgres.settle_queue(p_state => p_state);
  perform flowgres.finish_advance(p_state => p_state);
  if p_state.retried_slots is not null then
    perform flowgres.retry_by_itself(p_state => p_state);
  end if;
  return v_handed;
end;
$$;
comment on function flowgres.carry_on(flowgres.advance_state) is $$From what has ended to what comes next: children, queue rows, executions

Returns the steps handed over to the runner.$$;

set local role flowgres_engine;

create or replace function flowgres.complete_and_claim(
  p_runner_id uuid,
  p_results jsonb,
  p_want integer,
  p_after_tenant uuid,
  p_room integer default null,
  p_caps jsonb default null
)
  returns setof flowgres.claimed_step language plpgsql security definer set search_path to pg_catalog, pg_temp
  -- What is held is passed over; what has to be waited for all the same (the rows of steps that a failure cancels) not for long.
  set lock_timeout to '1s'
  -- The batches are small and every table is reached by key: whatever else a plan could do would be worse on a bad day.
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set jit to off set plan_cache_mode to force_generic_plan
as $$
declare
  v_capabilities text[] := flowgres.require_runner(p_runner_id => p_runner_id);
  v_reports flowgres.step_report[];
begin
  perform flowgres.require_read_committed();
  if jsonb_array_length(p_results) > 0 then
    select array_agg(r::flowgres.step_report) into v_reports
    from jsonb_populate_recordset(null::flowgres.step_report, p_results) as r;
    return query
    select a.* from flowgres.advance(
      p_runner_id => p_runner_id, p_reports => v_reports, p_capabilities => v_capabilities, p_want => p_want, p_room => p_room) as a;
  end if;
  if p_want > 0 then
    return query
    select c.* from flowgres.claim(
      p_runner_id => p_runner_id, p_want => p_want, p_after_tenant => p_after_tenant, p_caps => p_caps) as c;
  end if;
end;
$$;
comment on function flowgres.complete_and_claim(uuid, jsonb, integer, uuid, integer, jsonb) is $$Report a batch of results and take the next steps

Results are objects with the keys of flowgres.step_report. A result whose lease is gone is dropped. Returns the steps that
the results made ready, as far as p_room goes (null: as many as leases end, and p_want; what only computes takes no room, but gets
none where p_room is 0), and up to p_want others, as far as p_caps allows (see claim). A row with
is_passed_over is no lease: it names a result that was not taken, because somebody holds its execution; send it again.$$;
