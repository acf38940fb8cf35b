-- Transitions that steps ask for.
--
-- The move and what becomes of the step are one transaction, under the lease of the step: a report whose lease is gone moves nothing,
-- and a step that has moved is resumed with that. So it is made once, however often the step is run.

set local role flowgres_owner;

create or replace function flowgres.find_step_instance(p_tenant_id uuid, p_wanted jsonb)
  returns uuid language plpgsql stable
as $$
begin
  if p_wanted ? 'instance' then
    -- The runner has checked it; what is no id is that of nothing.
    return case when p_wanted ->> 'instance' ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then p_wanted ->> 'instance' end::uuid;
  end if;
  return (
    select i.id
    from flowgres.instances as i
    where i.tenant_id = p_tenant_id and i.entity_id = p_wanted ->> 'entity_id' and i.entity_table = p_wanted ->> 'entity_table'
      and p_wanted ->> 'workflow' in (i.workflow_name, i.workflow_id::text)
    order by i.completed_at is null desc, i.started_at desc, i.id desc
    limit 1);
end;
$$;
comment on function flowgres.find_step_instance(uuid, jsonb) is $$The instance that a transition step speaks of; null when there is none

The one of an id, or of an entity the active one, else the last.$$;

create or replace function flowgres.move_for_step(p_report flowgres.step_report)
  returns flowgres.step_report language plpgsql
as $$
declare
  v_wanted jsonb := p_report.input;
  v_instance flowgres.instances;
  v_step record;
  v_refused jsonb;
begin
  v_instance.id := flowgres.find_step_instance(p_tenant_id => p_report.t, p_wanted => v_wanted);
  if exists (select from flowgres.instances as i where i.tenant_id = p_report.t and i.id = v_instance.id) then
    -- An advance waits for nobody: where somebody moves it at this moment, the report is passed over, and comes again.
    select i.* into v_instance
    from flowgres.instances as i
    where i.tenant_id = p_report.t and i.id = v_instance.id
    for no key update skip locked;
    if v_instance.tenant_id is null then
      p_report.k := null;
      return p_report;
    end if;
  end if;
  select w.name as workflow, s.id as step, coalesce((e.trigger ->> 'hops')::integer, 0) + 1 as hops into v_step
  from flowgres.executions as e
  join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  join flowgres.workflow_steps as s on s.tenant_id = e.tenant_id and s.version_id = e.version_id and s.index = p_report.s
  where e.tenant_id = p_report.t and e.id = p_report.x;
  v_refused := flowgres.move_instances(
    p_tenant_id => p_report.t, p_ids => array[v_instance.id], p_to => v_wanted ->> 'to',
    p_executed_by => v_step.workflow || '/' || v_step.step, p_metadata => v_wanted -> 'metadata', p_context => v_wanted -> 'context',
    p_notes => v_wanted ->> 'notes', p_reports => true,
    p_own => array[jsonb_build_object(
      'actor', 'execution:' || p_report.x, 'roles', jsonb_build_array('workflow:' || v_step.workflow),
      -- So that what the transition starts knows how many came before.
      'execution_id', p_report.x, 'hops', v_step.hops)]) -> 0;
  if v_refused is not null then
    p_report.o := 'failed';
    p_report.error := jsonb_build_object(
      'code', v_refused -> 'code', 'message', v_refused -> 'message', 'hint', v_refused -> 'hint', 'class', 'transition',
      'details', case jsonb_typeof(v_refused -> 'details') when 'object' then v_refused -> 'details' else '{}' end
      || jsonb_build_object('status', flowgres.refusal_status(v_refused)));
    if v_instance.id is null then
      p_report.error := p_report.error || '{"message": "there is no such instance", "hint": "Start one, or look at the id: list /entity_workflows."}';
    end if;
    return p_report;
  end if;
  p_report.o := 'moved';
  p_report."out" := (
    select jsonb_build_object(
      'instance_id', h.instance_id, 'from_state', h.from_state, 'to_state', h.to_state, 'transition_name', h.transition_name)
    from flowgres.instance_history as h
    where h.tenant_id = p_report.t and h.instance_id = v_instance.id and h.seq = v_instance.history_count + 1);
  return p_report;
end;
$$;
comment on function flowgres.move_for_step(flowgres.step_report) is $$Make the transition that a report asks for, and say so in it: moved with the output of the step, or failed

Without a token it has to be sent again, as somebody holds the instance.$$;

create or replace function flowgres.move_for_steps(inout p_reports flowgres.step_report[], p_places integer[])
  language plpgsql
  -- One that is opened again may meet a start of its entity, whose transaction goes on for as long as it likes: that is for later.
  set lock_timeout to '10ms'
as $$
declare
  v_reports flowgres.step_report[] := p_reports;
  v_report flowgres.step_report;
  v_place integer;
  v_middle integer := coalesce(cardinality(p_places), 0) / 2;
  v_state text;
  v_message text;
  v_code text;
  v_hint text;
begin
  -- One subtransaction for all of them: a transaction has room for few, and mostly what is refused is not raised.
  begin
    foreach v_place in array p_places loop
      v_reports[v_place] := flowgres.move_for_step(p_report => v_reports[v_place]);
    end loop;
    p_reports := v_reports;
    return;
  exception when others then
    get stacked diagnostics
      v_state = returned_sqlstate, v_message = message_text, v_code = constraint_name, v_hint = pg_exception_hint;
    -- What a user can cause (notes that are too long), and what somebody holds that the transition needs (lock_not_available).
    if v_state not like 'FG%' and v_state <> '55P03' then
      raise;
    end if;
  end;
  if v_middle > 0 then
    -- Somebody among them is wrong: halve, until that one is alone.
    p_reports := flowgres.move_for_steps(p_reports => p_reports, p_places => p_places[:v_middle]);
    p_reports := flowgres.move_for_steps(p_reports => p_reports, p_places => p_places[v_middle + 1:]);
    return;
  end if;
  v_report := p_reports[p_places[1]];
  if v_state = '55P03' then
    v_report.k := null;
  else
    v_report.o := 'failed';
    v_report.error := jsonb_strip_nulls(jsonb_build_object(
      'code', v_code, 'message', v_message, 'hint', nullif(v_hint, ''), 'class', 'transition',
      'details', jsonb_build_object('status', substr(v_state, 3)::integer)));
  end if;
  p_reports[p_places[1]] := v_report;
end;
$$;
comment on function flowgres.move_for_steps(flowgres.step_report[], integer[]) is $$Make the transitions that the reports at these places ask for; one that cannot be made fails alone.$$;

create or replace function flowgres.make_transitions(p_state flowgres.advance_state, inout p_reports flowgres.step_report[])
  language plpgsql
as $$
declare
  v_places integer[];
begin
  p_reports := flowgres.hold_leases(p_state => p_state, p_reports => p_reports, p_outcome => 'transition');
  v_places := array(
    select n.place
    from generate_subscripts(p_reports, 1) as n (place)
    where p_reports[n.place].o = 'transition' and p_reports[n.place].k is not null
      -- One that another report of the batch may cancel, as an older step has completed, waits for what becomes of that.
      and not exists (
        select from unnest(p_reports) as c
        join flowgres.work_queue as q on q.tenant_id = c.t and q.execution_id = c.x and q.id = c.q
        join flowgres.workflow_steps as w
          on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = c.s
        where c.x = p_reports[n.place].x and c.o in ('completed', 'enough') and q.iteration = -1 and c.q < p_reports[n.place].q
          and p_reports[n.place].s = any(w.cancel_indexes))
    order by n.place);
  for i in 1..cardinality(p_reports) loop
    if p_reports[i].o = 'transition' and i <> all(v_places) then
      p_reports[i].k := null;
    end if;
  end loop;
  if v_places <> '{}' then
    p_reports := flowgres.move_for_steps(p_reports => p_reports, p_places => v_places);
  end if;
end;
$$;
comment on function flowgres.make_transitions(flowgres.advance_state, flowgres.step_report[]) is $$Move the instances that transition steps ask for

A report becomes moved or failed. Without its lease nothing moves, and where somebody holds the instance it is to be sent again: such
reports lose their token.$$;
