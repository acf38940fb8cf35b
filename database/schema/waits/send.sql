-- Signals that are sent.

set local role flowgres_owner;

create or replace function flowgres.check_signal(p_tenant_id uuid, p_name text, p_payload jsonb, p_execution_id uuid, p_key text)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_execution record;
begin
  if p_name is null or p_name !~ '^[a-z][a-z0-9_]{0,62}$' then
    perform flowgres.fail(
      p_status => 422, p_code => 'signal_name_invalid', p_message => format('"%s" is no name of a signal', left(p_name, 60)),
      p_details => 'name', p_hint => 'A lower-case letter, then letters, digits and _, 63 at most.');
  elsif p_key is not null and p_execution_id is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'conflicting_arguments', p_message => 'a signal goes to an execution or has a key, not both',
      p_details => 'key', p_hint => 'Leave out key or execution_id.');
  elsif not flowgres.is_signal_key(p_key) then
    perform flowgres.fail(
      p_status => 422, p_code => 'signal_key_invalid', p_message => 'a key is 1 to 255 printable characters', p_details => 'key',
      p_hint => 'The id of an order is a good key.');
  end if;
  perform flowgres.check_payload(p_tenant_id => p_tenant_id, p_payload => p_payload, p_what => 'the payload');
  if p_execution_id is not null then
    select e.finished_at is not null as has_ended, e.status into v_execution
    from flowgres.executions as e
    where e.tenant_id = p_tenant_id and e.id = p_execution_id and not flowgres.is_hidden(e.id);
    if not found then
      perform flowgres.fail_execution_not_found(p_execution_id => p_execution_id);
    elsif v_execution.has_ended then
      perform flowgres.fail(
        p_status => 409, p_code => 'execution_ended', p_message => format('execution %s has ended: %s', p_execution_id, v_execution.status),
        p_hint => 'Nothing in it waits for a signal any more.');
    end if;
  end if;
end;
$$;
comment on function flowgres.check_signal(uuid, text, jsonb, uuid, text) is $$Refuse a signal that is none, or that nobody could take.$$;

create or replace function flowgres.check_signal_room(p_tenant_id uuid)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
  -- By the index of what lies, and of this tenant alone: a bounded number of entries, whatever others have.
  set enable_seqscan to off set enable_bitmapscan to off set jit to off
as $$
declare
  v_most integer := (flowgres.setting(p_tenant_id, 'max_signals'))::integer;
begin
  if v_most <= (
    select count(*)
    from (
      select from flowgres.signals as s
      where s.tenant_id = p_tenant_id and s.consumed_at is null and s.kind = 'signal' and s.name <> '$callback'
      limit greatest(v_most, 0)
    ) as s)
  then
    perform flowgres.fail(
      p_status => 429, p_code => 'too_many_signals', p_message => format('%s signals lie here that no step has taken', v_most),
      p_hint => 'Send signals that a step waits for: the view signals has those that lie. Or ask an operator to raise max_signals.');
  end if;
end;
$$;
comment on function flowgres.check_signal_room(uuid) is $$Refuse a signal where as many lie as a tenant may have

Looks at one entry of an index for each that lies, max_signals at most.$$;

create or replace function flowgres.count_waits(
  p_tenant_id uuid, p_name text, p_address text, p_most integer
)
  returns integer language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select count(*)
    from (
      select from flowgres.list_waits(p_tenant_id => p_tenant_id, p_name => p_name, p_address => p_address) limit p_most
    ) as w);
end;
$$;
comment on function flowgres.count_waits(uuid, text, text, integer) is $$How many steps wait for a signal with this address, p_most at most.$$;

create or replace function flowgres.sent_signal(
  p_tenant_id uuid, p_name text, p_idempotency_key text, p_payload jsonb, p_address text
)
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_sent flowgres.signals;
begin
  if p_idempotency_key is null then
    return null;
  end if;
  select s.* into v_sent
  from flowgres.signals as s
  where s.tenant_id = p_tenant_id and s.name = p_name and s.idempotency_key = p_idempotency_key;
  if v_sent.payload <> p_payload or v_sent.address <> p_address then
    perform flowgres.fail(
      p_status => 422, p_code => 'idempotency_key_reused', p_message => 'this idempotency key was used for another signal',
      p_details => 'idempotency_key', p_hint => 'Use a new key for a new signal.');
  end if;
  return v_sent.woken;
end;
$$;
comment on function flowgres.sent_signal(uuid, text, text, jsonb, text) is $$What was answered to the call that sent a signal with this key; null when none did

Refuses a key that was used for another signal.$$;

set local role flowgres_definer;

create or replace function flowgres.send_signal(
  p_name text, p_payload jsonb, p_execution_id uuid, p_key text, p_idempotency_key text
)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_now timestamptz := flowgres.now();
  v_payload jsonb := coalesce(p_payload, '{}');
  v_address text := flowgres.signal_address(p_key => p_key, p_execution_id => p_execution_id);
  v_lying integer;
  v_waiting integer;
  v_woken integer;
  v_sent flowgres.signals;
begin
  perform flowgres.check_tenant_may_start(v_tenant_id);
  if length(p_idempotency_key) not between 1 and 255 then
    perform flowgres.fail(
      p_status => 422, p_code => 'idempotency_key_invalid', p_message => 'an idempotency key has 1 to 255 characters',
      p_details => 'idempotency_key', p_hint => 'A UUID is a good key.');
  end if;
  -- Before anything else is asked: since it was sent its execution may have ended, by this very signal.
  v_woken := flowgres.sent_signal(
    p_tenant_id => v_tenant_id, p_name => p_name, p_idempotency_key => p_idempotency_key, p_payload => v_payload, p_address => v_address);
  if v_woken is not null then
    return v_woken;
  end if;
  perform flowgres.check_signal(
    p_tenant_id => v_tenant_id, p_name => p_name, p_payload => v_payload, p_execution_id => p_execution_id, p_key => p_key);
  perform flowgres.check_signal_room(p_tenant_id => v_tenant_id);
  -- What lies before it comes first.
  select count(*) into v_lying
  from (
    select from flowgres.signals as s
    where s.tenant_id = v_tenant_id and s.name = p_name and s.address = v_address and s.kind = 'signal' and s.consumed_at is null
      and s.expires_at > v_now
    limit 1000
  ) as s;
  v_waiting := flowgres.count_waits(
    p_tenant_id => v_tenant_id, p_name => p_name, p_address => v_address, p_most => v_lying + 1);
  v_woken := (v_waiting > v_lying)::integer;
  -- A concurrent call with the same key waits here until the other one commits or rolls back.
  insert into flowgres.signals as s (
    tenant_id, id, kind, name, address, key, execution_id, payload, sent_by, idempotency_key, woken, received_at, expires_at)
  values (
    v_tenant_id, flowgres.uuid_v7(v_now), 'signal', p_name, v_address, p_key, p_execution_id, v_payload, flowgres.actor(),
    p_idempotency_key, v_woken, v_now, v_now + interval '7 days')
  on conflict (tenant_id, name, idempotency_key) where idempotency_key is not null do nothing
  returning s.* into v_sent;
  if v_sent.id is null then
    return flowgres.sent_signal(
      p_tenant_id => v_tenant_id, p_name => p_name, p_idempotency_key => p_idempotency_key, p_payload => v_payload,
      p_address => v_address);
  end if;
  insert into flowgres.pending_wakes (tenant_id, name, address, requested_at) values (v_tenant_id, p_name, v_address, v_now);
  if v_waiting > 0 then
    perform flowgres.wake_runners();
  end if;
  return v_woken;
end;
$$;
comment on function flowgres.send_signal(text, jsonb, uuid, text, text) is $$Send a signal: it wakes the step that has waited for it longest, or lies here until one does.$$;
