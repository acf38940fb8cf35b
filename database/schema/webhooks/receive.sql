-- Deliveries: found by their address, judged, and started once; for the front's login, which has checked the signature.
--
-- What a webhook is checked with may be known to the front for a while. Its stamp says of which state that was, and a delivery that was
-- checked by another state than the one of now is not taken.

set local role flowgres_owner;

create or replace function flowgres.webhook_stamp(p_webhook flowgres.webhooks, p_now timestamptz)
  returns text language sql stable
as $$
  -- A secret that is stored again has another nonce.
  select concat_ws(
    ':', (p_webhook).scheme, encode((p_webhook).token_hash, 'hex'),
    (select encode(s.nonce, 'hex') from flowgres.secrets as s
      where s.tenant_id = (p_webhook).tenant_id and s.name = (p_webhook).secret_name),
    (select encode(s.nonce, 'hex') from flowgres.secrets as s
      where s.tenant_id = (p_webhook).tenant_id and s.name = (p_webhook).previous_secret_name and (p_webhook).previous_until > p_now));
$$;
comment on function flowgres.webhook_stamp(flowgres.webhooks, timestamptz) is $$Changes with everything that a webhook's deliveries are checked with.$$;

create or replace function flowgres.start_delivery(
  p_id uuid, p_webhook flowgres.webhooks, p_version flowgres.workflow_versions, p_trigger jsonb, p_now timestamptz
)
  returns uuid language plpgsql
as $$
declare
  v_version flowgres.workflow_versions := p_version;
  v_input jsonb;
  v_ids uuid[];
  v_is_told boolean;
begin
  if v_version.id is null then
    v_version := flowgres.find_active_version(p_tenant_id => (p_webhook).tenant_id, p_workflow_id => (p_webhook).workflow_id);
  end if;
  perform flowgres.check_payload(p_tenant_id => (p_webhook).tenant_id, p_payload => p_trigger, p_what => 'the payload');
  v_input := flowgres.trigger_input(
    p_mapping => (p_webhook).input, p_payload => p_trigger -> 'payload', p_inputs => v_version.inputs,
    p_takes_additional => v_version.takes_additional_inputs);
  v_ids := flowgres.insert_executions(
    p_version => v_version,
    p_ids => array[p_id],
    p_inputs => array[flowgres.check_input(
      p_inputs => v_version.inputs, p_takes_additional => v_version.takes_additional_inputs, p_input => v_input)],
    p_now => p_now,
    p_trigger_type => 'webhook',
    p_trigger => p_trigger,
    p_created_by => 'webhook:' || (p_webhook).id);
  v_is_told := flowgres.wake_runners();
  return v_ids[1];
end;
$$;
comment on function flowgres.start_delivery is $$Start what a delivery starts; returns the id: the one that was given, or by a rule of starts that of another execution

Expressions see trigger.type (webhook), payload, headers, query, path, id and webhook, and event of a CloudEvent.$$;

create or replace function flowgres.log_rejections(p_tenant_id uuid, p_webhook_id uuid, p_rejections jsonb, p_now timestamptz)
  returns integer language plpgsql
as $$
declare
  c_most_logged constant integer := 20;
  v_minute timestamptz := date_trunc('minute', p_now);
  v_count bigint := (select sum(coalesce((r ->> 'count')::integer, 1)) from jsonb_array_elements(p_rejections) as r);
  v_before integer;
begin
  insert into flowgres.webhook_rejections as r (tenant_id, webhook_id, minute, count, expires_at)
  values (
    p_tenant_id, p_webhook_id, v_minute, least(v_count, 2147483647),
    v_minute + make_interval(days => greatest((flowgres.setting(p_tenant_id, 'delivery_retention_days'))::integer, 1)))
  on conflict (tenant_id, webhook_id, minute) do update
  set count = least(r.count + v_count, 2147483647)::integer
  returning greatest(r.count - v_count, 0) into v_before;
  insert into flowgres.webhook_deliveries (
    tenant_id, id, webhook_id, received_at, outcome, http_status, reason, key, content_type, byte_count)
  select
    p_tenant_id, flowgres.uuid_v7(p_now), p_webhook_id, p_now, 'rejected', (r.value ->> 'status')::smallint, r.value ->> 'reason',
    left(r.value ->> 'key', 255), left(r.value ->> 'content_type', 200), (r.value ->> 'bytes')::integer
  from jsonb_array_elements(p_rejections) with ordinality as r (value, place)
  where r.place <= c_most_logged - v_before;
  perform flowgres.count_deliveries(
    p_tenant_id => p_tenant_id, p_outcome => 'rejected', p_reason => c.reason, p_count => c.count)
  from (
    select r ->> 'reason' as reason, sum(coalesce((r ->> 'count')::integer, 1)) as count
    from jsonb_array_elements(p_rejections) as r
    group by 1
  ) as c;
  return greatest(least(jsonb_array_length(p_rejections), c_most_logged - v_before), 0);
end;
$$;
comment on function flowgres.log_rejections(uuid, uuid, jsonb, timestamptz) is $$Log deliveries that were rejected: a list of {status, reason, content_type, bytes, key, count}; returns how many

Twenty rows for a webhook and minute; what comes beyond is counted, so that a flood fills no disk.$$;

set local role flowgres_engine;

create or replace function flowgres.find_webhook(p_token_hash bytea, p_tenant text, p_path text)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_webhook flowgres.webhooks;
begin
  if p_token_hash is not null then
    select w.* into v_webhook from flowgres.webhooks as w where w.token_hash = p_token_hash;
  else
    select w.* into v_webhook
    from flowgres.tenants as t
    join flowgres.webhooks as w on w.tenant_id = t.tenant_id and w.path = p_path
    where t.slug = p_tenant;
  end if;
  if v_webhook.id is null then
    return null;
  end if;
  return jsonb_build_object(
    'id', v_webhook.id,
    'tenant_id', v_webhook.tenant_id,
    'path', v_webhook.path,
    'scheme', v_webhook.scheme,
    'stamp', flowgres.webhook_stamp(p_webhook => v_webhook, p_now => v_now),
    'max_bytes', flowgres.setting(v_webhook.tenant_id, 'max_payload_bytes'),
    'secrets', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', s.name, 'key_id', s.key_id, 'nonce', encode(s.nonce, 'hex'), 'ciphertext', encode(s.ciphertext, 'hex'))
        order by s.name = v_webhook.secret_name desc), '[]')
      from flowgres.secrets as s
      where s.tenant_id = v_webhook.tenant_id and (
        s.name = v_webhook.secret_name or (s.name = v_webhook.previous_secret_name and v_webhook.previous_until > v_now))));
end;
$$;
comment on function flowgres.find_webhook(bytea, text, text) is $$What the front checks deliveries with that come to an address: by the hash of its token, or by tenant and path

Returns {id, tenant_id, path, scheme, stamp, max_bytes, secrets: [{name, key_id, nonce, ciphertext}]}, secrets as they are stored: encrypted.
Null when there is no such address.$$;

create or replace function flowgres.receive_delivery(
  p_tenant_id uuid, p_webhook_id uuid, p_stamp text, p_signed_at bigint, p_key text, p_content_type text, p_byte_count integer,
  p_trigger jsonb, p_answer jsonb,
  out outcome text, out http_status smallint, out reason text, out message text, out execution_id uuid, out delivery_id uuid
)
  language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  c_tolerance_seconds constant integer := 300;
  v_now timestamptz;
  v_webhook flowgres.webhooks;
  v_version flowgres.workflow_versions;
  v_trigger jsonb;
  v_id uuid;
  v_is_new boolean;
begin
  perform flowgres.enter();
  v_now := flowgres.now();
  -- One query, so that webhook and version are of one moment; of the version no more than a start needs.
  select
    h.tenant_id, h.id, h.workflow_id, h.path, h.token_hash, h.scheme, h.secret_name, h.previous_secret_name, h.previous_until, h.input,
    v.tenant_id, v.id, v.workflow_id, v.version, v.step_count, v.hidden_step_count, v.root_indexes, v.inputs,
    v.takes_additional_inputs, v.timeout_seconds, v.priority, v.correlation_path, v.start_rule, v.max_retries
  into
    v_webhook.tenant_id, v_webhook.id, v_webhook.workflow_id, v_webhook.path, v_webhook.token_hash, v_webhook.scheme,
    v_webhook.secret_name, v_webhook.previous_secret_name, v_webhook.previous_until, v_webhook.input,
    v_version.tenant_id, v_version.id, v_version.workflow_id, v_version.version, v_version.step_count,
    v_version.hidden_step_count, v_version.root_indexes, v_version.inputs, v_version.takes_additional_inputs,
    v_version.timeout_seconds, v_version.priority, v_version.correlation_path, v_version.start_rule, v_version.max_retries
  from flowgres.webhooks as h
  left join flowgres.tenants as t on t.tenant_id = h.tenant_id and t.status <> 'suspended'
  left join flowgres.workflows as w
    on w.tenant_id = t.tenant_id and w.id = h.workflow_id and w.status = 'active' and w.deleted_at is null
  left join flowgres.workflow_versions as v
    on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.active_version and v.state not in ('draft', 'invalid')
  where h.tenant_id = p_tenant_id and h.id = p_webhook_id;
  if v_webhook.id is null or flowgres.webhook_stamp(p_webhook => v_webhook, p_now => v_now) is distinct from p_stamp then
    outcome := 'stale';
    return;
  end if;
  if abs(extract(epoch from v_now)::bigint - p_signed_at) > c_tolerance_seconds then
    outcome := 'rejected';
    http_status := 401;
    reason := case when p_signed_at < extract(epoch from v_now) then 'timestamp_too_old' else 'timestamp_too_new' end;
    perform flowgres.log_rejections(
      p_tenant_id => p_tenant_id, p_webhook_id => p_webhook_id, p_now => v_now,
      p_rejections => jsonb_build_array(jsonb_build_object(
        'status', http_status, 'reason', reason, 'key', p_key, 'content_type', p_content_type, 'bytes', p_byte_count)));
    return;
  end if;

  delivery_id := flowgres.uuid_v7(v_now);
  if p_answer is not null then
    outcome := p_answer ->> 'outcome';
    http_status := (p_answer ->> 'status')::smallint;
    reason := p_answer ->> 'reason';
    message := left(p_answer ->> 'message', 1000);
    insert into flowgres.webhook_deliveries (
      tenant_id, id, webhook_id, received_at, outcome, http_status, reason, message, key, content_type, byte_count)
    values (
      p_tenant_id, delivery_id, p_webhook_id, v_now, receive_delivery.outcome, receive_delivery.http_status, receive_delivery.reason,
      receive_delivery.message, p_key, p_content_type, p_byte_count);
    perform flowgres.count_deliveries(
      p_tenant_id => p_tenant_id, p_outcome => receive_delivery.outcome, p_reason => receive_delivery.reason, p_count => 1);
    return;
  end if;
  v_trigger := p_trigger || jsonb_build_object(
    'type', 'webhook', 'webhook', v_webhook.id, 'delivery', delivery_id, 'id', p_key, 'path', v_webhook.path);
  v_id := flowgres.uuid_v7(v_now);
  begin
    v_is_new := true;
    if p_key is not null then
      -- Another one with the same key waits here until this one commits or rolls back.
      insert into flowgres.webhook_keys as k (tenant_id, webhook_id, key, execution_id, expires_at)
      values (p_tenant_id, p_webhook_id, p_key, v_id, flowgres.slots_expire_at(p_tenant_id => p_tenant_id, p_now => v_now))
      on conflict (tenant_id, webhook_id, key) do update
      set execution_id = excluded.execution_id, expires_at = excluded.expires_at
      where k.expires_at <= v_now;
      v_is_new := found;
    end if;
    if v_is_new then
      execution_id := flowgres.start_delivery(
        p_id => v_id, p_webhook => v_webhook, p_version => v_version, p_trigger => v_trigger, p_now => v_now);
      if execution_id <> v_id then
        update flowgres.webhook_keys as k
        set execution_id = receive_delivery.execution_id
        where k.tenant_id = p_tenant_id and k.webhook_id = p_webhook_id and k.key = p_key;
      end if;
      outcome := 'accepted';
      -- Slack takes nothing else for an answer.
      http_status := case v_webhook.scheme when 'slack' then 200 else 202 end;
    else
      select k.execution_id into strict execution_id
      from flowgres.webhook_keys as k
      where k.tenant_id = p_tenant_id and k.webhook_id = p_webhook_id and k.key = p_key;
      outcome := 'duplicate';
      http_status := 200;
      reason := 'known_key';
    end if;
  exception when others then
    -- What has nothing to do with the delivery is the sender's to try again, and nothing is to be remembered of it.
    if sqlstate ~ '^(40|53|54|55|57|58|XX|P0004)' then
      raise;
    end if;
    get stacked diagnostics reason = constraint_name;
    outcome := 'failed';
    execution_id := null;
    reason := coalesce(nullif(reason, ''), 'refused');
    -- What the database says by itself may quote what nobody outside is to read.
    message := case when sqlstate like 'FG___' then left(sqlerrm, 1000) else 'the database cannot take this' end;
    http_status := case
      -- Senders try again, and by then it may be active.
      when reason in ('workflow_not_active', 'version_not_ready', 'version_invalid') then 503
      when sqlstate like 'FG___' then substr(sqlstate, 3)::smallint
      else 422 end;
  end;
  insert into flowgres.webhook_deliveries (
    tenant_id, id, webhook_id, received_at, outcome, http_status, reason, message, key, execution_id, content_type, byte_count, trigger)
  values (
    p_tenant_id, delivery_id, p_webhook_id, v_now, receive_delivery.outcome, receive_delivery.http_status, receive_delivery.reason,
    receive_delivery.message, p_key, receive_delivery.execution_id, p_content_type, p_byte_count,
    case when receive_delivery.outcome = 'failed' and http_status <> 413 then v_trigger end);
  perform flowgres.count_deliveries(
    p_tenant_id => p_tenant_id, p_outcome => receive_delivery.outcome, p_reason => receive_delivery.reason, p_count => 1);
end;
$$;
comment on function flowgres.receive_delivery is $$Take a delivery whose signature is right: start its execution once, and log it, in one transaction

p_stamp is that of find_webhook: outcome stale, and nothing done, when the webhook has changed since or is gone. p_signed_at is when the sender
signed, in seconds; null where the scheme has no time. p_key is what the sender calls the delivery. p_trigger is {payload, headers, query}.
p_answer is what the front has answered by itself and only wants logged: {outcome, status, reason, message}, for a body that it cannot read
and for questions of the sender's.
Outcomes: accepted 202, duplicate 200 with the execution of the first one, rejected 401 for its time, failed with the status that a
start would have had (503 while the workflow is not active).$$;

create or replace function flowgres.reject_deliveries(p_rejections jsonb)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_webhook record;
  v_logged integer := 0;
begin
  -- In the order of the keys of what they lock.
  for v_webhook in
    select w.tenant_id, w.id, jsonb_agg(r.value order by r.place) as rejections
    from jsonb_array_elements(p_rejections) with ordinality as r (value, place)
    join flowgres.webhooks as w on w.tenant_id = (r.value ->> 'tenant_id')::uuid and w.id = (r.value ->> 'webhook_id')::uuid
    group by w.tenant_id, w.id
    order by w.tenant_id, w.id
  loop
    v_logged := v_logged + flowgres.log_rejections(
      p_tenant_id => v_webhook.tenant_id, p_webhook_id => v_webhook.id, p_rejections => v_webhook.rejections, p_now => v_now);
  end loop;
  return v_logged;
end;
$$;
comment on function flowgres.reject_deliveries(jsonb) is $$Log deliveries that the front has rejected: a list of {tenant_id, webhook_id, status, reason, content_type, bytes, count}; returns how many

Those beyond twenty for a webhook and minute are only counted.$$;
