-- Advancing executions on their way to the end: what turns them there, and what runs then.
--
-- run --failure that nothing handles, stop, end of its time--> always --all ended--> compensate --> on_failure --> ended
-- A stop that says completed or cancelled ends an execution after always.

set local role flowgres_owner;

create or replace function flowgres.begin_ending(inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_stops jsonb;
begin
  -- What comes first counts, by the numbers of the events: a failure that nothing handles, or a stop.
  select jsonb_object_agg(f.slot, f.stop) filter (where f.stop is not null), jsonb_object_agg(f.slot, f.error) filter (where f.error is not null)
  into v_stops, p_state.failing_errors
  from (
    select distinct on (o.slot)
      o.slot,
      case when o.step_type = 'stop' and o.outcome = 'completed' then jsonb_build_object(
        'status', v.status, 'output', o.output -> 'output', 'message', o.output -> 'message', 'step', o.step) end as stop,
      case
        when o.edge = 'failed' then o.error || jsonb_build_object('step', o.step)
        when v.status <> 'completed' then jsonb_build_object(
          'code', 'stopped', 'class', 'stopped', 'step', o.step,
          'message', coalesce(o.output ->> 'message', format('the step "%s" ended the execution', o.step)))
      end as error
    from unnest(p_state.outcomes) as o
    cross join lateral (
      select case when o.output ->> 'status' in ('failed', 'cancelled') then o.output ->> 'status' else 'completed' end as status
    ) as v
    where not p_state.failing_flags[o.slot] and o.iteration = -1 and (
      o.is_unhandled or o.step_type = 'stop' and o.outcome = 'completed'
      or o.edge = 'failed' and flowgres.lacks_handler(
        p_tenant_id => o.tenant_id, p_version_id => p_state.version_ids[o.slot], p_execution_id => o.execution_id,
        p_step_index => o.step_index))
    order by o.slot, o.seq
  ) as f;
  if v_stops is not null then
    update flowgres.executions as e
    set stop = s.value
    from jsonb_each(v_stops) as s
    where e.tenant_id = p_state.tenant_ids[s.key::integer] and e.id = p_state.execution_ids[s.key::integer];
    p_state := flowgres.turn_to_always(
      p_slots => array(select k.slot::integer from jsonb_object_keys(v_stops) as k (slot)), p_reason => 'the execution was stopped',
      p_state => p_state);
  end if;
  if p_state.failing_errors is not null then
    p_state := flowgres.begin_failing(p_state => p_state);
  end if;
end;
$$;
comment on function flowgres.begin_ending(flowgres.advance_state) is $$Turn the executions of a batch towards their end in which a failure was not handled, or a stop step completed

Leaves their errors in failing_errors.$$;

create or replace function flowgres.begin_failing(inout p_state flowgres.advance_state)
  language plpgsql
as $$
begin
  p_state := flowgres.set_aside(p_state => p_state);
  p_state := flowgres.turn_to_always(
    p_slots => array(select f.slot::integer from jsonb_object_keys(p_state.failing_errors) as f (slot)),
    p_reason => 'the execution failed', p_state => p_state);
end;
$$;
comment on function flowgres.begin_failing(flowgres.advance_state) is $$Turn the executions of failing_errors towards their end, but those that have retries left.$$;

create or replace function flowgres.turn_to_always(p_slots integer[], p_reason text, inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_slots integer[] := array(
    select s.slot from unnest(p_slots) as s (slot) where not p_state.failing_flags[s.slot] order by p_state.execution_ids[s.slot]);
  v_slot integer;
begin
  p_state := flowgres.cancel_steps(
    p_slots => v_slots, p_indexes => null, p_spares_always => true, p_reason => p_reason, p_state => p_state);
  foreach v_slot in array v_slots loop
    p_state.failing_flags[v_slot] := true;
  end loop;
end;
$$;
comment on function flowgres.turn_to_always(integer[], text, flowgres.advance_state) is $$The phase always begins: steps that have not ended are cancelled, except those that join always.$$;

create or replace function flowgres.cancel_others(inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_slots integer[];
  v_indexes smallint[];
begin
  select array_agg(o.slot), array_agg(c.index) into v_slots, v_indexes
  from unnest(p_state.outcomes) as o
  cross join unnest(o.cancels) as c (index)
  where o.outcome = 'completed' and o.iteration = -1;
  p_state := flowgres.cancel_steps(
    p_slots => v_slots, p_indexes => v_indexes, p_spares_always => false, p_reason => 'another step cancelled it', p_state => p_state);
end;
$$;
comment on function flowgres.cancel_others(flowgres.advance_state) is $$Cancel what the steps that completed in a batch list in their cancels.$$;

create or replace function flowgres.take_next_steps(p_state flowgres.advance_state)
  returns flowgres.ready_step[] language plpgsql
as $$
declare
  v_total_counts integer[] := p_state.total_counts;
  v_resolved_counts integer[] := p_state.resolved_counts;
  v_newly_resolved integer[] := p_state.newly_resolved;
  v_ready flowgres.ready_step[];
  v_step flowgres.ready_step;
begin
  with taken as (
    select t.slot, e.tenant_id, e.id, n.index, n.capability, n.type, n.section, n.is_each
    from unnest(p_state.touched_slots) as t (slot)
    join flowgres.executions as e on e.tenant_id = p_state.tenant_ids[t.slot] and e.id = p_state.execution_ids[t.slot]
    -- Compensations come before on_failure, as their letters do; the step that ended last is undone first.
    cross join lateral (
      select w.index, w.capability, w.type, w.section, w.iterates is not null as is_each
      from flowgres.workflow_steps as w
      left join flowgres.step_executions as m
        on m.tenant_id = e.tenant_id and m.execution_id = e.id and m.step_index = w.compensates and m.iteration = -1
      where w.tenant_id = e.tenant_id and w.version_id = e.version_id and w.section <> 'steps'
        -- What was taken over from another execution was not done here.
        and (w.section = 'on_failure' or m.status = 'completed' and m.reused_from is null)
        and (w.iterates is null or exists (
          select from flowgres.step_executions as s
          where s.tenant_id = e.tenant_id and s.execution_id = e.id and s.step_index = w.compensates and s.iteration >= 0
            and s.status = 'completed'))
        and not exists (
          select from flowgres.step_executions as s
          where s.tenant_id = e.tenant_id and s.execution_id = e.id and s.step_index = w.index and s.iteration = -1)
      order by w.section, m.seq desc, w.index
      limit 1
    ) as n
    where p_state.failing_flags[t.slot] and t.slot <> all(coalesce(p_state.retried_slots, '{}')) and coalesce(e.stop ->> 'status', 'failed') = 'failed'
      and v_resolved_counts[t.slot] + v_newly_resolved[t.slot] >= v_total_counts[t.slot]
  ),
  entered as (
    update flowgres.executions as e
    set phase = t.section, step_count = e.step_count + 1
    from taken as t
    where e.tenant_id = t.tenant_id and e.id = t.id
  )
  select
    array_agg(flowgres.make_ready_step(
      p_slot => t.slot, p_queue_id => null, p_step_index => t.index, p_capability => t.capability,
      p_only_computes => flowgres.only_computes(t.type), p_iteration => case when t.is_each then 0 else -1 end))
  into v_ready
  from taken as t;
  foreach v_step in array coalesce(v_ready, '{}') loop
    if v_step.iteration = 0 then
      perform flowgres.list_undone(p_slot => v_step.slot, p_step_index => v_step.step_index, p_state => p_state);
    end if;
  end loop;
  return v_ready;
end;
$$;
comment on function flowgres.take_next_steps(flowgres.advance_state) is $$What runs next of executions that failed and whose steps have all ended: a compensation, else a step of on_failure

One at a time. Each counts as a step of its execution from then on.$$;

create or replace function flowgres.lacks_handler(
  p_tenant_id uuid, p_version_id uuid, p_execution_id uuid, p_step_index smallint
)
  returns boolean language plpgsql stable
as $$
begin
  return not exists (
    select
    from flowgres.workflow_steps as f
    join flowgres.workflow_steps as h
      on h.tenant_id = f.tenant_id and h.version_id = f.version_id and h.index = any(f.children) and h.join_rule = 'failed'
    where f.tenant_id = p_tenant_id and f.version_id = p_version_id and f.index = p_step_index
      and not exists (
        select from flowgres.step_executions as s
        where s.tenant_id = p_tenant_id and s.execution_id = p_execution_id and s.step_index = h.index and s.iteration = -1
          and s.status in ('skipped', 'cancelled')));
end;
$$;
comment on function flowgres.lacks_handler(uuid, uuid, uuid, smallint) is $$Whether no step is left that could handle the failure of this one

A step that joins on failed handles a failure by running, now or later; one that is skipped or cancelled has handled nothing.$$;

create or replace function flowgres.find_unhandled(p_state flowgres.advance_state, p_passed_by flowgres.resolved_step[])
  returns jsonb language plpgsql
as $$
begin
  return (
    select jsonb_object_agg(f.slot, f.error)
    from (
      select distinct on (k.slot) k.slot, p.error || jsonb_build_object('step', p.step) as error
      from unnest(p_passed_by) as k
      join flowgres.workflow_steps as w
        on w.tenant_id = p_state.tenant_ids[k.slot] and w.version_id = p_state.version_ids[k.slot] and w.index = k.step_index
      cross join lateral (
        select s.step_index, s.step, s.error, s.seq from flowgres.step_executions as s
        where s.tenant_id = p_state.tenant_ids[k.slot] and s.execution_id = p_state.execution_ids[k.slot]
          and s.step_index = any(w.dependencies) and s.iteration = -1 and s.edge = 'failed'
        offset 0
      ) as p
      where k.join_rule = 'failed' and not p_state.failing_flags[k.slot]
        and flowgres.lacks_handler(
          p_tenant_id => w.tenant_id, p_version_id => w.version_id, p_execution_id => p_state.execution_ids[k.slot],
          p_step_index => p.step_index)
      order by k.slot, p.seq
    ) as f);
end;
$$;
comment on function flowgres.find_unhandled(flowgres.advance_state, flowgres.resolved_step[]) is $$Failures whose handlers have all been skipped or cancelled, by slot, each with its error$$;
