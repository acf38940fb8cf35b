-- What keeps a copy of this database from doing the original's work: its environment, and the place that it lives in.

set local role flowgres_owner;

create or replace function flowgres.server_identifier()
  returns text language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  -- Some providers keep the control file to themselves.
  if has_function_privilege('pg_control_system()', 'execute') then
    return (select s.system_identifier from pg_control_system() as s)::text;
  end if;
  return 'unknown';
end;
$$;
comment on function flowgres.server_identifier() is $$The number of this server, which its standbys share; unknown where a provider hides it$$;

create or replace function flowgres.database_oid()
  returns oid language sql stable set search_path to pg_catalog, pg_temp
as $$ select d.oid from pg_database as d where d.datname = current_database(); $$;
comment on function flowgres.database_oid() is $$The number of this database in its server$$;

create or replace function flowgres.installation_mark()
  returns text language sql stable set search_path to pg_catalog, pg_temp
as $$
  select left(encode(sha256(convert_to(flowgres.server_identifier() || '/' || flowgres.database_oid(), 'UTF8')), 'hex'), 16);
$$;
comment on function flowgres.installation_mark() is $$Which installation this is: the same through every door, another one in every database

Clients compare it before they send something, with what any login can compute of the database that it is in.$$;

create or replace function flowgres.place()
  returns text language sql stable set search_path to pg_catalog, pg_temp
as $$
  select format(
    'server %s, database %s, table %s', flowgres.server_identifier(), flowgres.database_oid(), 'flowgres.installation'::regclass::oid);
$$;
comment on function flowgres.place() is $$Where this is: server, database and table, by numbers that no dump and no template carries along

A restored dump has another database or another table, a copy by template another database, a new server another identifier. A
standby that is promoted has the same three, and so has a copy of all the server's files. pg_upgrade changes the server's.$$;

insert into flowgres.installation (place, settled_by) values (flowgres.place(), session_user)
on conflict (tenant_id) do nothing;

create or replace function flowgres.is_copy()
  returns boolean language sql stable set search_path to pg_catalog, pg_temp
as $$
  select not exists (
    select from flowgres.installation as i
    where i.tenant_id = '00000000-0000-0000-0000-000000000000' and i.place = flowgres.place());
$$;
comment on function flowgres.is_copy() is $$Whether this database was made by copying another one, and nobody has adopted it

It reads the server's control file: for registration and heartbeats, not for every claim.$$;

create or replace function flowgres.require_original()
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if flowgres.is_copy() then
    perform flowgres.fail(
      p_status => 409, p_code => 'installation_copied',
      p_message => 'this database is a copy of an installation: work that the original may have done waits in it',
      p_hint => 'Where the original runs no more, an operator says: flowgres db adopt. What was ready at the time of the copy runs then.');
  end if;
end;
$$;
comment on function flowgres.require_original() is $$Refuse to hand out work in a copy that nobody has adopted.$$;

create or replace function flowgres.keep_environment(p_environment text, p_is_change boolean)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_old text := flowgres.setting(flowgres.system_tenant_id(), 'environment') #>> '{}';
begin
  if p_environment = v_old then
    return;
  end if;
  if not p_is_change then
    perform flowgres.fail(
      p_status => 409, p_code => 'environment_differs',
      p_message => format('this database is for the environment %L, and ENV says %L', v_old, p_environment),
      p_hint => format(
        'Set ENV=%s. If it is to become another one (its runners then send what is pending): flowgres db install --change-environment.',
        v_old));
  end if;
  perform flowgres.seed_settings(p_settings => jsonb_build_object('environment', p_environment));
  -- Those that live find at their next heartbeat that they have to register, and are asked again which one they are for.
  update flowgres.runners as r
  set stopped_at = flowgres.now(), is_idle = false, is_signed_off = true
  where r.stopped_at is null;
  perform flowgres.record_audit(
    p_action => 'environment_changed', p_subject => p_environment, p_details => jsonb_build_object('was', v_old),
    p_tenant_id => flowgres.system_tenant_id());
end;
$$;
comment on function flowgres.keep_environment(text, boolean) is $$Compare the environment with what an installer says, and change it only where that is meant

The change is audited. Runners of the environment before are given up, those that live too, and refused from then on.$$;

set local role flowgres_engine;

create or replace function flowgres.adopt_installation()
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_old flowgres.installation;
  v_new flowgres.installation;
begin
  if not flowgres.is_operator() then
    perform flowgres.fail(
      p_status => 403, p_code => 'insufficient_role', p_message => 'only an operator adopts a copy',
      p_hint => 'Connect as flowgres_operator, or as the login that installed flowgres.');
  end if;
  select i.* into v_old from flowgres.installation as i where i.tenant_id = flowgres.system_tenant_id() for update;
  if v_old.place = flowgres.place() then
    return jsonb_build_object('installation_id', v_old.id, 'is_adopted', false);
  end if;
  update flowgres.installation as i
  set id = gen_random_uuid(), place = flowgres.place(), settled_at = flowgres.now(), settled_by = session_user
  where i.tenant_id = flowgres.system_tenant_id()
  returning i.* into v_new;
  perform flowgres.record_audit(
    p_action => 'installation_adopted', p_subject => v_new.id::text,
    p_details => jsonb_build_object('was', v_old.id, 'from', v_old.place, 'to', v_new.place),
    p_tenant_id => flowgres.system_tenant_id());
  return jsonb_build_object('installation_id', v_new.id, 'is_adopted', true);
end;
$$;
comment on function flowgres.adopt_installation() is $$Make a copy an installation of its own, whose work runners do

For operators, once the original is known to run no more, or nothing of its work is left in the copy. Audited.$$;
