-- Who calls: an API key or the claims of a verified token become a tenant, a role and an actor.
--
-- PostgREST calls pre_request before every request; the front calls assume_caller itself. Both go through authenticate, so a
-- caller is the same whichever door is used. Nothing here writes: GET requests run in read-only transactions.

set local role flowgres_engine;

create or replace function flowgres.authenticate_key(p_key text)
  returns table (tenant_id uuid, role text, actor text, roles jsonb)
  language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_is_formed boolean := length(p_key) = 105 and p_key ~ '^fg_live_[0-9a-f]{32}_[0-9a-f]{64}$';
  -- A malformed key goes the whole way too, with values that fit no row, so that time tells nothing.
  v_key text := case when v_is_formed then p_key else 'fg_live_' || repeat('0', 32) || '_' || repeat('0', 64) end;
begin
  return query
  select k.tenant_id, k.role, 'key:' || k.prefix, to_jsonb(k.roles)
  from flowgres.api_keys as k
  join flowgres.tenants as t on t.tenant_id = k.tenant_id
  where k.tenant_id = substr(v_key, 9, 32)::uuid
    and k.prefix = substr(v_key, 42, 8)
    -- Both sides are SHA-256: how far they agree says nothing about the key, so plain equality is safe.
    and k.key_hash = sha256(convert_to(v_key, 'UTF8'))
    and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > v_now)
    and t.status <> 'suspended';
end;
$$;
comment on function flowgres.authenticate_key(text) is $$The holder of an API key; no row for any key that is not good

Reads across tenants, so it answers for a whole key only.$$;

create or replace function flowgres.is_tenant_open(p_tenant_id uuid)
  returns boolean language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  -- In PL/pgSQL, which keeps its plan: one in SQL that cannot be inlined is planned in each request anew.
  return exists (select from flowgres.tenants as t where t.tenant_id = p_tenant_id and t.status <> 'suspended');
end;
$$;
comment on function flowgres.is_tenant_open(uuid) is $$Whether a token may still speak for this tenant.$$;

set local role flowgres_owner;

create or replace function flowgres.refuse_caller()
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  -- One answer for every reason: which part was wrong is nobody's business.
  perform flowgres.fail(
    p_status => 401, p_code => 'invalid_credentials', p_message => 'a valid API key or token is required',
    p_hint => 'Send X-API-Key: fg_live_... or Authorization: Bearer <JWT with exp, tenant_id, role>.',
    p_headers => '{"WWW-Authenticate": "Bearer realm=\"flowgres\""}');
end;
$$;
comment on function flowgres.refuse_caller() is $$The 401 of every bad or missing credential.$$;

create or replace function flowgres.authenticate(
  p_api_key text, p_claims jsonb,
  out tenant_id uuid, out role text, out actor text, out roles jsonb
)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if p_api_key is not null and p_claims is not null then
    perform flowgres.fail(
      p_status => 400, p_code => 'ambiguous_credentials', p_message => 'the request carries an API key and a token',
      p_hint => 'Send one of X-API-Key and Authorization.');
  end if;

  if p_api_key is not null then
    select k.tenant_id, k.role, k.actor, k.roles into tenant_id, role, actor, roles
    from flowgres.authenticate_key(p_key => p_api_key) as k;
  elsif jsonb_typeof(p_claims -> 'exp') = 'number'
    and p_claims ->> 'role' in ('flowgres_viewer', 'flowgres_member', 'flowgres_admin', 'flowgres_worker')
    and p_claims ->> 'tenant_id' ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
    and flowgres.is_tenant_open(p_tenant_id => (p_claims ->> 'tenant_id')::uuid)
  then
    tenant_id := (p_claims ->> 'tenant_id')::uuid;
    role := substr(p_claims ->> 'role', length('flowgres_') + 1);
    actor := left(regexp_replace(coalesce(nullif(p_claims ->> 'sub', ''), 'token'), '[\u0001-\u001f\u007f-\u009f\u2028\u2029]', '', 'g'), 200);
    -- A subject cannot pass for a key, a database login or an execution.
    if actor ~ '^((key|login|execution|sub):|anonymous$)' then
      actor := 'sub:' || actor;
    end if;
    roles := case when jsonb_typeof(p_claims -> 'roles') = 'array' then p_claims -> 'roles' else '[]' end;
  end if;

  if tenant_id is null then
    perform flowgres.refuse_caller();
  end if;
end;
$$;
comment on function flowgres.authenticate(text, jsonb) is $$Who a credential stands for

Give the API key or the claims of a token whose signature and times were verified. Returns tenant, role (viewer, member,
admin, worker), actor and business roles, of a worker its queues as queue:<name>; refuses with 401 invalid_credentials, the same for every reason, or 400.$$;

-- Something to lock that nobody else has a right on: an advisory lock is anybody's, and who held it would shut out all tenants.
-- A view, because dumps lock tables. The weakest lock that there is waits for an upgrade alone (locks.py).
create or replace view flowgres.door with (security_invoker = true) as select true as is_there;
comment on view flowgres.door is $$What callers lock while they are inside, and an upgrade while it is at work$$;
comment on column flowgres.door.is_there is $$Always true: nobody reads it$$;

create or replace function flowgres.enter()
  returns void language plpgsql volatile security definer set search_path to pg_catalog, pg_temp
as $$
begin
  lock table flowgres.door in access share mode;
end;
$$;
comment on function flowgres.enter() is $$Wait at the door while an upgrade is at work

The first thing that a caller does in its transaction, so that who waits here holds nothing that the upgrade could want.$$;

create or replace function flowgres.assume_caller(p_api_key text, p_claims jsonb)
  returns text language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_caller record;
begin
  perform flowgres.enter();
  select c.* into v_caller from flowgres.authenticate(p_api_key => p_api_key, p_claims => p_claims) as c;
  -- SET and not set_config for the tenant: only SET reaches the workers of a distributed installation.
  execute format('set local flowgres.tenant_id = %L', v_caller.tenant_id);
  perform
    set_config('flowgres.actor', v_caller.actor, true),
    set_config('flowgres.roles', v_caller.roles::text, true),
    set_config('role', 'flowgres_' || v_caller.role, true);
  return v_caller.role;
end;
$$;
comment on function flowgres.assume_caller(text, jsonb) is $$Become the caller for the rest of the transaction

Sets tenant, actor, business roles and the database role. SECURITY INVOKER, because only the login's own memberships may decide
which role it can take. The front begins every transaction with it.$$;

create or replace function flowgres.check_privilege(p_method text, p_path text)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_name text := substring(p_path from '^/(?:rpc/)?([^/]+)$');
  v_function regproc;
  v_view regclass;
begin
  -- PostgreSQL would refuse too, but PostgREST words that refusal by the token alone and would tell the holder of a key 401.
  if v_name is null then
    return;
  elsif p_path like '/rpc/%' then
    v_function := to_regproc(format('flowgres_api.%I', v_name));
    if v_function is null or has_function_privilege(v_function::oid, 'execute') then
      return;
    end if;
  else
    v_view := to_regclass(format('flowgres_api.%I', v_name));
    if v_view is null then
      return;
    elsif p_method not in ('GET', 'HEAD', 'OPTIONS') then
      perform flowgres.fail(
        p_status => 405, p_code => 'read_only', p_message => format('/%s is read-only', v_name),
        p_hint => 'Changes go through POST /rpc/..., listed at /.', p_headers => '{"Allow": "GET, HEAD, OPTIONS"}');
    elsif has_table_privilege(v_view, 'select') then
      return;
    end if;
  end if;
  if current_user = 'flowgres_anon' then
    perform flowgres.refuse_caller();
  end if;
  perform flowgres.fail(
    p_status => 403, p_code => 'insufficient_role',
    p_message => format('the role %s may not use %s', substr(current_user, length('flowgres_') + 1), p_path),
    p_hint => 'Use a key or token of a stronger role: viewer reads, member runs, admin administers; worker does tasks alone.');
end;
$$;
comment on function flowgres.check_privilege(text, text) is $$Refuse what the caller's role may not use, with the right status.$$;

create or replace function flowgres.pre_request()
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_headers json := nullif(current_setting('request.headers', true), '')::json;
  v_api_key text := v_headers ->> 'x-api-key';
  -- Any Authorization header is a credential, even one that PostgREST takes for none, such as an empty bearer.
  v_has_token boolean := v_headers ->> 'authorization' is not null or current_user <> 'flowgres_anon';
begin
  if v_api_key is not null or v_has_token then
    perform flowgres.assume_caller(
      p_api_key => v_api_key,
      p_claims => case when v_has_token
        then coalesce(nullif(current_setting('request.jwt.claims', true), '')::jsonb, '{}') end);
  else
    perform flowgres.enter();
    perform set_config('flowgres.actor', 'anonymous', true);
  end if;
  perform flowgres.check_privilege(
    p_method => current_setting('request.method', true), p_path => current_setting('request.path', true));
end;
$$;
comment on function flowgres.pre_request() is $$PostgREST's db-pre-request: authenticate and take the role

SECURITY INVOKER and without a write. A caller without credentials stays flowgres_anon.$$;
