-- Moving instances by callers: one, with a key that makes it happen once, or many.

set local role flowgres_definer;

create or replace function flowgres.execute_transition(
  p_instance_id uuid, p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text, p_idempotency_key text
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_refused jsonb;
begin
  if p_idempotency_key is not null and flowgres.take_key(
    p_tenant_id => v_tenant_id, p_scope_id => p_instance_id, p_key => p_idempotency_key, p_subject_id => p_instance_id,
    p_payload => jsonb_build_array(p_to, p_executed_by, p_metadata, p_context, p_notes)) is not null
  then
    return 'true';
  end if;
  v_refused := flowgres.move_instance(
    p_tenant_id => v_tenant_id, p_id => p_instance_id, p_to => p_to, p_executed_by => p_executed_by,
    p_metadata => p_metadata, p_context => p_context, p_notes => p_notes);
  if v_refused = '[]' then
    return 'true';
  end if;
  -- A refusal that stays told is committed; the key is for a call that comes to something.
  delete from flowgres.idempotency_keys as k
  where k.tenant_id = v_tenant_id and k.workflow_id = p_instance_id and k.key = p_idempotency_key;
  return flowgres.refuse_move(v_refused -> 0);
end;
$$;
comment on function flowgres.execute_transition(uuid, text, text, jsonb, jsonb, text, text) is $$Move an instance to a state: true, or under PostgREST the body of the refusal

With an idempotency key, which is the instance's own, once: a repeated call is answered as the first one was.$$;

create or replace function flowgres.execute_transitions(
  p_instances uuid[], p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text, p_on_error text
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_reports boolean := flowgres.reports_errors(p_on_error);
  v_most integer := (flowgres.setting(v_tenant_id, 'max_bulk_starts'))::integer;
  v_count integer := coalesce(cardinality(p_instances), 0);
  v_refused jsonb;
  v_first jsonb;
begin
  if v_count > v_most then
    perform flowgres.fail(
      p_status => 413, p_code => 'too_many_instances', p_message => format('%s instances are more than the %s of one call', v_count, v_most),
      p_hint => 'Send them in several calls.');
  end if;
  if v_count > (select count(distinct i.id) from unnest(p_instances) as i (id)) then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'instances names one of them twice, or none', p_details => 'instances',
      p_hint => 'Send each id once: a second transition of it is a second call.');
  end if;
  perform flowgres.check_copies(
    p_tenant_id => v_tenant_id, p_count => v_count, p_metadata => p_metadata, p_context => p_context, p_notes => p_notes);
  v_refused := flowgres.move_instances(
    p_tenant_id => v_tenant_id, p_ids => coalesce(p_instances, '{}'), p_to => p_to, p_executed_by => p_executed_by,
    p_metadata => p_metadata, p_context => p_context, p_notes => p_notes, p_reports => v_reports);
  if v_refused <> '[]' and not v_reports then
    v_first := v_refused -> 0;
    return flowgres.refuse_move(case v_count when 1 then v_first else v_first || jsonb_build_object(
      'message', (v_first ->> 'message') || case jsonb_array_length(v_refused) when 1 then ''
        else format(', and %s more of these %s may not move', jsonb_array_length(v_refused) - 1, v_count) end,
      -- Which of them it was.
      'details', jsonb_path_query_array(v_refused, '$[0 to 99]')) end);
  end if;
  return jsonb_build_object(
    'moved', v_count - jsonb_array_length(v_refused), 'refused', jsonb_array_length(v_refused), 'results', (
      select coalesce(jsonb_agg(
        jsonb_build_object('instance_id', i.id) || case when r.refusal is null then '{}' else jsonb_build_object(
          'error', r.refusal - '{instance_id,transition,status,headers}'::text[]) end
        order by i.place), '[]')
      from unnest(p_instances) with ordinality as i (id, place)
      left join jsonb_array_elements(v_refused) as r (refusal) on (r.refusal ->> 'instance_id')::uuid = i.id));
end;
$$;
comment on function flowgres.execute_transitions is $$Move many instances to a state: {moved, refused, results}, or when none moves the body of the first refusal.$$;
