-- What must happen because time has passed. Called by every runner about once a second; each call is bounded.

set local role flowgres_engine;

create or replace function flowgres.prune(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_count integer;
  v_slots integer;
  v_events integer;
  v_starts integer;
  v_webhooks integer;
begin
  delete from flowgres.idempotency_keys as k
  where (k.tenant_id, k.workflow_id, k.key) in (
    select d.tenant_id, d.workflow_id, d.key
    from flowgres.idempotency_keys as d
    where d.expires_at <= v_now
    order by d.expires_at
    limit p_limit
    for update skip locked);
  get diagnostics v_count = row_count;
  delete from flowgres.schedule_slots as s
  where (s.tenant_id, s.schedule_id, s.slot) in (
    select d.tenant_id, d.schedule_id, d.slot
    from flowgres.schedule_slots as d
    where d.expires_at <= v_now
    order by d.expires_at
    limit p_limit
    for update skip locked);
  get diagnostics v_slots = row_count;
  delete from flowgres.event_keys as k
  where (k.tenant_id, k.name, k.key) in (
    select d.tenant_id, d.name, d.key
    from flowgres.event_keys as d
    where d.expires_at <= v_now
    order by d.expires_at
    limit p_limit
    for update skip locked);
  get diagnostics v_events = row_count;
  perform flowgres.forget_runners(p_before => v_now - interval '7 days');
  v_webhooks := flowgres.prune_webhooks(p_limit => p_limit);
  v_starts := flowgres.prune_starts(p_limit => p_limit, p_now => v_now);
  return greatest(
    v_count, v_slots, v_events, v_webhooks, v_starts, flowgres.prune_streams(p_limit => 10 * p_limit));
end;
$$;
comment on function flowgres.prune(integer) is $$Delete what has expired, a bounded number of each

Keys of starts, events and deliveries, counts of starts, slots of schedules, changes told to streams; and runners long gone.$$;

create or replace function flowgres.get_secrets(p_tenant_id uuid, p_names text[])
  returns table (name text, key_id text, nonce bytea, ciphertext bytea) language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select s.name, s.key_id, s.nonce, s.ciphertext
  from flowgres.secrets as s
  where s.tenant_id = p_tenant_id and s.name = any(p_names);
$$;
comment on function flowgres.get_secrets(uuid, text[]) is $$Encrypted secrets of a tenant, for the runner that has the key.$$;
