-- Who is calling, and for which tenant.

set local role flowgres_owner;

create or replace function flowgres.system_tenant_id()
  returns uuid language sql immutable parallel safe
as $$
  select '00000000-0000-0000-0000-000000000000'::uuid;
$$;
comment on function flowgres.system_tenant_id() is $$Owner of the rows that belong to the installation itself.$$;

-- SECURITY DEFINER, because a login need not read the table of logins; plpgsql, because its plan is kept.
create or replace function flowgres.tenant_of_login()
  returns uuid language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return (select l.tenant_id from flowgres.tenant_logins as l where l.login_name = session_user);
end;
$$;
comment on function flowgres.tenant_of_login() is $$The tenant that the login of this session is mapped to, or null.$$;

-- The transaction of an sql step belongs to the step's tenant, whatever its function sets: the row that says so was written by
-- open_sql_call, and can be written by nothing else.
create or replace function flowgres.tenant_of_call()
  returns uuid language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return coalesce(
    (select c.tenant_id from flowgres.sql_calls as c where c.transaction_id = pg_current_xact_id_if_assigned()),
    flowgres.tenant_of_login());
end;
$$;
comment on function flowgres.tenant_of_call() is $$The tenant whose sql step this transaction runs; else that of the login, or null.$$;

-- PostgREST and the front have authenticated the caller, and an operator may see all tenants anyway: they may name the
-- tenant. Any other login could set its own settings, so it belongs to the tenant it is mapped to.
--
-- Every policy asks this once a query and table, so it is made to be inlined: one expression, no SET clause. RETURN, and not
-- a body in quotes, because that is parsed here and now: no search_path of a caller can change what the words mean.
create or replace function flowgres.tenant_id()
  returns uuid language sql stable
return case
  when session_user in ('flowgres_authenticator', 'flowgres_front') or pg_has_role(session_user, 'flowgres_operator', 'member')
    then nullif(current_setting('flowgres.tenant_id', true), '')::uuid
  when session_user = 'flowgres_sql' then flowgres.tenant_of_call()
  else flowgres.tenant_of_login()
end;
comment on function flowgres.tenant_id() is $$The tenant of this call, or null

Every tenant policy compares with (select flowgres.tenant_id()): the sub-select makes it one evaluation a query.$$;

create or replace function flowgres.require_tenant()
  returns uuid language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.tenant_id();
begin
  if v_tenant_id is null then
    perform flowgres.fail(
      p_status => 401, p_code => 'tenant_required', p_message => 'this call belongs to no tenant',
      p_hint => 'Send X-API-Key or a bearer token; an operator calls flowgres.use_tenant(slug) in SQL, and maps other logins: flowgres_api.add_tenant_login(login, tenant).');
  elsif session_user not in ('flowgres_authenticator', 'flowgres_front') and not flowgres.is_operator() and exists (
    select from flowgres.tenants as t where t.tenant_id = v_tenant_id and t.status = 'suspended')
  then
    -- Keys and tokens of such a tenant are refused before they come here; a login of SQL has nobody else to refuse it.
    perform flowgres.fail(
      p_status => 403, p_code => 'tenant_suspended', p_message => 'this tenant is suspended',
      p_hint => 'Ask the operator of this installation.');
  end if;
  return v_tenant_id;
end;
$$;
comment on function flowgres.require_tenant() is $$The tenant of this call; refuses a call without one, and a login whose tenant is suspended.$$;

-- Any login can set the setting, so only those are believed that have authenticated somebody.
create or replace function flowgres.actor()
  returns text language sql stable
return coalesce(
  case when session_user in ('flowgres_authenticator', 'flowgres_front')
    then nullif(current_setting('flowgres.actor', true), '') end,
  'login:' || session_user);
comment on function flowgres.actor() is $$Who was authenticated: the subject of the token, key:<prefix>, or login:<name> in SQL.$$;

create or replace function flowgres.use_tenant(p_slug text)
  returns uuid language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid;
begin
  select t.tenant_id into v_tenant_id from flowgres.tenants as t where t.slug = p_slug;
  if v_tenant_id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'tenant_not_found', p_message => format('tenant %L does not exist', p_slug),
      p_hint => 'List flowgres.tenants.');
  end if;
  perform set_config('flowgres.tenant_id', v_tenant_id::text, false);
  return v_tenant_id;
end;
$$;
comment on function flowgres.use_tenant(text) is $$Work as this tenant for the rest of the session

For operators: the policies of flowgres.tenants decide whose slug can be found.$$;
