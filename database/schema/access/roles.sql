-- differences
--
-- The roles: which there are, who may act as whom, and what holds for all they do. Mended by the login that installs.

set local role flowgres_owner;

create or replace view flowgres.role_differences with (security_invoker = true) as
with wanted_roles (name, attributes) as (
  values
  -- Own the objects. Nobody logs in as these.
  ('flowgres_owner', 'nologin'), ('flowgres_definer', 'nologin'), ('flowgres_engine', 'nologin'),
  -- Taken for a request, by what its credentials say.
  ('flowgres_anon', 'nologin'), ('flowgres_viewer', 'nologin'), ('flowgres_member', 'nologin'), ('flowgres_admin', 'nologin'),
  ('flowgres_worker', 'nologin'),
  -- Log in. Without a password, so nobody can by password until one is set.
  ('flowgres_runner', 'login'), ('flowgres_sql', 'login'), ('flowgres_operator', 'login'),
  -- Have no rights of their own until they switch to a tenant role.
  ('flowgres_authenticator', 'login noinherit'), ('flowgres_front', 'login noinherit')
),

wanted_members (role, member) as (
  values
  ('flowgres_anon', 'flowgres_authenticator'), ('flowgres_viewer', 'flowgres_authenticator'),
  ('flowgres_member', 'flowgres_authenticator'), ('flowgres_admin', 'flowgres_authenticator'),
  ('flowgres_worker', 'flowgres_authenticator'), ('flowgres_worker', 'flowgres_front'),
  ('flowgres_anon', 'flowgres_front'), ('flowgres_viewer', 'flowgres_front'),
  ('flowgres_member', 'flowgres_front'), ('flowgres_admin', 'flowgres_front'),
  -- Each tenant role may do what the weaker one may.
  ('flowgres_viewer', 'flowgres_member'), ('flowgres_member', 'flowgres_admin'), ('flowgres_admin', 'flowgres_operator')
),

wanted_settings (role, setting, value) as (
  values
  -- PostgREST applies these per request, by the role it starts with: the anonymous one for API keys.
  ('flowgres_anon', 'statement_timeout', '15s'), ('flowgres_anon', 'idle_in_transaction_session_timeout', '30s'),
  ('flowgres_viewer', 'statement_timeout', '15s'), ('flowgres_viewer', 'idle_in_transaction_session_timeout', '30s'),
  ('flowgres_member', 'statement_timeout', '15s'), ('flowgres_member', 'idle_in_transaction_session_timeout', '30s'),
  ('flowgres_admin', 'statement_timeout', '15s'), ('flowgres_admin', 'idle_in_transaction_session_timeout', '30s'),
  ('flowgres_worker', 'statement_timeout', '15s'), ('flowgres_worker', 'idle_in_transaction_session_timeout', '30s'),
  -- It calls functions of its own as well as taking others' roles.
  ('flowgres_front', 'statement_timeout', '15s'),
  -- Every statement of these is short, and compiling it would take longer than running it.
  ('flowgres_runner', 'jit', 'off'), ('flowgres_front', 'jit', 'off'), ('flowgres_authenticator', 'jit', 'off'),
  -- Under a lock these must see what others have just committed, whatever a database's own default is.
  ('flowgres_runner', 'default_transaction_isolation', 'read committed'),
  ('flowgres_front', 'default_transaction_isolation', 'read committed'),
  ('flowgres_authenticator', 'default_transaction_isolation', 'read committed'),
  ('flowgres_operator', 'default_transaction_isolation', 'read committed'),
  ('flowgres_sql', 'default_transaction_isolation', 'read committed')
),

roles as (
  select r.*, w.attributes
  from pg_catalog.pg_roles as r join wanted_roles as w on w.name = r.rolname
),

installer as (
  select r.*, current_setting('server_version_num')::integer >= 160000 as has_set_option
  from pg_catalog.pg_roles as r
  -- Whoever only looks, as one of our own logins, installs nothing.
  where r.rolname = current_user and r.rolname not in (select w.name from wanted_roles as w)
),

differences (step, object, problem, repair) as (
  select 1, 'role ' || w.name, 'does not exist', format('create role %I %s', w.name, w.attributes)
  from wanted_roles as w
  where not exists (select from roles as r where r.rolname = w.name)
  union all
  select 1, 'role ' || r.rolname, 'may ' || a.power, format('alter role %I no%s', r.rolname, a.power)
  from roles as r
  cross join lateral (
    values
    ('superuser', r.rolsuper), ('bypassrls', r.rolbypassrls), ('replication', r.rolreplication),
    ('createrole', r.rolcreaterole), ('createdb', r.rolcreatedb),
    ('inherit', r.rolinherit and r.attributes like '%noinherit')
  ) as a (power, is_held)
  where a.is_held
  union all
  select 2, 'role ' || w.member, 'is no member of ' || w.role, format('grant %I to %I', w.role, w.member)
  from wanted_members as w
  where not exists (
    select
    from pg_catalog.pg_auth_members as m
    join roles as r on r.oid = m.roleid and r.rolname = w.role
    join roles as o on o.oid = m.member and o.rolname = w.member
  )
  union all
  -- Logins of other services may be given a tenant role, and flowgres_sql is one that comes along.
  select 2, 'role ' || o.rolname, 'is a member of ' || r.rolname, format('revoke %I from %I', r.rolname, o.rolname)
  from pg_catalog.pg_auth_members as m
  join roles as r on r.oid = m.roleid
  join roles as o on o.oid = m.member
  where not exists (select from wanted_members as w where w.role = r.rolname and w.member = o.rolname)
    and not (
      o.rolname = 'flowgres_sql'
      and r.rolname in ('flowgres_anon', 'flowgres_viewer', 'flowgres_member', 'flowgres_admin', 'flowgres_worker')
    )
  union all
  select 2, 'role ' || i.rolname, 'is no member of ' || w.name, format('grant %I to %I', w.name, i.rolname)
  from wanted_roles as w
  cross join installer as i
  left join roles as r on r.rolname = w.name
  -- Whose objects these are may do what an operator does: register tenants, adopt a copy.
  where w.name in ('flowgres_owner', 'flowgres_definer', 'flowgres_engine', 'flowgres_operator')
    and (r.oid is null or not pg_has_role(i.oid, r.oid, case when i.has_set_option then 'SET' else 'MEMBER' end))
  union all
  -- A value that somebody has set stays, and who may not alter a role leaves it as it is.
  select 3, 'role ' || w.role, 'has no ' || w.setting, format('alter role %I set %I to %L', w.role, w.setting, w.value)
  from wanted_settings as w
  join roles as r on r.rolname = w.role
  cross join installer as i
  where (
    i.rolsuper
    or i.rolcreaterole and (not i.has_set_option or pg_has_role(i.oid, r.oid, 'MEMBER WITH ADMIN OPTION'))
  ) and not exists (
    select
    from pg_catalog.pg_db_role_setting as s cross join unnest(s.setconfig) as c (line)
    where s.setrole = r.oid and s.setdatabase = 0 and starts_with(c.line, w.setting || '=')
  )
)

select d.object, d.problem, null::text as actor, d.repair
from differences as d
order by d.step, d.object, d.problem;

comment on view flowgres.role_differences is $$Roles that are not as they should be

Asked by whoever installs, in the role that installs. No row when all is well; repair mends a row.$$;
comment on column flowgres.role_differences.object is $$The role$$;
comment on column flowgres.role_differences.problem is $$What is wrong with it$$;
comment on column flowgres.role_differences.actor is $$Role that mends it; null is the login itself$$;
comment on column flowgres.role_differences.repair is $$Statement that mends it$$;
