-- Starting executions: one or many, by a caller.

set local role flowgres_definer;

create or replace function flowgres.start_execution(
  p_workflow text,
  p_input jsonb,
  p_idempotency_key text,
  p_version integer,
  p_priority integer,
  p_scheduled_at timestamptz,
  p_correlation_id text,
  p_max_retries integer,
  p_metadata jsonb
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp set plan_cache_mode to force_generic_plan
as $$
declare
  v_now timestamptz := flowgres.now();
  v_id uuid := flowgres.uuid_v7(v_now);
  v_tenant_id uuid;
  v_workflow_id uuid;
  v_workflow flowgres.workflows;
  v_version flowgres.workflow_versions;
  v_payload jsonb;
  v_started_id uuid;
  v_start_weight integer;
  v_watched_until timestamptz;
  v_is_drawn boolean;
  v_is_within boolean;
  v_ids uuid[];
  v_is_told boolean;
  v_status text;
begin
  -- When all is well, one query finds all that a start needs, and no more: the definitions themselves can be large.
  select
    v.tenant_id, v.id, v.workflow_id, v.version, v.step_count, v.hidden_step_count, v.root_indexes, v.inputs,
    v.takes_additional_inputs, v.timeout_seconds, v.priority, v.correlation_path, v.start_rule, v.max_retries, v.concurrency,
    t.start_weight, t.starts_watched_until
  into
    v_version.tenant_id, v_version.id, v_version.workflow_id, v_version.version, v_version.step_count,
    v_version.hidden_step_count, v_version.root_indexes, v_version.inputs, v_version.takes_additional_inputs,
    v_version.timeout_seconds, v_version.priority, v_version.correlation_path, v_version.start_rule, v_version.max_retries,
    v_version.concurrency,
    v_start_weight, v_watched_until
  from flowgres.tenants as t
  join flowgres.workflows as w on w.tenant_id = t.tenant_id
  join flowgres.workflow_versions as v
    on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = coalesce(p_version, w.active_version)
  -- The policies leave one tenant; asking once more which would cost as much as a table.
  where t.status <> 'suspended'
    and w.name = p_workflow and w.kind = 'dag' and w.deleted_at is null and (p_version is not null or w.status = 'active')
    and v.state not in ('draft', 'invalid');
  -- Otherwise these say what is amiss, the version only after the key: a repeated call is answered whatever became of the
  -- workflow since. They also find a workflow by its id.
  if v_version.id is null then
    v_tenant_id := flowgres.require_tenant();
    perform flowgres.check_tenant_may_start(v_tenant_id);
    v_workflow := flowgres.find_workflow(p_tenant_id => v_tenant_id, p_workflow => p_workflow);
    v_workflow_id := v_workflow.id;
  else
    v_tenant_id := v_version.tenant_id;
    v_workflow_id := v_version.workflow_id;
  end if;
  if p_priority not between 0 and 9 then
    perform flowgres.fail(
      p_status => 400, p_code => 'priority_invalid', p_message => format('priority %s is not between 0 and 9', p_priority),
      p_hint => '0 goes first, 9 last.');
  end if;
  if p_scheduled_at is not null then perform flowgres.check_scheduled_at(p_scheduled_at => p_scheduled_at, p_now => v_now); end if;
  if p_max_retries not between 0 and 100 then
    perform flowgres.fail(
      p_status => 400, p_code => 'max_retries_invalid', p_message => format('max_retries %s is not between 0 and 100', p_max_retries),
      p_hint => '0 is none; without it settings.max_retries of the workflow holds.');
  end if;
  if pg_column_size(p_input) >= 512 or octet_length(p_input::text) > 4000 then
    perform flowgres.check_payload(p_tenant_id => v_tenant_id, p_payload => p_input, p_what => 'the input');
  end if;
  if p_metadata is not null then
    perform flowgres.check_metadata(p_metadata => p_metadata);
  end if;
  if length(p_correlation_id) > 255 then
    perform flowgres.check_length(p_argument => 'correlation_id', p_value => p_correlation_id, p_most => 255);
  end if;

  if p_idempotency_key is not null then
    -- Without max_retries as before there was any: keys of then are still known.
    v_payload := jsonb_build_array(p_input, p_version, p_priority, p_scheduled_at, p_correlation_id, p_metadata) || case
      when p_max_retries is null then '[]' else jsonb_build_array(p_max_retries) end;
    v_started_id := flowgres.take_key(
      p_tenant_id => v_tenant_id, p_scope_id => v_workflow_id, p_key => p_idempotency_key, p_subject_id => v_id, p_payload => v_payload);
    if v_started_id is not null then
      return flowgres.answer_repeated_start(p_tenant_id => v_tenant_id, p_execution_id => v_started_id);
    end if;
  end if;

  if v_version.id is null then
    v_version := flowgres.find_version(p_workflow => v_workflow, p_version => p_version);
  end if;
  -- Of a tenant that is far from its limit few are looked at: starts/rate.sql says why that is enough.
  v_is_drawn := coalesce(random() * v_start_weight < 1, true);
  if v_is_drawn or v_watched_until > v_now then
    v_is_within := flowgres.check_start_rate(p_tenant_id => v_tenant_id, p_count => 1, p_now => v_now, p_is_drawn => v_is_drawn);
  end if;
  if p_scheduled_at is not null then
    perform flowgres.check_may_schedule(p_version => v_version, p_scheduled_at => p_scheduled_at, p_now => v_now);
  end if;
  -- Assignments, and not "perform": that would be a query around each call.
  v_ids := flowgres.insert_executions(
    p_version => v_version,
    p_ids => array[v_id],
    p_inputs => array[flowgres.check_input(
      p_inputs => v_version.inputs, p_takes_additional => v_version.takes_additional_inputs, p_input => p_input)],
    p_now => v_now,
    p_priority => p_priority::smallint,
    p_scheduled_at => p_scheduled_at,
    p_correlation_id => p_correlation_id,
    p_max_retries => p_max_retries::smallint,
    p_metadata => p_metadata,
    p_idempotency_key => p_idempotency_key,
    p_created_by => flowgres.actor());
  v_is_told := flowgres.wake_runners();
  if not v_version.start_rule is null then
    return flowgres.answer_ruled_start(
      p_tenant_id => v_tenant_id, p_execution_id => v_ids[1], p_is_created => v_ids[1] = v_id, p_workflow_id => v_workflow_id,
      p_idempotency_key => p_idempotency_key);
  end if;
  if nullif(current_setting('request.method', true), '') is not null then
    v_status := set_config('response.status', '201', true);
  end if;
  return jsonb_build_object('execution_id', v_id, 'status', 'queued', 'created', true);
end;
$$;
comment on function flowgres.start_execution is $$Start one execution

With an idempotency key the first call creates, and a repeated one answers with the same execution.$$;

create or replace function flowgres.start_executions(p_workflow text, p_inputs jsonb)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_now timestamptz := flowgres.now();
  v_workflow flowgres.workflows;
  v_version flowgres.workflow_versions;
  v_inputs jsonb[];
  v_ids uuid[];
  v_most integer := (flowgres.setting(v_tenant_id, 'max_bulk_starts'))::integer;
begin
  perform flowgres.check_tenant_may_start(v_tenant_id);
  if jsonb_typeof(p_inputs) is distinct from 'array' then
    perform flowgres.fail(
      p_status => 400, p_code => 'inputs_invalid', p_message => 'inputs is not an array of objects',
      p_hint => 'Send {"workflow": "...", "inputs": [{...}, {...}]}.');
  end if;
  if jsonb_array_length(p_inputs) > v_most then
    perform flowgres.fail(
      p_status => 413, p_code => 'too_many_inputs',
      p_message => format('%s inputs are more than the %s of one call', jsonb_array_length(p_inputs), v_most),
      p_hint => 'Send them in several calls.');
  end if;
  v_workflow := flowgres.find_workflow(p_tenant_id => v_tenant_id, p_workflow => p_workflow);
  v_version := flowgres.find_version(p_workflow => v_workflow, p_version => null);
  if v_version.inputs is null then
    select array_agg(i.value) into v_inputs
    from jsonb_array_elements(p_inputs) as i (value);
    if exists (select from unnest(v_inputs) as i where jsonb_typeof(i) <> 'object') then
      perform flowgres.check_input(p_inputs => null, p_takes_additional => true, p_input => '[]');
    end if;
  else
    v_inputs := array(
      select flowgres.check_input(
        p_inputs => v_version.inputs, p_takes_additional => v_version.takes_additional_inputs, p_input => i.value,
        p_path => format('inputs[%s]', i.position - 1))
      from jsonb_array_elements(p_inputs) with ordinality as i (value, position)
      order by i.position);
  end if;
  perform flowgres.check_payload(p_tenant_id => v_tenant_id, p_payload => i, p_what => 'an input')
  from unnest(v_inputs) as i
  where pg_column_size(i) >= 512 or octet_length(i::text) > 4000;
  if cardinality(v_inputs) > 0 then
    perform flowgres.check_start_rate(p_tenant_id => v_tenant_id, p_count => cardinality(v_inputs), p_now => v_now);
    v_ids := flowgres.insert_executions(
      p_version => v_version, p_ids => flowgres.uuids_v7(p_at => v_now, p_count => cardinality(v_inputs)), p_inputs => v_inputs, p_now => v_now, p_created_by => flowgres.actor());
    perform flowgres.wake_runners();
  end if;
  if nullif(current_setting('request.method', true), '') is not null then
    perform set_config('response.status', '201', true);
  end if;
  return to_jsonb(coalesce(v_ids, '{}'));
end;
$$;
comment on function flowgres.start_executions(text, jsonb) is $$Start many executions of one workflow in one transaction: all or none

Returns their ids in the order of the inputs; by a rule of starts (settings.start) several may stand for one execution.$$;

set local role flowgres_owner;

create or replace function flowgres.answer_repeated_start(p_tenant_id uuid, p_execution_id uuid)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  if nullif(current_setting('request.method', true), '') is not null then
    perform set_config('response.status', '200', true);
  end if;
  return jsonb_build_object(
    'execution_id', p_execution_id,
    'status', coalesce(
      (select e.status from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = p_execution_id), 'pruned'),
    'created', false);
end;
$$;
comment on function flowgres.answer_repeated_start(uuid, uuid) is $$Answer a start whose key is known: with the same execution.$$;
