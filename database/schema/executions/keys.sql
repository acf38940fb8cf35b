-- Idempotency keys: what a caller asks for twice, because the answer was lost, happens once.

set local role flowgres_owner;

create or replace function flowgres.given_key(p_function text, p_key text)
  returns text language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_header text;
begin
  -- Of this very call alone: another function that calls several of ours would give all of them one key.
  if current_setting('request.path', true) is distinct from '/rpc/' || p_function then
    return p_key;
  end if;
  v_header := current_setting('request.headers', true)::json ->> 'idempotency-key';
  -- The standard in the making has it as a text in quotes; most send it bare.
  if v_header ~ '^".*"$' then
    v_header := substr(v_header, 2, length(v_header) - 2);
  end if;
  if v_header <> p_key then
    perform flowgres.fail(
      p_status => 400, p_code => 'idempotency_key_conflict', p_message => 'the header Idempotency-Key and idempotency_key are two keys',
      p_details => 'idempotency_key', p_hint => 'Send one of them.');
  end if;
  return coalesce(p_key, v_header);
end;
$$;
comment on function flowgres.given_key(text, text) is $$The idempotency key of a call: its argument, or over HTTP the header Idempotency-Key.$$;

create or replace function flowgres.take_key(
  p_tenant_id uuid, p_scope_id uuid, p_key text, p_subject_id uuid, p_payload jsonb
)
  returns uuid language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_hash bytea := sha256(convert_to(p_payload::text, 'UTF8'));
  v_key flowgres.idempotency_keys;
begin
  if length(p_key) not between 1 and 255 or p_key ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' then
    perform flowgres.fail(
      p_status => 400, p_code => 'idempotency_key_invalid',
      p_message => 'an idempotency key is 1 to 255 printable characters', p_details => 'idempotency_key', p_hint => 'A UUID is a good key.');
  end if;
  -- A concurrent call with the same key waits here until the other one commits or rolls back.
  insert into flowgres.idempotency_keys as k (tenant_id, workflow_id, key, execution_id, payload_hash, expires_at)
  values (
    p_tenant_id, p_scope_id, p_key, p_subject_id, v_hash,
    v_now + make_interval(days => (flowgres.setting(p_tenant_id, 'idempotency_key_days'))::integer))
  on conflict (tenant_id, workflow_id, key) do update
  set execution_id = excluded.execution_id, payload_hash = excluded.payload_hash, expires_at = excluded.expires_at
  where k.expires_at <= v_now
  returning k.* into v_key;
  if v_key.execution_id is not null then
    return null;
  end if;
  select k.* into strict v_key
  from flowgres.idempotency_keys as k
  where k.tenant_id = p_tenant_id and k.workflow_id = p_scope_id and k.key = p_key;
  if v_key.payload_hash <> v_hash then
    perform flowgres.fail(
      p_status => 422, p_code => 'idempotency_key_reused',
      p_message => format('idempotency key %L was used with another payload', p_key),
      -- A key of a transition is the instance's own, and stands for it.
      p_details => format(
        case when p_subject_id = p_scope_id then 'It stands for a transition of the instance %s.' else 'It stands for the execution %s.' end,
        v_key.execution_id),
      p_hint => 'Use a new key for a new request.');
  end if;
  return v_key.execution_id;
end;
$$;
comment on function flowgres.take_key(uuid, uuid, text, uuid, jsonb) is $$Take an idempotency key for what is about to be done; null when it is the caller's

Otherwise what it stands for already: the execution of an earlier start, or the instance that was moved. p_scope_id is what the key is unique in: the workflow of a start,
the instance of a transition. Refuses a key that was used with another payload.$$;
