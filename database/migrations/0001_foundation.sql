-- The roles, the two schemas, the ledgers of what was installed, and the clock.
--
-- Runs as whoever installs: a superuser, or a CREATEROLE user that owns the
-- database. No role here is a superuser and none bypasses row-level security.

do $$
declare
  v_role text;
begin
  foreach v_role in array array[
    'flowgres_owner', 'flowgres_definer', 'flowgres_engine', 'flowgres_anon',
    'flowgres_viewer', 'flowgres_member', 'flowgres_admin'
  ] loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
      execute format('create role %I nologin', v_role);
    end if;
  end loop;

  -- Login roles start without a password, so nobody can log in by password until one is set.
  foreach v_role in array array['flowgres_runner', 'flowgres_sql', 'flowgres_operator'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
      execute format('create role %I login', v_role);
    end if;
  end loop;

  -- NOINHERIT: these two have no rights of their own until they switch to a tenant role.
  foreach v_role in array array['flowgres_authenticator', 'flowgres_front'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
      execute format('create role %I login noinherit', v_role);
    end if;
  end loop;
end
$$;

grant flowgres_owner, flowgres_definer, flowgres_engine to current_user;
grant flowgres_anon, flowgres_viewer, flowgres_member, flowgres_admin to flowgres_authenticator;
grant flowgres_anon, flowgres_viewer, flowgres_member, flowgres_admin to flowgres_front;
-- Each tenant role may do what the weaker one may.
grant flowgres_viewer to flowgres_member;
grant flowgres_member to flowgres_admin;
grant flowgres_admin to flowgres_operator;

create schema flowgres authorization flowgres_owner;
create schema flowgres_api authorization flowgres_owner;

set local role flowgres_owner;

comment on schema flowgres is $$The engine: tables and functions. Private; clients use flowgres_api.$$;
comment on schema flowgres_api is $$flowgres

Workflows, executions, steps and tenants, served under row-level security.$$;

-- Functions are private until granted, whichever of the three roles makes them.
alter default privileges for role flowgres_owner revoke execute on functions from public;
reset role;
set local role flowgres_definer;
alter default privileges for role flowgres_definer revoke execute on functions from public;
reset role;
set local role flowgres_engine;
alter default privileges for role flowgres_engine revoke execute on functions from public;
reset role;

set local role flowgres_owner;

-- CREATE, because a function is made by the role that is to own it.
grant usage, create on schema flowgres to flowgres_definer, flowgres_engine;
grant usage on schema flowgres to
  flowgres_anon, flowgres_viewer, flowgres_member, flowgres_admin, flowgres_operator, flowgres_runner, flowgres_front,
  flowgres_authenticator, flowgres_sql;
grant usage on schema flowgres_api to
  flowgres_anon, flowgres_viewer, flowgres_member, flowgres_admin, flowgres_operator;

-- Rows of the installation itself belong to the system tenant (all zeros), so
-- that "every table carries tenant_id, under a policy" has no exception.
create table flowgres.migrations (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  number integer not null,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default clock_timestamp(),
  constraint migrations_pkey primary key (tenant_id, number)
);
comment on table flowgres.migrations is $$Migrations that were applied, in order; their text never changes afterwards.$$;

create table flowgres.schema_files (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  name text not null,
  fingerprint text not null,
  applied_at timestamptz not null default clock_timestamp(),
  constraint schema_files_pkey primary key (tenant_id, name)
);
comment on table flowgres.schema_files is $$Re-appliable schema files and the fingerprint of the text last applied.$$;

create table flowgres.clock (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  shift interval not null default interval '0',
  constraint clock_pkey primary key (tenant_id)
);
comment on table flowgres.clock is $$Shift of the engine's clock, for tests

Empty in production. Only the owner may write it, so nobody else can move time.$$;
