-- What becomes of a transition that is refused: it is told, and it stays told.
--
-- A refusal has a row in the audit log, and an exception would take that row back. So a request to our PostgREST that is nothing but the
-- call raises nothing: it answers with the status and the body of any other error (response.status), and its transaction commits the row.
-- Within somebody's function, behind whatever PostgREST, and in SQL the transaction is the caller's, who must not go on as if the
-- instance had moved: there it is an exception, and the row goes with it.
-- A caller in SQL who wants it kept asks for a report: execute_transitions(..., on_error => 'report') raises nothing.

set local role flowgres_owner;

create or replace function flowgres.check_copies(p_tenant_id uuid, p_count integer, p_metadata jsonb, p_context jsonb, p_notes text)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  c_payloads constant integer := 16;
  v_most bigint := c_payloads * (flowgres.setting(p_tenant_id, 'max_payload_bytes'))::bigint;
  v_bytes bigint := octet_length(coalesce(p_metadata, '{}')::text) + octet_length(coalesce(p_context, '{}')::text)
    + octet_length(coalesce(p_notes, ''));
begin
  if v_bytes * p_count > v_most then
    perform flowgres.fail(
      p_status => 413, p_code => 'payload_too_large',
      p_message => format('%s bytes for each of %s instances are more than %s', v_bytes, p_count, v_most),
      p_hint => 'What is sent along is kept with every instance: send less, or fewer instances in one call.');
  end if;
end;
$$;
comment on function flowgres.check_copies(uuid, integer, jsonb, jsonb, text) is $$Refuse to keep so much with each of many instances that a small call would write gigabytes.$$;

create or replace function flowgres.check_move(
  p_tenant_id uuid, p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text
)
  returns void language plpgsql stable
as $$
begin
  if p_to is null then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'to_state must be the name of a state', p_details => 'to_state',
      p_hint => 'get_transitions lists where the instance may go.');
  end if;
  if jsonb_typeof(p_metadata) <> 'object' or jsonb_typeof(p_context) <> 'object' then
    perform flowgres.fail(
      p_status => 422, p_code => 'metadata_invalid', p_message => 'metadata and context must be objects',
      p_details => case when jsonb_typeof(p_metadata) <> 'object' then 'metadata' else 'context' end, p_hint => 'Send {"key": "value"}.');
  end if;
  if length(p_executed_by) > 200 then
    perform flowgres.check_length(p_argument => 'executed_by', p_value => p_executed_by, p_most => 200);
  end if;
  if p_executed_by ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'executed_by must be printable, in one line', p_details => 'executed_by',
      p_hint => 'It names a person or a program; put text into notes.');
  end if;
  if length(p_notes) > 10000 then
    perform flowgres.check_length(p_argument => 'notes', p_value => p_notes, p_most => 10000);
  end if;
  if pg_column_size(p_metadata) >= 512 or octet_length(p_metadata::text) > 4000 then
    perform flowgres.check_payload(p_tenant_id => p_tenant_id, p_payload => p_metadata, p_what => 'metadata');
  end if;
  if pg_column_size(p_context) >= 512 or octet_length(p_context::text) > 4000 then
    perform flowgres.check_payload(p_tenant_id => p_tenant_id, p_payload => p_context, p_what => 'the context');
  end if;
end;
$$;
comment on function flowgres.check_move(uuid, text, text, jsonb, jsonb, text) is $$Refuse what cannot be sent along with a transition.$$;

create or replace function flowgres.find_active(p_instance flowgres.instances)
  returns uuid language plpgsql stable
as $$
begin
  return (
    select i.id
    from flowgres.instances as i
    where i.tenant_id = (p_instance).tenant_id and i.entity_table = (p_instance).entity_table and i.entity_id = (p_instance).entity_id
      and i.workflow_id = (p_instance).workflow_id and i.completed_at is null);
end;
$$;
comment on function flowgres.find_active(flowgres.instances) is $$The active instance of the same entity and machine; null when there is none.$$;

create or replace function flowgres.refused_party(p_actor text)
  returns text language sql immutable parallel safe
as $$ select case when p_actor ~ '^(execution|sla):' then 'engine' else p_actor end; $$;
comment on function flowgres.refused_party(text) is $$Whose refusals are counted together: a caller's, or those of the engine, each of whose actors comes once.$$;

create or replace function flowgres.keeps_refusals()
  returns boolean language sql stable
as $$
  select session_user = 'flowgres_authenticator' and coalesce(current_setting('request.path', true) ~ '^/rpc/execute_transitions?$', false);
$$;
comment on function flowgres.keeps_refusals() is $$Whether this is a request that is nothing but a transition: its refusal is an answer, and no exception

Of all other calls that do not ask for a report the exception would take the row back, so none is written.$$;

create or replace function flowgres.note_refusals(p_tenant_id uuid, p_refused jsonb, p_to text, p_executed_by text, p_now timestamptz)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  c_most_a_minute constant integer := 1000;
  v_actor text := flowgres.actor();
  v_party text := flowgres.refused_party(p_actor => coalesce(p_refused #>> '{0,actor}', v_actor));
  v_room integer;
begin
  -- Each has its row, and yet nobody fills the disk by what is refused. Counted for each party: who floods the log hides only itself.
  select c_most_a_minute - count(*) into v_room
  from (
    select
    from flowgres.audit_log as a
    where a.tenant_id = p_tenant_id and a.action = 'transition_refused' and a.at > p_now - interval '1 minute'
      -- Inlined, it is the expression of the index.
      and flowgres.refused_party(a.actor) = v_party
    limit c_most_a_minute
  ) as l;
  insert into flowgres.audit_log (tenant_id, id, at, actor, action, subject, details)
  select
    p_tenant_id, flowgres.uuid_v7(p_now), p_now, coalesce(r.value ->> 'actor', v_actor), 'transition_refused', i.id::text,
    jsonb_build_object(
      'code', r.value -> 'code', 'workflow', i.workflow_name, 'entity_table', i.entity_table, 'entity_id', i.entity_id,
      'from_state', i.state, 'to_state', left(p_to, 100), 'transition', r.value -> 'transition', 'executed_by', p_executed_by)
    || case row_number() over (order by r.place) when v_room then '{"further_ones_are_written": false}' else '{}' end::jsonb
  from jsonb_array_elements(p_refused) with ordinality as r (value, place)
  join flowgres.instances as i on i.tenant_id = p_tenant_id and i.id = (r.value ->> 'instance_id')::uuid
  order by r.place
  limit v_room;
end;
$$;
comment on function flowgres.note_refusals(uuid, jsonb, text, text, timestamptz) is $$Write refusals into the audit log, up to 1,000 a minute of one actor or of the engine; the last says so

Those of instances that do not exist are not there. All of one call are of callers, or all the engine's.$$;

create or replace function flowgres.describe_refusal(
  p_code text, p_instance_id uuid, p_instance flowgres.instances, p_way flowgres.machine_transitions, p_to text, p_metadata jsonb,
  p_context jsonb, p_denied jsonb default null
)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_missing text[];
  v_states text[];
  v_ways jsonb;
begin
  if p_code = 'instance_not_found' then
    return jsonb_build_object(
      'instance_id', p_instance_id, 'code', p_code, 'message', format('instance %s does not exist', p_instance_id), 'details', null,
      'hint', 'List /entity_workflows.');
  elsif p_code = 'state_unknown' then
    v_states := array(
      select s.name from flowgres.machine_states as s
      where s.tenant_id = (p_instance).tenant_id and s.version_id = (p_instance).version_id
      order by s.place);
    return jsonb_build_object(
      'instance_id', p_instance_id, 'code', p_code,
      'message', format('the machine "%s" has no state "%s"', (p_instance).workflow_name, left(p_to, 100)),
      'details', jsonb_build_object('states', v_states),
      'hint', 'Its states are ' || left(array_to_string(v_states, ', '), 1000) || '.');
  elsif p_code = 'transition_forbidden' then
    return jsonb_build_object(
      'instance_id', p_instance_id, 'code', p_code,
      'transition', (p_way).name,
      'message', format('the transition "%s" is for the roles %s', (p_way).name, array_to_string((p_way).roles, ', ')),
      'details', jsonb_build_object('roles', (p_way).roles),
      'hint', 'Come with a token or an API key that has one of these business roles.');
  elsif p_code = 'transition_fields_missing' then
    v_missing := flowgres.missing_fields((p_way).required, p_instance, p_metadata, p_context);
    return jsonb_build_object(
      'instance_id', p_instance_id, 'code', p_code,
      'transition', (p_way).name,
      'message', format('the transition "%s" needs %s', (p_way).name, array_to_string(v_missing, ', ')),
      'details', jsonb_build_object('fields', v_missing),
      'hint', 'Send what is missing in metadata or context.');
  elsif p_code = 'transition_guard_refused' then
    -- 422 and not 409: what was sent does not meet the rule, and other data may, while the instance stands where it stood.
    return jsonb_build_object(
      'instance_id', p_instance_id, 'code', p_code,
      'transition', (p_way).name,
      'message', format(case
        when flowgres.judge_guard((p_way).guard, p_instance, p_metadata, p_context) is null
          then 'the guard of the transition "%s" gives no boolean: what it compares is not of one kind'
        else 'the guard of the transition "%s" does not hold' end, (p_way).name),
      'details', jsonb_build_object('guard', (p_way).guard::text),
      'hint', 'It is asked of {entity_table, entity_id, state, metadata, data, context}: data is the metadata that is sent along.');
  elsif p_code = 'instance_exists' then
    return jsonb_build_object(
      'instance_id', p_instance_id, 'code', p_code,
      'message', format(
        'the entity "%s" of "%s" has another active instance', (p_instance).entity_id, (p_instance).entity_table),
      'details', jsonb_build_object('instance_id', flowgres.find_active(p_instance)),
      'hint', 'An entity has one active instance of a machine: this one cannot be opened again meanwhile.');
  elsif p_denied ? p_instance_id::text then
    -- The start's own words.
    return p_denied -> p_instance_id::text || jsonb_build_object('instance_id', p_instance_id, 'transition', (p_way).name);
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('transition_name', w.name, 'to_state_name', w.to_state)), '[]') into v_ways
  from flowgres.list_ways(p_instance) as w;
  return jsonb_build_object(
    'instance_id', p_instance_id, 'code', p_code,
    'message', format('no transition leads from "%s" to "%s"', (p_instance).state, left(p_to, 100)),
    'details', jsonb_build_object('current_state', (p_instance).state, 'possible_transitions', v_ways),
    'hint', case v_ways when '[]' then 'Nothing leads out of this state.'
      else 'From here it goes to ' || left((
        select string_agg(w.value ->> 'to_state_name', ', ') from jsonb_array_elements(v_ways) as w (value)), 1000) || '.' end);
end;
$$;
comment on function flowgres.describe_refusal(
  text, uuid, flowgres.instances, flowgres.machine_transitions, text, jsonb, jsonb, jsonb
) is $$A refusal in words: {instance_id, code, transition, message, details, hint}; details differ from code to code

Of a start that is refused (p_denied) it is what any start is refused with, and its status.$$;

create or replace function flowgres.refusal_status(p_refusal jsonb)
  returns integer language sql immutable
as $$
  select coalesce((p_refusal ->> 'status')::integer, case
    when p_refusal ->> 'code' = 'instance_not_found' then 404
    when p_refusal ->> 'code' = 'transition_forbidden' then 403
    when p_refusal ->> 'code' in ('transition_not_allowed', 'instance_exists') then 409
    else 422 end);
$$;
comment on function flowgres.refusal_status(jsonb) is $$The HTTP status of a refusal (describe_refusal).$$;

create or replace function flowgres.refuse_move(p_refusal jsonb)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_code text := p_refusal ->> 'code';
  v_message text := p_refusal ->> 'message';
  v_details text := p_refusal ->> 'details';
  v_hint text := p_refusal ->> 'hint';
begin
  if flowgres.keeps_refusals() then
    perform set_config('response.status', flowgres.refusal_status(p_refusal)::text, true);
    if p_refusal -> 'headers' <> '{}' then
      perform set_config('response.headers', jsonb_build_array(p_refusal -> 'headers')::text, true);
    end if;
    return jsonb_build_object('code', v_code, 'message', v_message, 'details', v_details, 'hint', v_hint);
  end if;
  if p_refusal ? 'status' and nullif(current_setting('request.method', true), '') is not null then
    -- As it was raised before: fail() is for who knows the code.
    raise sqlstate 'PGRST' using
      message = jsonb_build_object('code', v_code, 'message', v_message, 'details', v_details, 'hint', v_hint)::text,
      detail = jsonb_build_object('status', p_refusal -> 'status', 'headers', coalesce(p_refusal -> 'headers', '{}'))::text;
  elsif p_refusal ? 'status' then
    raise exception using
      errcode = 'FG' || (p_refusal ->> 'status'), message = v_message, detail = coalesce(v_details, ''), hint = coalesce(v_hint, ''),
      constraint = v_code, datatype = coalesce(p_refusal ->> 'headers', '{}');
  elsif v_code = 'instance_not_found' then
    perform flowgres.fail(
      p_status => 404, p_code => 'instance_not_found', p_message => v_message, p_details => v_details, p_hint => v_hint);
  elsif v_code = 'transition_forbidden' then
    perform flowgres.fail(
      p_status => 403, p_code => 'transition_forbidden', p_message => v_message, p_details => v_details, p_hint => v_hint);
  elsif v_code in ('transition_not_allowed', 'instance_exists') then
    perform flowgres.fail(
      p_status => 409,
      p_code => case v_code when 'instance_exists' then 'instance_exists' else 'transition_not_allowed' end,
      p_message => v_message, p_details => v_details, p_hint => v_hint);
  end if;
  perform flowgres.fail(
    p_status => 422,
    p_code => case v_code when 'state_unknown' then 'state_unknown' when 'transition_fields_missing' then 'transition_fields_missing'
      else 'transition_guard_refused' end,
    p_message => v_message, p_details => v_details, p_hint => v_hint);
end;
$$;
comment on function flowgres.refuse_move(jsonb) is $$Answer with a refusal: to a request that is this call as status and body, which keeps its audit row; else raise it.$$;
