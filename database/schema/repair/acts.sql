-- What people do to steps of executions that go on: their end is said in place of whoever has them, or they are tried again now.
--
-- An end goes the way of any report: the step is taken out of all hands (take_steps), so that it is leased to nobody, and nobody reports
-- it. What follows from it, for joins, lists, handlers and the execution, the advance decides as ever.

set local role flowgres_owner;

create or replace function flowgres.taken_branch(p_target flowgres.step_target, p_output jsonb)
  returns jsonb language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
declare
  v_config jsonb := (p_target).config;
  v_said jsonb := case jsonb_typeof(p_output) when 'object' then coalesce(p_output -> 'result', p_output -> 'branch') else p_output end;
  v_number integer;
begin
  if (p_target).step_type = 'condition' and v_said in ('true', 'false') then
    return jsonb_build_object(
      'out', jsonb_build_object('result', v_said, 'branch', v_said #>> '{}'),
      'taken', case jsonb_typeof(v_config -> ((v_said #>> '{}') || '_branch')) when 'array' then v_config -> ((v_said #>> '{}') || '_branch')
        else '[]' end);
  elsif (p_target).step_type = 'switch' and v_said = '"default"' then
    return jsonb_build_object(
      'out', '{"value": null, "branch": "default"}'::jsonb || case jsonb_typeof(p_output) when 'object' then p_output else '{}' end,
      'taken', case jsonb_typeof(v_config -> 'default') when 'array' then v_config -> 'default' else '[]' end);
  elsif (p_target).step_type = 'switch' and v_said #>> '{}' ~ '^case [1-9][0-9]{0,4}$' then
    v_number := substr(v_said #>> '{}', 6)::integer;
    if v_config #> array['cases', (v_number - 1)::text] is not null then
      return jsonb_build_object(
        'out', jsonb_build_object('value', v_config #> array['cases', (v_number - 1)::text, 'equals'])
          || case jsonb_typeof(p_output) when 'object' then p_output else '{}' end || jsonb_build_object('branch', v_said),
        'taken', coalesce(v_config #> array['cases', (v_number - 1)::text, 'next'], '[]'));
    end if;
  end if;
  return null;
end;
$$;
comment on function flowgres.taken_branch(flowgres.step_target, jsonb) is $$What somebody says of a condition or a switch: {out, taken}; null when that is no branch of it

true or false; the name of a branch (case 1, default), as the output of such a step has it, or an object that has either.$$;

create or replace function flowgres.end_steps(
  p_targets flowgres.step_target[], p_act text, p_output jsonb, p_error jsonb, p_actor text, p_reason text,
  p_state flowgres.advance_state
)
  returns void language plpgsql
as $$
declare
  v_event_seqs integer[] := p_state.event_seqs;
  v_targets flowgres.step_target[] := p_targets;
  v_room integer := p_state.room;
  v_reports flowgres.step_report[];
  v_taken record;
  -- Those that wait for a place: what comes next waits in their line as well.
  v_in_line uuid[] := array(
    select distinct t.execution_id
    from unnest(p_targets) as t
    join flowgres.work_queue as q on q.tenant_id = t.tenant_id and q.execution_id = t.execution_id
    where q.capability like 'limit:@%' and not exists (
      select from flowgres.limit_slots as s
      where s.tenant_id = q.tenant_id and s.line = q.capability and s.execution_id = q.execution_id and s.queue_id = 0));
begin
  p_state := flowgres.tell_repairs(
    p_targets => v_targets, p_act => p_act, p_details => null, p_actor => p_actor, p_reason => p_reason, p_state => p_state);
  v_taken := flowgres.take_steps(
    p_act => p_act, p_actor => p_actor, p_reason => p_reason, p_targets => v_targets, p_state => p_state);
  v_targets := v_taken.p_targets;
  p_state := v_taken.p_state;
  -- What is reported is numbered from here on.
  p_state.event_seqs := p_state.last_seqs;
  select array_agg(r.report order by r.place) into v_reports
  from (
    select
      t.place,
      jsonb_populate_record(null::flowgres.step_report, jsonb_build_object(
        't', t.tenant_id, 'x', t.execution_id, 'q', t.queue_id, 'k', t.token, 's', t.step_index, 'ms', 0,
        'o', case p_act when 'completed' then 'enough' when 'failed' then 'refused' else p_act end,
        'out', case when p_act = 'completed' then coalesce(b.branch -> 'out', p_output) end,
        'taken', b.branch -> 'taken', 'error', p_error,
        'detail', case when p_act in ('completed', 'failed') then jsonb_strip_nulls(
          jsonb_build_object('act', p_act, 'by', p_actor, 'reason', p_reason)) end)) as report
    from unnest(v_targets) as t
    cross join lateral (
      select case when p_act = 'completed' and t.step_type in ('condition', 'switch') then
        flowgres.taken_branch(p_target => t, p_output => p_output) end as branch
    ) as b
  ) as r;
  p_state := flowgres.record_outcomes(p_reports => v_reports, p_state => p_state);
  if coalesce(cardinality(p_state.held_queue_ids), 0) < cardinality(v_reports) then
    raise exception 'of % steps that are held % can be ended', cardinality(v_reports), coalesce(cardinality(p_state.held_queue_ids), 0);
  end if;
  p_state.room := v_room;
  if p_state.outcomes is not null then
    p_state := flowgres.take_outcomes(p_state => p_state);
  end if;
  -- Whoever listens has not heard of what was told before either.
  p_state.event_seqs := v_event_seqs;
  perform flowgres.carry_on(p_state => p_state);
  if v_in_line <> '{}' then
    perform flowgres.park_again(p_tenant_id => p_targets[1].tenant_id, p_execution_ids => v_in_line);
  end if;
end;
$$;
comment on function flowgres.end_steps is $$End steps as somebody says: completed, failed, skipped or cancelled; the caller holds their executions and rows.$$;

create or replace function flowgres.try_again_now(
  p_targets flowgres.step_target[], p_actor text, p_reason text, p_state flowgres.advance_state
)
  returns void language plpgsql
as $$
declare
  v_waiting flowgres.step_target[];
  v_anew flowgres.step_target[];
begin
  -- One that stands in its line is to be tried as soon as it can be.
  select
    array_agg(t order by t.place) filter (where t.runner_id is null and t.waits_for not like '%:%'),
    array_agg(t order by t.place) filter (where t.runner_id is not null or t.waits_for like '%:%')
  into v_waiting, v_anew
  from unnest(p_targets) as t;
  if v_waiting is null and v_anew is null then
    return;
  end if;
  p_state := flowgres.tell_repairs(
    p_targets => v_waiting || v_anew, p_act => 'retried', p_details => null, p_actor => p_actor, p_reason => p_reason, p_state => p_state);
  if v_waiting is not null then
    -- Its time has come, and that is all: the next attempt, the end of a delay, the next round.
    update flowgres.work_queue as q
    set due_at = null, waits_for = null, ready_at = p_state.now, rank = flowgres.next_rank()
    from unnest(v_waiting) as t
    where q.tenant_id = t.tenant_id and q.execution_id = t.execution_id and q.id = t.queue_id;
  end if;
  if v_anew is not null then
    perform flowgres.cut_attempts(
      p_targets => v_anew, p_act => 'retried', p_actor => p_actor, p_reason => p_reason, p_now => p_state.now);
    update flowgres.work_queue as q
    set
      runner_id = null, claimed_at = null, due_at = null, waits_for = null, token = q.token + 1, ready_at = p_state.now,
      rank = flowgres.next_rank(), is_announced = false, is_new = false,
      -- Where its execution waits for a place, it waits with it.
      capability = case when q.capability like 'limit:@%' then q.capability else t.capability end,
      -- The function of an sql step was called, and is not called again: it has committed.
      resume = case when q.resume ->> 'status' = 'called' then q.resume end,
      attempt = q.attempt + (q.resume ->> 'status' is not distinct from 'called')::integer
    from unnest(v_anew) as t
    where q.tenant_id = t.tenant_id and q.execution_id = t.execution_id and q.id = t.queue_id;
  end if;
  insert into flowgres.step_executions as s (
    tenant_id, execution_id, step_index, iteration, attempts, step, type, status, runner_id, ready_at, started_at, is_logged)
  select
    t.tenant_id, t.execution_id, t.step_index, t.iteration, t.attempt, t.step, t.step_type, 'ready', t.runner_id, p_state.now,
    t.claimed_at, true
  from unnest(v_waiting || v_anew) as t
  on conflict (tenant_id, execution_id, step_index, iteration) do update
  set
    status = 'ready', attempts = excluded.attempts, due_at = null, is_logged = true,
    started_at = coalesce(s.started_at, excluded.started_at);
  p_state.touched_slots := array(select distinct t.slot from unnest(v_waiting || v_anew) as t);
  p_state.moving_slots := p_state.touched_slots;
  perform flowgres.finish_advance(p_state => p_state);
  perform flowgres.wake_runners();
end;
$$;
comment on function flowgres.try_again_now is $$Let steps go on at once: what waits for a time need not wait, what somebody has or was to wake begins anew

The caller holds their executions and rows.$$;

create or replace function flowgres.repair_held(
  p_tenant_id uuid, p_execution_ids uuid[], p_steps text[], p_iterations integer[], p_act text, p_output jsonb, p_error jsonb,
  p_actor text, p_reason text
)
  returns jsonb language plpgsql
as $$
declare
  v_state flowgres.advance_state := flowgres.hold_executions(
    p_execution_ids => array(select distinct x.id from unnest(p_execution_ids) as x (id)),
    p_tenant_ids => array_fill(p_tenant_id, array[(select count(distinct x.id)::integer from unnest(p_execution_ids) as x (id))]));
  v_targets flowgres.step_target[] := flowgres.find_targets(
    p_state => v_state, p_execution_ids => p_execution_ids, p_steps => p_steps, p_iterations => p_iterations);
  v_problems jsonb;
begin
  if p_act = 'retried' then
    v_targets := array(
      select (jsonb_populate_record(t, '{"code": "step_iterates"}'))::flowgres.step_target from unnest(v_targets) as t
      where t.code is null and t.queue_id is null
      union all
      select t from unnest(v_targets) as t where t.code is not null or t.queue_id is not null);
  elsif p_act = 'completed' then
    v_targets := array(
      select case
        when t.code is null and t.step_type in ('condition', 'switch') and flowgres.taken_branch(p_target => t, p_output => p_output) is null
          then (jsonb_populate_record(t, '{"code": "branch_unknown"}'))::flowgres.step_target
        else t end
      from unnest(v_targets) as t);
  end if;
  select
    array_agg(t order by t.place) filter (where t.code is null),
    coalesce(jsonb_agg(
      flowgres.describe_target(p_target => t) || jsonb_build_object('execution_id', p_execution_ids[t.place]) order by t.place)
      filter (where t.code is not null), '[]')
  into v_targets, v_problems
  from unnest(v_targets) as t;
  if v_targets is null then
    return v_problems;
  elsif p_act = 'retried' then
    perform flowgres.try_again_now(p_targets => v_targets, p_actor => p_actor, p_reason => nullif(p_reason, ''), p_state => v_state);
  else
    perform flowgres.end_steps(
      p_targets => v_targets, p_act => p_act, p_output => p_output, p_error => p_error, p_actor => p_actor,
      p_reason => nullif(p_reason, ''), p_state => v_state);
  end if;
  return v_problems;
end;
$$;
comment on function flowgres.repair_held is $$Do something to a step of each of these executions, whose locks the caller holds: retried, skipped, completed, failed or cancelled

Steps lie beside their executions, each of which is named once. Returns one object for each that it cannot be done to:
{execution_id, step, code, status, message, hint}.$$;

create or replace function flowgres.skip_steps_held(
  p_tenant_id uuid, p_execution_ids uuid[], p_steps text[], p_actor text, p_reason text, p_iterations integer[] default null
)
  returns jsonb language plpgsql
as $$
begin
  return flowgres.repair_held(
    p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids, p_steps => p_steps, p_iterations => p_iterations, p_act => 'skipped',
    p_output => null, p_error => null, p_actor => p_actor, p_reason => p_reason);
end;
$$;
comment on function flowgres.skip_steps_held is $$Skip steps of many executions at once, as repair_held does; null iterations are the steps themselves.$$;
