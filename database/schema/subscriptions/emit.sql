-- Events: what is told starts what subscribed to it, in the transaction of whoever tells.

set local role flowgres_owner;

create or replace function flowgres.list_subscribers(p_tenant_id uuid, p_name text, p_payload jsonb)
  returns table (id uuid, workflow_id uuid, input jsonb) rows 3 language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return query
  select s.id, s.workflow_id, s.input
  from flowgres.subscriptions as s
  where s.tenant_id = p_tenant_id and s.name = p_name and s.kind = 'event' and s.is_active
    and (s.filter is null or jsonb_path_match(p_payload, s.filter, '{}', true))
  order by s.id;
end;
$$;
comment on function flowgres.list_subscribers(uuid, text, jsonb) is $$What an event starts: the active subscriptions with its name whose filter holds.$$;

create or replace function flowgres.start_subscriber(
  p_subscription_id uuid, p_workflow_id uuid, p_mapping jsonb, p_tenant_id uuid, p_payload jsonb, p_trigger jsonb,
  p_now timestamptz, p_created_by text
)
  returns uuid language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_version flowgres.workflow_versions;
  v_input jsonb;
  v_code text;
  v_message text;
begin
  begin
    v_version := flowgres.find_active_version(p_tenant_id => p_tenant_id, p_workflow_id => p_workflow_id);
    v_input := flowgres.trigger_input(
      p_mapping => p_mapping, p_payload => p_payload, p_inputs => v_version.inputs,
      p_takes_additional => v_version.takes_additional_inputs);
    perform flowgres.check_payload(p_tenant_id => p_tenant_id, p_payload => v_input, p_what => 'the input');
    return (flowgres.start_versions(
      p_version => v_version, p_inputs => array[v_input], p_now => p_now, p_trigger_type => 'event',
      p_trigger => p_trigger || jsonb_build_object('subscription', p_subscription_id), p_created_by => p_created_by))[1];
  exception when others then
    -- What has nothing to do with the subscriber is the caller's to know.
    if sqlstate ~ '^(40|53|55|57|58)' then
      raise;
    end if;
    get stacked diagnostics v_code = constraint_name;
    v_code := flowgres.read_refusal(p_sqlstate => sqlstate, p_constraint => v_code, p_message => sqlerrm);
    v_message := case when sqlstate = 'PGRST' then sqlerrm::jsonb ->> 'message' else sqlerrm end;
  end;
  perform flowgres.record_refusal(
    p_subscription_id => p_subscription_id, p_tenant_id => p_tenant_id, p_code => v_code, p_message => v_message, p_now => p_now);
  return null;
end;
$$;
comment on function flowgres.start_subscriber(uuid, uuid, jsonb, uuid, jsonb, jsonb, timestamptz, text) is $$Start the execution of one subscriber; null when it was refused

A refusal (an input that does not fit) is the subscriber's, and kept in its last_error: whoever tells of the event goes on.$$;

create or replace function flowgres.check_event(p_tenant_id uuid, p_name text, p_payload jsonb, p_key text)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_root jsonb := flowgres.definition_schema();
begin
  if p_name is null or flowgres.check_value('', to_jsonb(p_name), v_root #> '{$defs,event_name}', v_root) <> '{}' then
    perform flowgres.fail(
      p_status => 422, p_code => 'event_name_invalid', p_message => format('"%s" is no name of an event', left(p_name, 60)),
      p_details => 'name', p_hint => v_root #>> '{$defs,event_name,x-hint}');
  elsif length(p_key) not between 1 and 255 or p_key ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' then
    perform flowgres.fail(
      p_status => 400, p_code => 'event_key_invalid', p_message => 'a key is 1 to 255 printable characters', p_details => 'key',
      p_hint => 'A UUID is a good key.');
  end if;
  perform flowgres.check_payload(p_tenant_id => p_tenant_id, p_payload => p_payload, p_what => 'the payload');
end;
$$;
comment on function flowgres.check_event(uuid, text, jsonb, text) is $$Refuse an event whose name, key or payload is none.$$;

create or replace function flowgres.tell_event(
  p_tenant_id uuid, p_name text, p_payload jsonb, p_key text, p_attributes jsonb, p_hops integer, p_created_by text
)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := p_tenant_id;
  v_now timestamptz := flowgres.now();
  v_payload jsonb := coalesce(p_payload, '{}');
  v_hops integer := p_hops;
  v_trigger jsonb;
  v_key flowgres.event_keys;
  v_subscriber record;
  v_id uuid;
  v_ids uuid[] := '{}';
  v_refused integer := 0;
  v_told record;
  v_is_told boolean;
begin
  perform flowgres.check_tenant_may_start(v_tenant_id);
  perform flowgres.check_event(p_tenant_id => v_tenant_id, p_name => p_name, p_payload => v_payload, p_key => p_key);
  if p_attributes is not null then
    perform flowgres.check_metadata(p_metadata => p_attributes);
  end if;
  perform flowgres.refuse_loop(p_tenant_id => v_tenant_id, p_hops => v_hops);
  if p_key is not null then
    -- A concurrent call with the same key waits here until the other one commits or rolls back.
    insert into flowgres.event_keys as k (tenant_id, name, key, execution_ids, expires_at)
    values (
      v_tenant_id, p_name, p_key, '{}',
      v_now + make_interval(days => greatest((flowgres.setting(v_tenant_id, 'idempotency_key_days'))::integer, 1)))
    on conflict (tenant_id, name, key) do update
    set execution_ids = '{}', expires_at = excluded.expires_at
    where k.expires_at <= v_now
    returning k.* into v_key;
    if v_key.key is null then
      select k.* into strict v_key
      from flowgres.event_keys as k
      where k.tenant_id = v_tenant_id and k.name = p_name and k.key = p_key;
      return jsonb_build_object(
        'started', 0, 'woken', 0, 'more', false, 'refused', 0, 'executions', to_jsonb(v_key.execution_ids), 'created', false);
    end if;
  end if;
  v_trigger := jsonb_strip_nulls(jsonb_build_object(
    'type', 'event', 'name', p_name, 'id', flowgres.uuid_v7(v_now), 'key', p_key, 'at', v_now, 'hops', nullif(v_hops, 0),
    'attributes', p_attributes))
    || jsonb_build_object('payload', v_payload);
  for v_subscriber in
    select * from flowgres.list_subscribers(p_tenant_id => v_tenant_id, p_name => p_name, p_payload => v_payload)
  loop
    v_id := flowgres.start_subscriber(
      p_subscription_id => v_subscriber.id, p_workflow_id => v_subscriber.workflow_id, p_mapping => v_subscriber.input,
      p_tenant_id => v_tenant_id, p_payload => v_payload, p_trigger => v_trigger, p_now => v_now,
      p_created_by => p_created_by);
    if v_id is null then
      v_refused := v_refused + 1;
    else
      v_ids := v_ids || v_id;
    end if;
  end loop;
  if v_ids <> '{}' and p_key is not null then
    update flowgres.event_keys as k
    set execution_ids = v_ids
    where k.tenant_id = v_tenant_id and k.name = p_name and k.key = p_key;
  end if;
  v_told := flowgres.tell_waiting(
    p_tenant_id => v_tenant_id, p_name => p_name, p_payload => v_payload, p_key => p_key, p_now => v_now);
  if v_ids <> '{}' or v_told.woken > 0 or v_told.has_more then
    v_is_told := flowgres.wake_runners();
  end if;
  return jsonb_build_object(
    'started', cardinality(v_ids), 'woken', v_told.woken, 'more', v_told.has_more, 'refused', v_refused, 'executions', to_jsonb(v_ids),
    'created', true);
end;
$$;
comment on function flowgres.tell_event(uuid, text, jsonb, text, jsonb, integer, text) is $$Tell of something that has happened, for a tenant; returns what emit_event does

p_hops says how many executions in a row led to it.$$;

set local role flowgres_definer;

create or replace function flowgres.emit_event(p_name text, p_payload jsonb, p_key text, p_attributes jsonb default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
begin
  return flowgres.tell_event(
    p_tenant_id => v_tenant_id, p_name => p_name, p_payload => p_payload, p_key => p_key, p_attributes => p_attributes,
    p_hops => flowgres.count_hops(v_tenant_id), p_created_by => flowgres.actor());
end;
$$;
comment on function flowgres.emit_event(text, jsonb, text, jsonb) is $$Tell of something that has happened: starts what subscribed to it and wakes what waits for it, in the caller's transaction

Returns {started, woken, more, refused, executions, created}; more says that others wait besides those woken, whom the engine asks next.
With a key it is told once: a repeated call answers with what the first one started. p_attributes is
what a CloudEvent says beside its data, for trigger.attributes.$$;
