-- Replays: new executions that repeat others.

set local role flowgres_owner;

create or replace function flowgres.replayed_trigger(p_trigger jsonb, p_trigger_type text)
  returns jsonb language sql immutable parallel safe
as $$
  -- A trace is that of the call which brought it.
  select coalesce(p_trigger - '{traceparent,tracestate}'::text[], jsonb_build_object('type', p_trigger_type));
$$;
comment on function flowgres.replayed_trigger(jsonb, text) is $$What expressions of a replay see as their trigger: that of the original.$$;

create or replace function flowgres.start_replays(
  p_version flowgres.workflow_versions, p_original_ids uuid[], p_inputs jsonb[], p_triggers jsonb[], p_correlation_ids text[],
  p_metadata jsonb[], p_max_retries smallint[], p_priority smallint, p_now timestamptz, p_actor text, p_reason text, p_details jsonb
)
  returns uuid[] language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := p_version.tenant_id;
  v_count integer := cardinality(p_original_ids);
  v_ids uuid[];
  v_audit_ids uuid[] := flowgres.uuids_v7(p_at => p_now, p_count => v_count);
begin
  v_ids := flowgres.insert_executions(
    p_version => p_version,
    p_ids => flowgres.uuids_v7(p_at => p_now, p_count => v_count),
    p_inputs => p_inputs,
    p_now => p_now,
    p_priority => p_priority,
    p_trigger_type => 'replay',
    p_triggers => p_triggers,
    p_created_by => p_actor);
  -- What a start has once for all, each of these has of its original.
  update flowgres.executions as e
  set
    replayed_from = o.original_id, correlation_id = coalesce(o.correlation_id, e.correlation_id), metadata = o.metadata,
    max_retries = o.max_retries, event_seq = 1
  from unnest(v_ids, p_original_ids, p_correlation_ids, p_metadata, p_max_retries)
    as o (id, original_id, correlation_id, metadata, max_retries)
  where e.tenant_id = v_tenant_id and e.id = o.id and e.id between v_ids[1] and v_ids[v_count];
  insert into flowgres.events (tenant_id, execution_id, seq, at, type, message, actor, details)
  select
    v_tenant_id, o.id, 1, p_now, 'execution_replayed', p_reason, p_actor,
    jsonb_build_object('replayed_from', o.original_id) || coalesce(p_details, '{}')
  from unnest(v_ids, p_original_ids) as o (id, original_id);
  insert into flowgres.audit_log (tenant_id, id, at, actor, action, subject, details)
  select
    v_tenant_id, o.audit_id, p_now, p_actor, 'execution_replayed', o.original_id::text,
    jsonb_strip_nulls(jsonb_build_object('reason', p_reason, 'execution_id', o.id)) || coalesce(p_details, '{}')
  from unnest(v_ids, p_original_ids, v_audit_ids) as o (id, original_id, audit_id);
  perform flowgres.tell_streams(
    p_tenant_ids => array_fill(v_tenant_id, array[v_count]), p_execution_ids => v_ids, p_event_seqs => array_fill(0, array[v_count]),
    p_now => p_now);
  return v_ids;
end;
$$;
comment on function flowgres.start_replays is $$Start executions of a version that repeat others; returns their ids, in the order of the originals

What they have of their originals lies in arrays beside those. A few statements for all of them; each is told in the audit log, and as the
first event of what it starts. Whether they may start, and the rate of starts, the caller has checked.$$;

create or replace function flowgres.replay_held(p_tenant_id uuid, p_execution_ids uuid[], p_actor text, p_reason text)
  returns table (execution_id uuid, started_id uuid, code text, message text) language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_version flowgres.workflow_versions;
  v_ids uuid[];
  v_seen uuid[] := '{}';
  v_first uuid := (select x from unnest(p_execution_ids) as x order by x limit 1);
  v_last uuid := (select x from unnest(p_execution_ids) as x order by x desc limit 1);
  v_group record;
begin
  -- Of each version and priority at once, with what its start may not be.
  for v_group in
    select
      e.version_id, e.priority, array_agg(e.id order by e.id) as ids, array_agg(e.input order by e.id) as inputs,
      array_agg(flowgres.replayed_trigger(p_trigger => e.trigger, p_trigger_type => e.trigger_type) order by e.id) as triggers,
      array_agg(e.correlation_id order by e.id) as correlation_ids, array_agg(e.metadata order by e.id) as metadata,
      array_agg(e.max_retries order by e.id) as max_retries
    from (select distinct x.id from unnest(p_execution_ids) as x (id)) as x
    cross join lateral (
      select e.id, e.version_id, e.priority, e.input, e.trigger, e.trigger_type, e.correlation_id, e.metadata, e.max_retries
      from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = x.id and e.id between v_first and v_last
      offset 0
    ) as e
    where not flowgres.is_hidden(e.id)
    group by e.version_id, e.priority
  loop
    v_seen := v_seen || v_group.ids;
    select v.* into v_version
    from flowgres.workflow_versions as v
    join flowgres.workflows as w on w.tenant_id = v.tenant_id and w.id = v.workflow_id
    where v.tenant_id = p_tenant_id and v.id = v_group.version_id and v.state not in ('draft', 'invalid') and w.deleted_at is null;
    if v_version.id is null then
      return query
      select u.id, null::uuid, 'version_not_found', 'the version that it ran cannot be started any more' from unnest(v_group.ids) as u (id);
      continue;
    end if;
    v_ids := flowgres.start_replays(
      p_version => v_version, p_original_ids => v_group.ids, p_inputs => v_group.inputs, p_triggers => v_group.triggers,
      p_correlation_ids => v_group.correlation_ids, p_metadata => v_group.metadata, p_max_retries => v_group.max_retries,
      p_priority => v_group.priority, p_now => v_now, p_actor => p_actor, p_reason => p_reason, p_details => null);
    return query select u.original_id, u.id, null::text, null::text from unnest(v_group.ids, v_ids) as u (original_id, id);
  end loop;
  return query
  select u.id, null::uuid, 'execution_not_found', format('execution %s does not exist', u.id)
  from unnest(p_execution_ids) as u (id)
  where u.id <> all(v_seen);
  perform flowgres.wake_runners();
end;
$$;
comment on function flowgres.replay_held(uuid, uuid[], text, text) is $$Replay executions with their own inputs and versions, many at once

A row for each: what it started, or the code and message of why nothing. No lock of the originals is needed: nothing of them changes,
and they may be under way.$$;

create or replace function flowgres.find_replayed_version(p_original flowgres.executions, p_version integer)
  returns flowgres.workflow_versions language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  -- The same one, whatever is active by now: a replay repeats.
  return flowgres.find_version(
    p_workflow => flowgres.find_workflow(p_tenant_id => (p_original).tenant_id, p_workflow => (p_original).workflow_id::text),
    p_version => coalesce(p_version, (p_original).version));
end;
$$;
comment on function flowgres.find_replayed_version(flowgres.executions, integer) is $$The version that a replay runs: the one asked for, else that of the original.$$;

create or replace function flowgres.check_overrides(p_tenant_id uuid, p_from_step text, p_overrides jsonb)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if p_overrides is null or p_overrides = 'null' then
    return '{}';
  elsif jsonb_typeof(p_overrides) <> 'object' then
    perform flowgres.fail(
      p_status => 422, p_code => 'overrides_invalid', p_message => 'overrides is not an object', p_details => 'overrides',
      p_hint => 'Send {"step": its output}.');
  elsif p_from_step is null and p_overrides <> '{}' then
    perform flowgres.fail(
      p_status => 422, p_code => 'from_step_missing', p_message => 'outputs can be overridden only of steps that are taken over',
      p_details => 'from_step', p_hint => 'Say with from_step where to begin.');
  end if;
  perform flowgres.check_payload(p_tenant_id => p_tenant_id, p_payload => p_overrides, p_what => 'overrides');
  return p_overrides;
end;
$$;
comment on function flowgres.check_overrides(uuid, text, jsonb) is $$Overrides as an object of outputs by step; refuses what is none, or too large.$$;

set local role flowgres_definer;

create or replace function flowgres.replay_execution(
  p_execution_id uuid, p_input jsonb, p_from_step text, p_overrides jsonb, p_version integer, p_reason text
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_now timestamptz := flowgres.now();
  v_overrides jsonb;
  v_original flowgres.executions;
  v_version flowgres.workflow_versions;
  v_input jsonb;
  v_kept smallint[];
  v_ids uuid[];
begin
  perform flowgres.check_tenant_may_start(v_tenant_id);
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  v_overrides := flowgres.check_overrides(p_tenant_id => v_tenant_id, p_from_step => p_from_step, p_overrides => p_overrides);
  if p_from_step is null then
    select e.* into v_original
    from flowgres.executions as e
    where e.tenant_id = v_tenant_id and e.id = p_execution_id and not flowgres.is_hidden(p_execution_id);
  else
    -- What is taken over neither goes on nor goes away meanwhile.
    select e.* into v_original
    from flowgres.executions as e
    where e.tenant_id = v_tenant_id and e.id = p_execution_id and not flowgres.is_hidden(p_execution_id)
    for share;
  end if;
  if v_original.id is null then
    perform flowgres.fail_execution_not_found(p_execution_id => p_execution_id);
  end if;
  v_version := flowgres.find_replayed_version(p_original => v_original, p_version => p_version);
  if p_input is not null then
    perform flowgres.check_payload(p_tenant_id => v_tenant_id, p_payload => p_input, p_what => 'the input');
  end if;
  v_input := coalesce(p_input, v_original.input);
  if p_input is not null or v_version.id <> v_original.version_id then
    v_input := flowgres.check_input(
      p_inputs => v_version.inputs, p_takes_additional => v_version.takes_additional_inputs, p_input => v_input);
  end if;
  if p_from_step is not null then
    v_kept := flowgres.check_fork(
      p_original => v_original, p_version => v_version, p_from_step => p_from_step, p_overrides => v_overrides);
  end if;
  perform flowgres.check_start_rate(p_tenant_id => v_tenant_id, p_count => 1, p_now => v_now);
  v_ids := flowgres.start_replays(
    p_version => v_version, p_original_ids => array[v_original.id], p_inputs => array[v_input],
    p_triggers => array[flowgres.replayed_trigger(p_trigger => v_original.trigger, p_trigger_type => v_original.trigger_type)],
    -- Of another input it is what the workflow finds there.
    p_correlation_ids => array[case when v_version.correlation_path is null or v_input = v_original.input then v_original.correlation_id end],
    p_metadata => array[v_original.metadata], p_max_retries => array[v_original.max_retries], p_priority => v_original.priority,
    p_now => v_now, p_actor => flowgres.actor(), p_reason => nullif(p_reason, ''),
    p_details => nullif(jsonb_strip_nulls(jsonb_build_object(
      'version', nullif(v_version.version, v_original.version), 'from_step', p_from_step,
      'overrides', (select jsonb_agg(k) from jsonb_object_keys(v_overrides) as k),
      'has_other_input', nullif(v_input is distinct from v_original.input, false))), '{}'));
  if p_from_step is not null then
    perform flowgres.fork_execution(
      p_original => v_original, p_version => v_version, p_execution_id => v_ids[1], p_kept => v_kept, p_overrides => v_overrides,
      p_now => v_now);
  end if;
  perform flowgres.wake_runners();
  if nullif(current_setting('request.method', true), '') is not null then
    perform set_config('response.status', '201', true);
  end if;
  return (
    select jsonb_build_object(
      'execution_id', e.id, 'status', e.status, 'created', true, 'replayed_from', e.replayed_from, 'version', e.version)
    from flowgres.executions as e
    where e.tenant_id = v_tenant_id and e.id = v_ids[1]);
end;
$$;
comment on function flowgres.replay_execution(uuid, jsonb, text, jsonb, integer, text) is $$Start an execution anew, whole or from a step on

A new execution: with the same version, input, trigger, priority, correlation id and metadata, unless another input or version is given.$$;
