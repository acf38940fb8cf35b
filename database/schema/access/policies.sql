-- differences
--
-- Row-level security: every policy of the product is made here, from one expression.
--
-- | policy          | roles                            | sees                                                    |
-- |-----------------|----------------------------------|---------------------------------------------------------|
-- | tenant_all      | tenant roles, flowgres_definer   | rows of (select flowgres.tenant_id())                   |
-- | engine_all      | flowgres_engine, flowgres_owner  | all rows: the runners' functions and migrations         |
-- | operator_select | flowgres_operator                | all rows, to read                                       |
--
-- Tables with rows of the installation that tenants use (settings, step_types, sql_functions) have, in place of tenant_all, one policy for
-- each verb: tenant_select and definer_select see those rows too, and definer_insert, _update and _delete do not.
--
-- Policies say which rows, grants (grants.sql) say which verbs: tenant roles may only SELECT, whatever tenant_all allows.
-- Expressions are written as PostgreSQL prints them, since they are compared with what it prints.

set local role flowgres_owner;

create or replace view flowgres.policy_differences with (security_invoker = true) as
with predicates as (
  select
    -- The sub-select makes it one evaluation a query; the column stays bare so that its indexes serve.
    '(tenant_id = ( SELECT flowgres.tenant_id() AS tenant_id))' as own,
    $p$(tenant_id = '00000000-0000-0000-0000-000000000000'::uuid)$p$ as installation,
    '(name = ANY (( SELECT flowgres.tenant_settings() AS tenant_settings)::text[]))' as for_tenants
),

wanted as (
  -- FORCE binds the owner's own functions too: they pass by the policy engine_all instead of by ownership.
  select w.*
  from predicates as p
  cross join lateral (
    values
    ('others', 'engine_all', '*', '{flowgres_engine,flowgres_owner}'::text[], 'true', 'true'),
    ('others', 'operator_select', 'r', '{flowgres_operator}', 'true', null),
    -- member and admin inherit viewer, and with it the policy.
    ('others', 'tenant_all', '*', '{flowgres_definer,flowgres_viewer}', p.own, p.own),
    ('shared', 'engine_all', '*', '{flowgres_engine,flowgres_owner}', 'true', 'true'),
    ('shared', 'operator_select', 'r', '{flowgres_operator}', 'true', null),
    ('shared', 'definer_select', 'r', '{flowgres_definer}', format('(%s OR %s)', p.own, p.installation), null),
    ('shared', 'definer_insert', 'a', '{flowgres_definer}', null, p.own),
    ('shared', 'definer_update', 'w', '{flowgres_definer}', p.own, p.own),
    ('shared', 'definer_delete', 'd', '{flowgres_definer}', p.own, null),
    ('step_types', 'tenant_select', 'r', '{flowgres_viewer}', format('(%s OR %s)', p.own, p.installation), null),
    -- Of the installation's settings those that a tenant may change for itself, as they limit it.
    (
      'settings', 'tenant_select', 'r', '{flowgres_viewer}',
      format('(%s OR (%s AND %s))', p.own, p.installation, p.for_tenants), null
    ),
    -- Whoever can move the clock can end every lease: the owner alone reads and writes it.
    ('clock', 'owner_all', '*', '{flowgres_owner}', 'true', 'true')
  ) as w (tables, policy, verb, roles, visible, allowed)
),

tables as not materialized (
  select
    c.oid as relation,
    format('%I.%I', n.nspname, c.relname) as name,
    case
      when c.relname in ('settings', 'step_types') then array['shared', c.relname::text]
      when c.relname = 'sql_functions' then array['shared', 'step_types']
      when c.relname = 'clock' then array['clock']
      else array['others']
    end as kinds,
    c.relrowsecurity and c.relforcerowsecurity as is_forced
  from pg_catalog.pg_class as c
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  where n.nspname = 'flowgres' and c.relkind in ('r', 'p')
),

found as not materialized (
  select
    p.polrelid as relation,
    p.polname::text as policy,
    p.polpermissive as is_permissive,
    p.polcmd::text as verb,
    array(
      select case r.oid when 0 then 'public' else pg_get_userbyid(r.oid)::text end
      from unnest(p.polroles) as r (oid)
      order by 1
    ) as roles,
    pg_get_expr(p.polqual, p.polrelid) as visible,
    pg_get_expr(p.polwithcheck, p.polrelid) as allowed
  from pg_catalog.pg_policy as p
)

select
  t.relation,
  'table ' || t.name as object,
  'does not force row-level security' as problem,
  'flowgres_owner' as actor,
  format('alter table %s enable row level security, force row level security', t.name) as repair
from tables as t
where not t.is_forced
union all
select
  t.relation,
  'table ' || t.name,
  case
    when f.policy is null then format('lacks the policy %s', w.policy)
    else format('has a policy %s that differs', w.policy)
  end,
  'flowgres_owner',
  case when f.policy is not null then format('drop policy %I on %s; ', w.policy, t.name) else '' end
  || format(
    'create policy %I on %s for %s to %s', w.policy, t.name,
    case w.verb when '*' then 'all' when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' else 'delete' end,
    array_to_string(w.roles, ', '))
  || coalesce(' using (' || w.visible || ')', '') || coalesce(' with check (' || w.allowed || ')', '')
from tables as t
join wanted as w on w.tables = any(t.kinds)
left join found as f on f.relation = t.relation and f.policy = w.policy
where (f.is_permissive, f.verb, f.roles, f.visible, f.allowed) is distinct from (true, w.verb, w.roles, w.visible, w.allowed)
union all
select
  t.relation,
  'table ' || t.name,
  format('has a policy %s of somebody else', f.policy),
  'flowgres_owner',
  format('drop policy %I on %s', f.policy, t.name)
from tables as t
join found as f on f.relation = t.relation
where not exists (select from wanted as w where w.tables = any(t.kinds) and w.policy = f.policy);

comment on view flowgres.policy_differences is $$Tables whose row-level security is not as it should be

Asked with a search_path without flowgres, as the texts of expressions depend on it. No row when all is well; repair mends a row.$$;
comment on column flowgres.policy_differences.relation is $$The table$$;
comment on column flowgres.policy_differences.object is $$The table, in words$$;
comment on column flowgres.policy_differences.problem is $$What is wrong with it$$;
comment on column flowgres.policy_differences.actor is $$Role that mends it$$;
comment on column flowgres.policy_differences.repair is $$Statement that mends it$$;

create or replace function flowgres.protect_table(p_table regclass)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_repairs text[] := array(select d.repair from flowgres.policy_differences as d where d.relation = p_table);
  v_repair text;
begin
  foreach v_repair in array v_repairs loop
    execute v_repair;
  end loop;
end;
$$;
comment on function flowgres.protect_table(regclass) is $$Put a table under the tenant policies, or leave it alone when it is

Whoever makes a table after the installation calls this, as its owner: the partition maker for each partition.$$;
