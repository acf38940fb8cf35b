-- Transitions that start executions: both in one transaction, and neither without the other.
--
-- What the starts are is found out before anything is written, row by row; what is written then is written by sets. An instance waits
-- for its own execution, as a parent for its child: no rule of starts (settings.start) holds for them.

set local role flowgres_owner;

create or replace function flowgres.list_starts(
  p_tenant_id uuid, p_ids uuid[], p_to text, p_metadata jsonb, p_context jsonb, p_own jsonb[]
)
  returns table (place bigint, instance flowgres.instances, way flowgres.machine_transitions, workflow text)
  language sql stable rows 10 set search_path to pg_catalog, pg_temp
as $$
  select a.place, i, w, w.start ->> 'workflow'
  from unnest(p_ids, p_own) with ordinality as a (id, own, place)
  join flowgres.instances as i on i.tenant_id = p_tenant_id and i.id = a.id
  cross join lateral flowgres.list_ways(i) as w
  where w.to_state = p_to and w.start is not null and flowgres.judge_way(
    w, i, coalesce(a.own -> 'metadata', p_metadata), coalesce(a.own -> 'context', p_context), a.own) is null
  -- Workflow by workflow: each is looked up once.
  order by w.start ->> 'workflow', a.place;
$$;
comment on function flowgres.list_starts(uuid, uuid[], text, jsonb, jsonb, jsonb[]) is $$Which of these instances start an execution on their way to a state

Of those that may go there: what is refused is not planned, and counts for no rate.$$;

create or replace function flowgres.read_error(p_sqlstate text, p_constraint text, p_message text, p_detail text, p_hint text)
  returns jsonb language sql immutable parallel safe
as $$
  -- Under PostgREST a refusal is one JSON text, in SQL the fields of an error (fail()).
  select case
    when p_sqlstate = 'PGRST' then p_message::jsonb || p_detail::jsonb
    when p_sqlstate ~ '^FG[0-9]{3}$' then jsonb_build_object(
      'code', p_constraint, 'message', p_message, 'details', nullif(p_detail, ''), 'hint', nullif(p_hint, ''),
      'status', substr(p_sqlstate, 3)::integer)
    else jsonb_build_object('code', 'internal_error', 'message', p_message, 'details', p_sqlstate, 'hint', null, 'status', 500) end;
$$;
comment on function flowgres.read_error(text, text, text, text, text) is $$An error that was caught as a refusal: {code, message, details, hint, status, headers}.$$;

create or replace function flowgres.describe_transition(
  p_instance flowgres.instances, p_way flowgres.machine_transitions, p_metadata jsonb, p_context jsonb, p_executed_by text
)
  returns jsonb language sql immutable
as $$
  select jsonb_build_object(
    'instance_id', (p_instance).id, 'machine', (p_instance).workflow_name, 'entity_table', (p_instance).entity_table,
    'entity_id', (p_instance).entity_id, 'transition', (p_way).name, 'from_state', (p_instance).state, 'state', (p_way).to_state,
    'executed_by', p_executed_by, 'metadata', (p_instance).metadata, 'data', p_metadata, 'context', p_context);
$$;
comment on function flowgres.describe_transition(flowgres.instances, flowgres.machine_transitions, jsonb, jsonb, text) is $$What the input of an execution may name of the transition that starts it

{instance_id, machine, entity_table, entity_id, transition, from_state, state, executed_by, metadata, data, context}: state is the one
that it leads to, metadata the instance's, data and context what was sent along.$$;

create or replace function flowgres.make_transition_start(
  p_instance_id uuid, p_version_place integer, p_input jsonb, p_trigger jsonb, p_on_success text, p_on_failure text
)
  returns flowgres.transition_start language sql immutable parallel safe
as $$
  select row(p_instance_id, p_version_place, p_input, p_trigger, p_on_success, p_on_failure)::flowgres.transition_start;
$$;
comment on function flowgres.make_transition_start(uuid, integer, jsonb, jsonb, text, text) is $$A transition_start, by names.$$;

-- Three that refuse by what they return, so that one call tells of many. Errors that have nothing to do with a start are raised on.

create or replace function flowgres.find_start_version(
  p_tenant_id uuid, p_workflow text, out version flowgres.workflow_versions, out refusal jsonb
)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_constraint text;
  v_detail text;
  v_hint text;
begin
  version := flowgres.find_active_version(
    p_tenant_id => p_tenant_id,
    p_workflow_id => (flowgres.find_workflow(p_tenant_id => p_tenant_id, p_workflow => p_workflow)).id);
exception when others then
  if sqlstate ~ '^(40|53|55|57|58)' then
    raise;
  end if;
  get stacked diagnostics v_constraint = constraint_name, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
  refusal := flowgres.read_error(
    p_sqlstate => sqlstate, p_constraint => v_constraint, p_message => sqlerrm, p_detail => v_detail, p_hint => v_hint);
end;
$$;
comment on function flowgres.find_start_version(uuid, text) is $$The version that a transition starts of a workflow of its tenant, or why there is none (read_error).$$;

create or replace function flowgres.plan_start(
  p_tenant_id uuid, p_version flowgres.workflow_versions, p_version_place integer, p_start jsonb, p_transition jsonb, p_hops integer,
  p_after jsonb, out start flowgres.transition_start, out refusal jsonb
)
  language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_input jsonb;
  v_constraint text;
  v_detail text;
  v_hint text;
begin
  if p_hops > 0 then
    perform flowgres.refuse_loop(p_tenant_id => p_tenant_id, p_hops => p_hops);
  end if;
  v_input := flowgres.check_input(
    p_inputs => (p_version).inputs, p_takes_additional => (p_version).takes_additional_inputs,
    p_input => flowgres.trigger_input(
      p_mapping => coalesce(p_start -> 'input', '{}'), p_payload => p_transition, p_inputs => (p_version).inputs,
      p_takes_additional => (p_version).takes_additional_inputs));
  perform flowgres.check_payload(p_tenant_id => p_tenant_id, p_payload => v_input, p_what => 'the input');
  start := flowgres.make_transition_start(
    p_instance_id => (p_transition ->> 'instance_id')::uuid, p_version_place => p_version_place, p_input => v_input,
    -- What was sent along is in the history.
    p_trigger => jsonb_strip_nulls(
      (p_transition - '{metadata,data,context}'::text[])
      || jsonb_build_object('type', 'transition', 'hops', nullif(p_hops, 0), 'after', p_after)),
    p_on_success => p_start ->> 'on_success', p_on_failure => p_start ->> 'on_failure');
exception when others then
  if sqlstate ~ '^(40|53|55|57|58)' then
    raise;
  end if;
  get stacked diagnostics v_constraint = constraint_name, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
  refusal := flowgres.read_error(
    p_sqlstate => sqlstate, p_constraint => v_constraint, p_message => sqlerrm, p_detail => v_detail, p_hint => v_hint);
end;
$$;
comment on function flowgres.plan_start(uuid, flowgres.workflow_versions, integer, jsonb, jsonb, integer, jsonb) is $$The execution that a transition starts, or why it cannot (read_error)

p_start is the start of the definition, p_transition what describe_transition says; p_after is the execution whose end the transition
follows, as JSON. Writes nothing.$$;

create or replace function flowgres.count_transition_starts(p_tenant_id uuid, p_count integer, p_now timestamptz)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_constraint text;
  v_detail text;
  v_hint text;
begin
  perform flowgres.check_start_rate(p_tenant_id => p_tenant_id, p_count => p_count, p_now => p_now);
  return null;
exception when others then
  if sqlstate ~ '^(40|53|55|57|58)' then
    raise;
  end if;
  get stacked diagnostics v_constraint = constraint_name, v_detail = pg_exception_detail, v_hint = pg_exception_hint;
  return flowgres.read_error(
    p_sqlstate => sqlstate, p_constraint => v_constraint, p_message => sqlerrm, p_detail => v_detail, p_hint => v_hint);
end;
$$;
comment on function flowgres.count_transition_starts(uuid, integer, timestamptz) is $$Count starts for the rate of their tenant; returns why there are too many (read_error), null when all is well.$$;

create or replace function flowgres.plan_transition_starts(
  p_tenant_id uuid, p_ids uuid[], p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_own jsonb[], p_now timestamptz,
  out starts flowgres.transition_start[], out versions flowgres.workflow_versions[], out denied jsonb
)
  language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_row record;
  v_own jsonb;
  v_workflow text;
  v_found record;
  v_planned record;
  v_refusal jsonb;
  v_denied_ids text[] := '{}';
  v_refusals jsonb[] := '{}';
  -- The engine's own say for each how many came before.
  v_hops integer := case when p_own is null then flowgres.count_hops(p_tenant_id) end;
begin
  starts := '{}';
  versions := '{}';
  for v_row in
    select * from flowgres.list_starts(
      p_tenant_id => p_tenant_id, p_ids => p_ids, p_to => p_to, p_metadata => p_metadata, p_context => p_context, p_own => p_own)
  loop
    if v_row.workflow is distinct from v_workflow then
      v_workflow := v_row.workflow;
      v_found := flowgres.find_start_version(p_tenant_id => p_tenant_id, p_workflow => v_workflow);
      versions := versions || v_found.version;
    end if;
    v_refusal := v_found.refusal;
    if v_refusal is null then
      v_own := p_own[v_row.place];
      v_planned := flowgres.plan_start(
        p_tenant_id => p_tenant_id, p_version => v_found.version, p_version_place => cardinality(versions),
        p_start => (v_row.way).start, p_hops => coalesce((v_own ->> 'hops')::integer, v_hops), p_after => v_own -> 'execution_id',
        p_transition => flowgres.describe_transition(
          p_instance => v_row.instance, p_way => v_row.way, p_metadata => coalesce(v_own -> 'metadata', p_metadata),
          p_context => coalesce(v_own -> 'context', p_context), p_executed_by => p_executed_by));
      v_refusal := v_planned.refusal;
      if v_refusal is null then
        starts := starts || v_planned.start;
      end if;
    end if;
    if v_refusal is not null then
      v_denied_ids := v_denied_ids || (v_row.instance).id::text;
      v_refusals := v_refusals || v_refusal;
    end if;
  end loop;
  -- As any start by a caller. What follows an execution does not count, but is bounded by how many may follow each other.
  if not coalesce(p_own[1] ? 'execution_id', false) and starts <> '{}' then
    v_refusal := flowgres.count_transition_starts(p_tenant_id => p_tenant_id, p_count => cardinality(starts), p_now => p_now);
    if v_refusal is not null then
      v_denied_ids := v_denied_ids || array(select s.instance_id::text from unnest(starts) as s);
      v_refusals := v_refusals || array_fill(v_refusal, array[cardinality(starts)]);
    end if;
  end if;
  denied := (select coalesce(jsonb_object_agg(d.id, d.refusal), '{}') from unnest(v_denied_ids, v_refusals) as d (id, refusal));
end;
$$;
comment on function flowgres.plan_transition_starts(uuid, uuid[], text, text, jsonb, jsonb, jsonb[], timestamptz) is $$What the way of instances to a state starts, before they go it

starts are those that are possible, of versions; denied is {instance id: refusal} of the others. p_own as in write_moves, of the
engine's own moves; null when a caller moves them.$$;

create or replace function flowgres.start_of_transitions(
  p_tenant_id uuid, p_starts flowgres.transition_start[], p_versions flowgres.workflow_versions[], p_now timestamptz, p_created_by text
)
  returns void language plpgsql
as $$
declare
  v_starts flowgres.transition_start[];
  v_ids uuid[];
  v_is_told boolean;
begin
  for v_place in 1 .. cardinality(p_versions) loop
    v_starts := array(select s from unnest(p_starts) as s where s.version_place = v_place);
    continue when v_starts = '{}';
    v_ids := flowgres.insert_executions(
      p_version => p_versions[v_place],
      p_ids => flowgres.uuids_v7(p_at => p_now, p_count => cardinality(v_starts)),
      p_inputs => array(select s.input from unnest(v_starts) with ordinality as s order by s.ordinality),
      p_now => p_now,
      p_trigger_type => 'transition',
      p_triggers => array(select s.trigger from unnest(v_starts) with ordinality as s order by s.ordinality),
      p_created_by => p_created_by);
    insert into flowgres.instance_executions (
      tenant_id, instance_id, seq, execution_id, workflow_id, workflow_name, on_success, on_failure)
    select i.tenant_id, i.id, i.history_count, s.execution_id, w.id, w.name, s.on_success, s.on_failure
    from (
      select v_ids[s.ordinality] as execution_id, s.instance_id, s.on_success, s.on_failure
      from unnest(v_starts) with ordinality as s
    ) as s
    -- The transition is the last that happened: the caller has locked the instance and moved it.
    join flowgres.instances as i on i.tenant_id = p_tenant_id and i.id = s.instance_id
    join flowgres.workflows as w on w.tenant_id = p_tenant_id and w.id = (p_versions[v_place]).workflow_id;
    v_is_told := flowgres.wake_runners();
  end loop;
end;
$$;
comment on function flowgres.start_of_transitions(uuid, flowgres.transition_start[], flowgres.workflow_versions[], timestamptz, text)
is $$Start what was planned, of instances that have been moved: one insert_executions for each version.$$;
