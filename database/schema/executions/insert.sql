-- What every start comes by: executions and the queue rows of their first steps are written here.

set local role flowgres_owner;

create or replace function flowgres.insert_executions(
  p_version flowgres.workflow_versions,
  p_ids uuid[],
  p_inputs jsonb[],
  p_now timestamptz,
  p_priority smallint default null,
  p_scheduled_at timestamptz default null,
  p_correlation_id text default null,
  p_max_retries smallint default null,
  p_metadata jsonb default null,
  p_trigger_type text default 'api',
  p_trigger jsonb default null,
  p_idempotency_key text default null,
  p_created_by text default null,
  p_replayed_from uuid default null,
  p_depth smallint default 0,
  p_parent_execution_ids uuid[] default null,
  p_parent_step_indexes smallint[] default null,
  p_parent_queue_ids bigint[] default null,
  p_triggers jsonb[] default null,
  out ids uuid[]
)
  language plpgsql
as $$
declare
  v_tenant_id uuid := p_version.tenant_id;
  v_priority smallint := coalesce(p_priority, p_version.priority);
  -- Before the rows take their ranks: next_rank() says why.
  v_xid xid8 := pg_current_xact_id();
  v_queue_ids uuid[];
  v_new_begins_at timestamptz[];
  v_begins_at timestamptz[];
  v_is_within boolean;
  v_trace jsonb;
begin
  -- Children and deliveries are in the trace of what they belong to, whoever is about to end that.
  if p_trigger_type <> 'sub_workflow' and p_trigger_type <> 'notification' then
    v_trace := flowgres.incoming_trace(p_trigger);
    if not v_trace is null then
      p_trigger := coalesce(p_trigger, jsonb_build_object('type', p_trigger_type)) || v_trace;
      p_triggers := array(select t.trigger || v_trace from unnest(p_triggers) with ordinality as t (trigger, i) order by t.i);
    end if;
  end if;
  ids := p_ids;
  v_queue_ids := p_ids;
  -- Children are steps of their parent, which waits for them, as an instance does for what its transition starts: no rule of starts
  -- holds for them. Nor for what somebody has asked to be repeated.
  if p_trigger_type <> 'sub_workflow' and p_trigger_type <> 'transition' and not p_version.start_rule is null
    and p_trigger_type <> 'replay'
  then
    declare
      v_plan flowgres.start_plan := flowgres.plan_starts(
        p_version => p_version, p_ids => p_ids, p_inputs => p_inputs, p_scheduled_at => p_scheduled_at);
    begin
      ids := v_plan.ids;
      v_new_begins_at := v_plan.new_begins_at;
      v_begins_at := v_new_begins_at || v_plan.moved_begins_at;
      v_queue_ids := v_plan.new_ids || v_plan.moved_ids;
      p_scheduled_at := null;
      for i in 1..coalesce(cardinality(v_plan.moved_ids), 0) loop
        perform flowgres.rewrite_start(
          p_version => p_version, p_id => v_plan.moved_ids[i], p_input => p_inputs[v_plan.moved_places[i]], p_priority => v_priority,
          p_scheduled_at => v_plan.moved_begins_at[i], p_correlation_id => p_correlation_id, p_max_retries => p_max_retries,
          p_metadata => p_metadata, p_trigger_type => p_trigger_type,
          p_trigger => coalesce(p_triggers[v_plan.moved_places[i]], p_trigger), p_idempotency_key => p_idempotency_key,
          p_created_by => p_created_by);
      end loop;
      p_ids := coalesce(v_plan.new_ids, '{}');
      p_inputs := array(select p_inputs[n.place] from unnest(v_plan.new_places) with ordinality as n (place, i) order by n.i);
      p_triggers := array(select p_triggers[n.place] from unnest(v_plan.new_places) with ordinality as n (place, i) order by n.i);
    end;
  end if;
  if flowgres.is_start_from_outside(p_trigger_type) and p_ids <> '{}' then
    v_is_within := flowgres.check_start_rate(p_tenant_id => v_tenant_id, p_count => cardinality(p_ids), p_now => p_now);
  end if;
  -- Who measures history looks at those who start something, and at nobody else.
  if p_ids <> '{}' and not exists (
    select from flowgres.metric_starters as s
    where s.tenant_id = v_tenant_id and s.until_at > p_now and s.from_at <= p_now)
  then
    perform flowgres.note_starter(p_tenant_id => v_tenant_id, p_now => p_now);
  end if;
  -- One statement for both tables: to begin and to end one costs as much as a row.
  with started as (
    insert into flowgres.executions (
      tenant_id, id, workflow_id, version_id, version, priority, depth, step_count, hidden_step_count, max_retries,
      timeout_seconds, scheduled_at, created_at, parent_execution_id, parent_step_index, parent_queue_id, trigger_type, trigger,
      correlation_id, idempotency_key, created_by, replayed_from, input, metadata)
    select
      v_tenant_id, s.id, p_version.workflow_id, p_version.id, p_version.version, v_priority, p_depth, p_version.step_count,
      p_version.hidden_step_count, coalesce(p_max_retries, p_version.max_retries, 0), p_version.timeout_seconds, coalesce(s.begins_at, p_scheduled_at), p_now, s.parent_id,
      s.parent_step_index, s.parent_queue_id, p_trigger_type, coalesce(s.trigger, p_trigger),
      coalesce(p_correlation_id, flowgres.read_correlation_id(s.input, p_version.correlation_path)),
      p_idempotency_key, coalesce(p_created_by, 'execution:' || s.parent_id), p_replayed_from, s.input, p_metadata
    from unnest(p_ids, p_inputs, v_new_begins_at, p_parent_execution_ids, p_parent_step_indexes, p_parent_queue_ids, p_triggers)
      as s (id, input, begins_at, parent_id, parent_step_index, parent_queue_id, trigger)
  )
  insert into flowgres.work_queue (
    tenant_id, execution_id, version_id, due_at, waits_for, ready_at, step_index, priority, is_new, capability)
  select
    v_tenant_id, s.id, p_version.id, case when b.begins_at > p_now then b.begins_at end,
    case when b.begins_at > p_now then 'start' end, greatest(p_now, b.begins_at), w.index, v_priority, true, w.capability
  from flowgres.workflow_steps as w
  cross join unnest(v_queue_ids, v_begins_at) as s (id, begins_at)
  cross join lateral (select coalesce(s.begins_at, p_scheduled_at) as begins_at) as b
  where w.tenant_id = v_tenant_id and w.version_id = p_version.id and w.index = any(p_version.root_indexes);
  if not p_version.concurrency is null then
    perform flowgres.park_starts(p_version => p_version, p_execution_ids => v_queue_ids, p_trigger_type => p_trigger_type);
  end if;
end;
$$;
comment on function flowgres.insert_executions is $$Start executions: write them and the queue rows of their first steps; returns the ids that the starts stand for

All starts come by here, whoever makes them: the rule that the version has for starts (settings.start) and the rate of the tenant hold
for all. By the rule a start may stand for an execution that is there; of the ids that were given those are used that the answer
has. The tenant is that of the version. Set-based: ids, inputs, parents and p_triggers (where each has its own) are parallel arrays.
Inputs and the like its callers have checked. The trace that the caller is in goes into the trigger. Of the version it reads only what
start_execution fills in.$$;

create or replace function flowgres.read_correlation_id(p_input jsonb, p_path jsonpath)
  returns text language sql immutable parallel safe
as $$
  select case when p_path is not null then left(jsonb_path_query_first(p_input, p_path, '{}', true) #>> '{}', 255) end;
$$;
comment on function flowgres.read_correlation_id(jsonb, jsonpath) is $$The correlation id in an input; null where the version names none.$$;

create or replace function flowgres.rewrite_start(
  p_version flowgres.workflow_versions, p_id uuid, p_input jsonb, p_priority smallint, p_scheduled_at timestamptz,
  p_correlation_id text, p_max_retries smallint, p_metadata jsonb, p_trigger_type text, p_trigger jsonb, p_idempotency_key text,
  p_created_by text
)
  returns void language plpgsql
as $$
begin
  update flowgres.executions as e
  set
    version_id = p_version.id, version = p_version.version, step_count = p_version.step_count,
    hidden_step_count = p_version.hidden_step_count, timeout_seconds = p_version.timeout_seconds, priority = p_priority,
    scheduled_at = p_scheduled_at, max_retries = coalesce(p_max_retries, p_version.max_retries, 0), trigger_type = p_trigger_type, trigger = p_trigger,
    correlation_id = coalesce(p_correlation_id, flowgres.read_correlation_id(p_input, p_version.correlation_path)),
    idempotency_key = p_idempotency_key, created_by = p_created_by, input = p_input, metadata = p_metadata
  where e.tenant_id = p_version.tenant_id and e.id = p_id;
  -- The version may be another one, with other first steps: insert_executions writes their rows.
  delete from flowgres.work_queue as q where q.tenant_id = p_version.tenant_id and q.execution_id = p_id;
end;
$$;
comment on function flowgres.rewrite_start is $$Make an execution that has not begun, and is held by the caller, what another start says, and take its rows from the queue.$$;

create or replace function flowgres.start_versions(
  p_version flowgres.workflow_versions,
  p_inputs jsonb[],
  p_now timestamptz,
  p_trigger_type text,
  p_trigger jsonb default null,
  p_priority smallint default null,
  p_created_by text default null,
  p_replayed_from uuid default null,
  p_depth smallint default 0,
  p_parent_execution_ids uuid[] default null,
  p_parent_step_indexes smallint[] default null,
  p_parent_queue_ids bigint[] default null,
  p_triggers jsonb[] default null
)
  returns uuid[] language plpgsql
as $$
begin
  return flowgres.insert_executions(
    p_version => p_version,
    p_ids => flowgres.uuids_v7(p_at => p_now, p_count => cardinality(p_inputs)),
    p_inputs => array(
      select flowgres.check_input(
        p_inputs => p_version.inputs, p_takes_additional => p_version.takes_additional_inputs, p_input => i.value)
      from unnest(p_inputs) with ordinality as i (value, place) order by i.place),
    p_now => p_now,
    p_priority => p_priority,
    p_trigger_type => p_trigger_type,
    p_trigger => p_trigger,
    p_created_by => p_created_by,
    p_replayed_from => p_replayed_from,
    p_depth => p_depth,
    p_parent_execution_ids => p_parent_execution_ids,
    p_parent_step_indexes => p_parent_step_indexes,
    p_parent_queue_ids => p_parent_queue_ids,
    p_triggers => p_triggers);
end;
$$;
comment on function flowgres.start_versions is $$Start executions of a version for its tenant, whoever calls: children, triggers, replays

The inputs are checked; returns the ids that they stand for, in their order. The caller decides whether that version may start.$$;
