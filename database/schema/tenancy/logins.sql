-- Logins of other services that work for a tenant, so that they start executions within their own transactions.

set local role flowgres_engine;

create or replace function flowgres.require_operator()
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if not flowgres.is_operator() then
    perform flowgres.fail(
      p_status => 403, p_code => 'insufficient_role', p_message => 'only an operator may do this',
      p_hint => 'Connect as flowgres_operator, or as a login that was granted that role.');
  end if;
end;
$$;
comment on function flowgres.require_operator() is $$Refuse a login that is no operator's; for functions that see all tenants.$$;

create or replace function flowgres.tenant_role_of(p_login text)
  returns text language sql stable set search_path to pg_catalog, pg_temp
as $$
  select t.role
  from (values (1, 'admin'), (2, 'member'), (3, 'viewer')) as t (place, role)
  join pg_catalog.pg_roles as r on r.rolname = p_login
  -- USAGE: without SET ROLE, as a login calls functions.
  where pg_has_role(r.oid, 'flowgres_' || t.role, 'usage')
  order by t.place
  limit 1;
$$;
comment on function flowgres.tenant_role_of(text) is $$The strongest tenant role that a login has been granted, or null.$$;

create or replace function flowgres.tenant_of_slug(p_slug text)
  returns uuid language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := (select t.tenant_id from flowgres.tenants as t where t.slug = p_slug);
begin
  if v_tenant_id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'tenant_not_found', p_message => format('tenant %L does not exist', left(p_slug, 100)),
      p_hint => 'List flowgres.tenants.');
  end if;
  return v_tenant_id;
end;
$$;
comment on function flowgres.tenant_of_slug(text) is $$The tenant of a slug. Refuses one that does not exist.$$;

create or replace function flowgres.add_tenant_login(p_login text, p_slug text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid;
  v_other text;
  v_is_new boolean;
begin
  perform flowgres.require_operator();
  v_tenant_id := flowgres.tenant_of_slug(p_slug => p_slug);
  if not exists (select from pg_catalog.pg_roles as r where r.rolname = p_login and r.rolcanlogin) then
    perform flowgres.fail(
      p_status => 404, p_code => 'login_not_found', p_message => format('there is no login %L in this database server', left(p_login, 100)),
      p_hint => 'Create it first: create role NAME login.');
  end if;
  -- These name their tenant themselves, so that a mapping would mean nothing.
  if p_login in ('flowgres_authenticator', 'flowgres_front', 'flowgres_runner') or pg_has_role(p_login, 'flowgres_operator', 'member') then
    perform flowgres.fail(
      p_status => 422, p_code => 'login_not_mappable',
      p_message => format('the login %L is an operator, or one of flowgres itself, and belongs to no tenant', p_login),
      p_hint => 'Map the login of an application; operators call flowgres.use_tenant(slug).');
  end if;
  insert into flowgres.tenant_logins (tenant_id, login_name) values (v_tenant_id, p_login) on conflict do nothing;
  v_is_new := found;
  if v_is_new then
    perform flowgres.record_audit(p_action => 'tenant_login_added', p_subject => p_login, p_tenant_id => v_tenant_id);
  else
    select t.slug into v_other
    from flowgres.tenant_logins as l
    join flowgres.tenants as t on t.tenant_id = l.tenant_id
    where l.login_name = p_login and l.tenant_id <> v_tenant_id;
    if found then
      perform flowgres.fail(
        p_status => 409, p_code => 'tenant_login_taken', p_message => format('the login %L works for the tenant %L', p_login, v_other),
        p_hint => 'Remove it there first, or give each tenant a login of its own.');
    end if;
  end if;
  return jsonb_build_object(
    'login', p_login, 'tenant', p_slug, 'tenant_id', v_tenant_id, 'role', flowgres.tenant_role_of(p_login => p_login),
    'created', v_is_new);
end;
$$;
comment on function flowgres.add_tenant_login(text, text) is $$Map a login to a tenant; doing it again changes nothing.$$;

create or replace function flowgres.remove_tenant_login(p_login text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid;
begin
  perform flowgres.require_operator();
  delete from flowgres.tenant_logins as l where l.login_name = p_login returning l.tenant_id into v_tenant_id;
  if v_tenant_id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'tenant_login_not_found', p_message => format('the login %L works for no tenant', left(p_login, 100)),
      p_hint => 'List flowgres.tenant_logins.');
  end if;
  perform flowgres.record_audit(p_action => 'tenant_login_removed', p_subject => p_login, p_tenant_id => v_tenant_id);
  return jsonb_build_object('login', p_login, 'tenant_id', v_tenant_id);
end;
$$;
comment on function flowgres.remove_tenant_login(text) is $$End the mapping of a login to its tenant.$$;

create or replace function flowgres.list_tenant_logins(p_slug text)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.require_operator();
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'login', l.login_name, 'tenant', t.slug, 'tenant_id', t.tenant_id,
      'role', flowgres.tenant_role_of(p_login => l.login_name), 'created_at', l.created_at) order by t.slug, l.login_name), '[]')
    from flowgres.tenant_logins as l
    join flowgres.tenants as t on t.tenant_id = l.tenant_id
    where p_slug is null or t.slug = p_slug);
end;
$$;
comment on function flowgres.list_tenant_logins(text) is $$Logins that are mapped to a tenant, or to any, with the tenant role that each has been granted

role is null where it has none, or is gone.$$;
