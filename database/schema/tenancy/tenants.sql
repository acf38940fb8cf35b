-- Tenants and their API keys: registering, issuing, rotating, revoking; and the audit of administrative acts.

set local role flowgres_owner;

insert into flowgres.settings (name, value, description) values
  ('api_key_grace_seconds', '86400', 'How long a rotated API key keeps working, unless the call says otherwise')
on conflict (tenant_id, name) do nothing;

create or replace function flowgres.is_operator()
  returns boolean language sql stable set search_path to pg_catalog, pg_temp
as $$
  select pg_catalog.pg_has_role(session_user, 'flowgres_operator', 'member');
$$;
comment on function flowgres.is_operator() is $$Whether the login is an operator

By the login and not by the current role, so that it holds inside SECURITY DEFINER functions.$$;

create or replace function flowgres.record_audit(
  p_action text, p_subject text, p_details jsonb default null, p_tenant_id uuid default null, p_actor text default null
)
  returns void language sql set search_path to pg_catalog, pg_temp
as $$
  insert into flowgres.audit_log (tenant_id, id, at, actor, action, subject, details)
  select
    coalesce(p_tenant_id, flowgres.tenant_id(), flowgres.system_tenant_id()), flowgres.uuid_v7(n.now), n.now,
    coalesce(p_actor, flowgres.actor()), p_action, p_subject, p_details
  from (select flowgres.now() as now) as n;
$$;
comment on function flowgres.record_audit(text, text, jsonb, uuid, text) is $$Write down an administrative act of the caller, under the caller's tenant

What the engine does by itself names its tenant and its actor.$$;

create or replace function flowgres.require_text(p_argument text, p_value text, p_max_length integer)
  returns text language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
begin
  if coalesce(length(btrim(p_value)), 0) not between 1 and p_max_length or p_value ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid',
      p_message => format('%s must be a text of 1 to %s printable characters', p_argument, p_max_length),
      p_details => p_argument);
  end if;
  return btrim(p_value);
end;
$$;
comment on function flowgres.require_text(text, text, integer) is $$A short, visible text, trimmed; refuses anything else.$$;

create or replace function flowgres.slug_of(p_name text)
  returns text language sql immutable set search_path to pg_catalog, pg_temp
as $$
  select case when s.slug ~ '^[a-z]' then s.slug else rtrim(left('tenant-' || s.slug, 50), '-_') end
  from (
    select rtrim(left(btrim(regexp_replace(lower(p_name collate "C"), '[^a-z0-9_]+', '-', 'g'), '-_'), 50), '-_') as slug
  ) as s;
$$;
comment on function flowgres.slug_of(text) is $$An identifier made from a display name; room is left for a suffix.$$;

create or replace function flowgres.random_hex()
  returns text language sql volatile set search_path to pg_catalog, pg_temp
as $$
  -- A version 4 UUID carries 122 bits of the strong random source: three of them fill a SHA-256.
  select encode(sha256(
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex');
$$;
comment on function flowgres.random_hex() is $$256 random bits as 64 hexadecimal digits, without an extension.$$;

create or replace function flowgres.issue_api_key(
  p_tenant_id uuid, p_name text, p_role text, p_roles text[], p_expires_at timestamptz, p_created_by text
)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_random text;
  v_key text;
begin
  loop
    v_random := flowgres.random_hex();
    v_key := 'fg_live_' || replace(p_tenant_id::text, '-', '') || '_' || v_random;
    insert into flowgres.api_keys as k (tenant_id, prefix, name, key_hash, role, roles, created_by, created_at, expires_at)
    values (
      p_tenant_id, left(v_random, 8), p_name, sha256(convert_to(v_key, 'UTF8')), p_role, p_roles, p_created_by,
      flowgres.now(), p_expires_at)
    on conflict (tenant_id, prefix) do nothing;
    exit when found;
  end loop;
  return jsonb_build_object(
    'api_key', v_key, 'prefix', left(v_random, 8), 'name', p_name, 'role', p_role, 'roles', to_jsonb(p_roles),
    'expires_at', p_expires_at, 'tenant_id', p_tenant_id);
end;
$$;
comment on function flowgres.issue_api_key is $$Make an API key and store its hash

Returns the only copy of the key there will ever be. The key names its tenant, so that installations can be divided by tenant.$$;

create or replace function flowgres.answer_created()
  returns void language sql set search_path to pg_catalog, pg_temp
as $$
  select set_config('response.status', '201', true);
$$;
comment on function flowgres.answer_created() is $$Make PostgREST answer 201; means nothing elsewhere.$$;

set local role flowgres_definer;

create or replace function flowgres.register_tenant(p_name text, p_slug text default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_name text;
  v_slug text;
  v_wanted text;
  v_tenant_id uuid := gen_random_uuid();
  v_caller_tenant text := coalesce(current_setting('flowgres.tenant_id', true), '');
  v_try integer := 0;
  v_key jsonb;
begin
  if not flowgres.is_operator()
    and flowgres.setting(flowgres.system_tenant_id(), 'self_registration_enabled') is distinct from 'true'
  then
    perform flowgres.fail(
      p_status => 403, p_code => 'registration_disabled', p_message => 'this installation does not let tenants register themselves',
      p_hint => 'Ask its operator, who runs: flowgres tenants register NAME');
  end if;
  v_name := flowgres.require_text(p_argument => 'name', p_value => p_name, p_max_length => 200);
  v_wanted := coalesce(p_slug, flowgres.slug_of(v_name));
  if v_wanted !~ '^[a-z][a-z0-9_-]{0,62}$' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'slug must be an identifier', p_details => 'slug',
      p_hint => 'Lower case letters, digits, _ and -, a letter first, at most 63.');
  end if;

  -- As the new tenant from here on: the policies let this function write nobody else's rows.
  execute format('set local flowgres.tenant_id = %L', v_tenant_id);
  if flowgres.tenant_id() is distinct from v_tenant_id then
    perform flowgres.fail(
      p_status => 403, p_code => 'registration_disabled', p_message => 'this login works for one tenant and cannot register others',
      p_hint => 'Connect as an operator.');
  end if;
  loop
    insert into flowgres.tenants (tenant_id, slug, name, created_at, updated_at)
    values (
      v_tenant_id, case when v_try = 0 then v_wanted else v_wanted || '-' || left(flowgres.random_hex(), 6) end, v_name,
      flowgres.now(), flowgres.now())
    on conflict do nothing
    returning slug into v_slug;
    exit when found;
    -- One made from the name may be another; one that was asked for is that one.
    if p_slug is not null then
      perform flowgres.fail(
        p_status => 409, p_code => 'tenant_slug_taken', p_message => format('there is a tenant %L already', p_slug),
        p_hint => 'Name another slug, or none: then it is made from the name, and is another where that is taken.');
    end if;
    v_try := v_try + 1;
  end loop;
  v_key := flowgres.issue_api_key(
    p_tenant_id => v_tenant_id, p_name => 'first', p_role => 'admin', p_roles => '{}', p_expires_at => null,
    p_created_by => flowgres.actor());
  perform flowgres.record_audit(p_action => 'tenant_registered', p_subject => v_name);
  execute format('set local flowgres.tenant_id = %L', v_caller_tenant);

  perform flowgres.answer_created();
  return jsonb_build_object(
    'tenant_id', v_tenant_id, 'slug', v_slug, 'name', v_name, 'api_key', v_key -> 'api_key', 'prefix', v_key -> 'prefix',
    'role', 'admin', 'slug_taken', case when v_slug <> v_wanted then v_wanted end);
end;
$$;
comment on function flowgres.register_tenant(text, text) is $$Make a tenant and its first API key, an administrator's

Anyone may while the setting self_registration_enabled is true; an operator always may. Without a slug it is made from the
name; slug_taken of the answer is what that would have been, when another tenant has it.$$;

create or replace function flowgres.create_api_key(
  p_name text, p_role text, p_expires_at timestamptz, p_roles text[], p_queues text[]
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_name text := flowgres.require_text(p_argument => 'name', p_value => p_name, p_max_length => 200);
  v_roles text[] := coalesce(p_roles, '{}');
  v_role text;
  v_key jsonb;
begin
  if p_role is null or p_role not in ('viewer', 'member', 'admin', 'worker') then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => format('role %L is unknown', p_role), p_details => 'role',
      p_hint => 'One of viewer, member, admin, worker.');
  end if;
  if p_expires_at <= flowgres.now() then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'expires_at lies in the past', p_details => 'expires_at');
  end if;
  if cardinality(p_roles) > 32 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'a key has at most 32 business roles', p_details => 'roles');
  end if;
  if (p_role = 'worker') <> (coalesce(p_queues, '{}') <> '{}') or cardinality(p_queues) > 32 or p_role = 'worker' and v_roles <> '{}' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'a key of a worker has 1 to 32 queues, and no other key has any',
      p_details => 'queues', p_hint => 'role worker with queues: ["mail"], and without business roles.');
  end if;
  foreach v_role in array v_roles loop
    perform flowgres.require_text(p_argument => 'roles', p_value => v_role, p_max_length => 63);
  end loop;
  foreach v_role in array coalesce(p_queues, '{}') loop
    -- What a worker serves is what it may decide.
    v_roles := v_roles || ('queue:' || flowgres.require_queue(p_queue => v_role));
  end loop;

  v_key := flowgres.issue_api_key(
    p_tenant_id => v_tenant_id, p_name => v_name, p_role => p_role, p_roles => v_roles,
    p_expires_at => p_expires_at, p_created_by => flowgres.actor());
  perform flowgres.record_audit(
    p_action => 'api_key_created', p_subject => v_key ->> 'prefix', p_details => v_key - array['api_key', 'tenant_id']);
  perform flowgres.answer_created();
  return v_key;
end;
$$;
comment on function flowgres.create_api_key(text, text, timestamptz, text[], text[]) is $$Make an API key of the caller's tenant; the key is returned once.$$;

create or replace function flowgres.find_api_key(p_prefix text)
  returns flowgres.api_keys language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_key flowgres.api_keys;
begin
  select k.* into v_key
  from flowgres.api_keys as k
  where k.tenant_id = flowgres.require_tenant() and k.prefix = p_prefix
  for update;
  if v_key.prefix is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'api_key_not_found', p_message => format('API key %L does not exist', left(p_prefix, 100)),
      p_hint => 'List /api_keys; the prefix is the first 8 digits after the last underscore.');
  end if;
  return v_key;
end;
$$;
comment on function flowgres.find_api_key(text) is $$The API key of the caller's tenant with this prefix, locked.$$;

create or replace function flowgres.rotate_api_key(p_prefix text, p_grace_seconds integer)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_old flowgres.api_keys := flowgres.find_api_key(p_prefix);
  v_now timestamptz := flowgres.now();
  v_grace integer := coalesce(
    p_grace_seconds, (flowgres.setting(v_old.tenant_id, 'api_key_grace_seconds'))::integer);
  v_ends_at timestamptz;
  v_key jsonb;
begin
  if v_old.revoked_at is not null or v_old.expires_at <= v_now then
    perform flowgres.fail(
      p_status => 409, p_code => 'api_key_not_active', p_message => format('API key %L is revoked or has expired', p_prefix),
      p_hint => 'Create a new one.');
  end if;
  if v_grace not between 0 and 2592000 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'grace_seconds must lie between 0 and 2592000 (30 days)',
      p_details => 'grace_seconds');
  end if;
  v_ends_at := least(v_old.expires_at, v_now + make_interval(secs => v_grace));
  v_key := flowgres.issue_api_key(
    p_tenant_id => v_old.tenant_id, p_name => v_old.name, p_role => v_old.role, p_roles => v_old.roles,
    -- As long a life as the old one was given.
    p_expires_at => v_now + (v_old.expires_at - v_old.created_at), p_created_by => flowgres.actor());
  update flowgres.api_keys as k
  set expires_at = v_ends_at
  where k.tenant_id = v_old.tenant_id and k.prefix = v_old.prefix;
  perform flowgres.record_audit(
    p_action => 'api_key_rotated', p_subject => v_old.prefix,
    p_details => jsonb_build_object('successor', v_key -> 'prefix', 'expires_at', v_ends_at));
  perform flowgres.answer_created();
  return v_key || jsonb_build_object('replaces', v_old.prefix, 'replaced_expires_at', v_ends_at);
end;
$$;
comment on function flowgres.rotate_api_key(text, integer) is $$Replace an API key; the old one works on for the time of grace.$$;

create or replace function flowgres.revoke_api_key(p_prefix text, p_force boolean default false)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_key flowgres.api_keys := flowgres.find_api_key(p_prefix);
  v_now timestamptz := flowgres.now();
  v_grace interval := make_interval(secs => (flowgres.setting(v_key.tenant_id, 'api_key_grace_seconds'))::double precision);
begin
  if v_key.revoked_at is null then
    if v_key.role = 'admin' and not coalesce(p_force, false) and (v_key.expires_at > v_now) is not false then
      -- Two administrators who revoke each other's key: the second one looks when the first has committed.
      perform from flowgres.tenants as t where t.tenant_id = v_key.tenant_id for no key update;
      -- One that ends within the time of grace is on its way out itself, as after a rotation.
      if not exists (
        select
        from flowgres.api_keys as k
        where k.tenant_id = v_key.tenant_id and k.prefix <> v_key.prefix and k.role = 'admin' and k.revoked_at is null
          and (k.expires_at > v_now + v_grace) is not false
      ) then
        perform flowgres.fail(
          p_status => 409, p_code => 'last_admin_key',
          p_message => format('%L is the last key of an administrator of this tenant', v_key.prefix),
          p_hint => 'Create another one first; force revokes it all the same, and then only an operator can make a new one.');
      end if;
    end if;
    update flowgres.api_keys as k
    set revoked_at = v_now
    where k.tenant_id = v_key.tenant_id and k.prefix = v_key.prefix
    returning k.* into v_key;
    perform flowgres.record_audit(p_action => 'api_key_revoked', p_subject => v_key.prefix);
  end if;
  return to_jsonb(v_key) - array['key_hash'];
end;
$$;
comment on function flowgres.revoke_api_key(text, boolean) is $$End an API key at once; revoking it again changes nothing

409 last_admin_key for the last one of an administrator, unless it is forced.$$;
