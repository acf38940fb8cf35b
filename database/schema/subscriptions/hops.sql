-- What keeps workflows from starting each other for ever.

set local role flowgres_owner;

create or replace function flowgres.count_hops(p_tenant_id uuid)
  returns smallint language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  -- An http step sends Idempotency-Key: <execution>/<step>, unless its author set another. Whoever writes for an execution in
  -- SQL says so by the setting.
  v_origin text := left(coalesce(
    nullif(current_setting('flowgres.origin', true), ''),
    nullif(current_setting('request.headers', true), '')::json ->> 'idempotency-key'), 36);
begin
  if v_origin is null or v_origin !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
    return 0;
  end if;
  return coalesce((
    select least(coalesce((e.trigger ->> 'hops')::integer, 0) + 1, 32767)
    from flowgres.executions as e
    where e.tenant_id = p_tenant_id and e.id = v_origin::uuid), 0);
end;
$$;
comment on function flowgres.count_hops(uuid) is $$How many executions in a row, each started by an event or change of the one before, led to this call

0 when no execution of the tenant is known to have called: it is told by the setting flowgres.origin (its id), or by the header
Idempotency-Key that http steps send. Who tells nothing is not bounded by this, only by how much a tenant may start.$$;

create or replace function flowgres.refuse_loop(p_tenant_id uuid, p_hops integer)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_most integer := (flowgres.setting(p_tenant_id, 'max_event_hops'))::integer;
begin
  if p_hops > v_most then
    perform flowgres.fail(
      p_status => 409, p_code => 'event_loop',
      p_message => format('%s executions in a row have started each other, and %s are the most', p_hops, v_most),
      p_hint => 'A workflow leads to its own trigger: give the trigger a filter (when) that ends it, or ask an operator to raise max_event_hops.');
  end if;
end;
$$;
comment on function flowgres.refuse_loop(uuid, integer) is $$Refuse to start one more execution of a row in which each has started the next.$$;

create or replace function flowgres.record_refusal(
  p_subscription_id uuid, p_tenant_id uuid, p_code text, p_message text, p_now timestamptz, p_count integer default 1
)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  -- Past who holds it: nobody who tells of an event waits for another one. Once a minute is enough of the same.
  update flowgres.subscriptions as s
  set last_error = jsonb_build_object('code', p_code, 'message', left(p_message, 1000), 'at', p_now, 'count', p_count)
  where s.tenant_id = p_tenant_id and s.id in (
    select d.id
    from flowgres.subscriptions as d
    where d.tenant_id = p_tenant_id and d.id = p_subscription_id
      and (d.last_error is null or d.last_error ->> 'code' <> p_code or (d.last_error ->> 'at')::timestamptz < p_now - interval '1 minute')
    for no key update skip locked);
end;
$$;
comment on function flowgres.record_refusal(uuid, uuid, text, text, timestamptz, integer) is $$Tell the author of a subscription what it was meant for and did not start.$$;

create or replace function flowgres.read_refusal(p_sqlstate text, p_constraint text, p_message text)
  returns text language sql immutable parallel safe
as $$
  -- Under PostgREST a refusal is one JSON text (fail()).
  select case when p_sqlstate = 'PGRST' then p_message::jsonb ->> 'code' else coalesce(nullif(p_constraint, ''), p_sqlstate) end;
$$;
comment on function flowgres.read_refusal(text, text, text) is $$The stable code of an error that was caught.$$;
