"""Rules of supabase/splinter, and some of ours, asked of the catalogue: each names what breaks it.

Every rule is tried twice: on the product, where it finds nothing, and on an object made to break it.
"""

from __future__ import annotations

import pytest

from tests.support.database import Db

OURS = "('flowgres'::regnamespace, 'flowgres_api'::regnamespace)"
POLICIES = f"""
select p.polname, p.polrelid::regclass::text as name, p.polpermissive, v.verb,
  coalesce(nullif(r.oid, 0)::regrole::text, 'public') as role,
  pg_get_expr(p.polqual, p.polrelid) as visible, pg_get_expr(p.polwithcheck, p.polrelid) as allowed
from pg_policy as p
join pg_class as c on c.oid = p.polrelid and c.relnamespace in {OURS}
cross join unnest(p.polroles) as r (oid)
cross join unnest(case p.polcmd when '*' then '{{r,a,w,d}}'::text[] else array[p.polcmd::text] end) as v (verb)
"""
# Roles that anybody may have who has no account here.
STRANGERS = "('flowgres_anon', 'flowgres_authenticator', 'flowgres_front', 'flowgres_runner', 'flowgres_sql')"
FOR_STRANGERS = (
    "('enter', 'register_tenant', 'authenticate_key', 'is_tenant_open', 'health', 'tenant_of_login', 'tenant_of_call')"
)

RULES = {
    "row security is on where there are policies": f"""
select distinct c.oid::regclass::text from pg_policy as p join pg_class as c on c.oid = p.polrelid
where c.relnamespace in {OURS} and not c.relrowsecurity""",
    "row security has policies where it is on": f"""
select c.oid::regclass::text from pg_class as c
where c.relnamespace in {OURS} and c.relrowsecurity
  and not exists (select from pg_policy as p where p.polrelid = c.oid)""",
    "row security is forced on every table": f"""
select c.oid::regclass::text from pg_class as c
where c.relnamespace in {OURS} and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)""",
    "a role has one permissive policy for a verb": f"""
select p.name from ({POLICIES}) as p where p.polpermissive group by p.name, p.role, p.verb having count(*) > 1""",
    "no policy is for everybody": f"select p.name from ({POLICIES}) as p where p.role = 'public'",
    "policies call functions once a query": f"""
select p.name from ({POLICIES}) as p cross join unnest(array[p.visible, p.allowed]) as e (expression)
where regexp_replace(e.expression, '\\( SELECT flowgres\\.\\w+\\(\\) AS \\w+\\)', '', 'g') ~ '\\w\\('""",
    "policies trust nothing that a caller can set": f"""
select p.name from ({POLICIES}) as p
where concat(p.visible, p.allowed) ~ 'current_setting|current_user|session_user|claims'""",
    "views run with the rights of their caller": f"""
select c.oid::regclass::text from pg_class as c
where c.relnamespace in {OURS} and c.relkind = 'v' and c.reloptions @> '{{security_invoker=true}}' is not true""",
    "nothing is kept where no policy can reach": f"""
select c.oid::regclass::text from pg_class as c where c.relnamespace in {OURS} and c.relkind in ('m', 'f')""",
    "search paths are pinned where rights change": f"""
select p.oid::regprocedure::text from pg_proc as p
where p.pronamespace in {OURS} and p.prosecdef
  and coalesce(p.proconfig, '{{}}') @> array['search_path=pg_catalog, pg_temp'] is not true""",
    "unpinned functions name what they use in full": f"""
select p.oid::regprocedure::text from pg_proc as p
where p.pronamespace in {OURS} and coalesce(array_to_string(p.proconfig, ','), '') not like '%search_path=%'
  and p.prosrc ~* '\\m(from|join|into|update)\\s+(tenants|settings|api_keys|secrets|workflows|executions|events)\\M'""",
    "strangers run no definer function but those that are meant for them": f"""
select p.oid::regprocedure::text from pg_proc as p
where p.pronamespace in {OURS} and p.prosecdef and p.proname not in {FOR_STRANGERS}
  and has_function_privilege('flowgres_anon', p.oid, 'execute')""",
    "definer functions are not served": """
select p.oid::regprocedure::text from pg_proc as p
where p.pronamespace = 'flowgres_api'::regnamespace and p.prosecdef""",
    "foreign keys have an index": f"""
select o.conrelid::regclass::text from pg_constraint as o
where o.contype = 'f' and o.connamespace in {OURS} and not exists (
  select from pg_index as i
  where i.indrelid = o.conrelid and i.indpred is null
    and (i.indkey::smallint[])[0:cardinality(o.conkey) - 1] @> o.conkey
    and o.conkey @> (i.indkey::smallint[])[0:cardinality(o.conkey) - 1])""",
    "no two indexes are the same": f"""
select i.indrelid::regclass::text from pg_index as i join pg_class as c on c.oid = i.indexrelid
where c.relnamespace in {OURS}
group by i.indrelid, c.relam, i.indkey::text, i.indclass::text, i.indcollation::text, i.indoption::text,
  pg_get_expr(i.indpred, i.indrelid), pg_get_expr(i.indexprs, i.indrelid)
having count(*) > 1""",
    "every table has a primary key": f"""
select c.oid::regclass::text from pg_class as c
where c.relnamespace in {OURS} and c.relkind in ('r', 'p')
  and not exists (select from pg_index as i where i.indrelid = c.oid and i.indisprimary)""",
    "no extension lies in a schema that others write": """
select e.extname::text from pg_extension as e
where e.extnamespace in ('public'::regnamespace, 'flowgres'::regnamespace, 'flowgres_api'::regnamespace)""",
    "nobody else makes objects in our schemas": f"""
select n.oid::regnamespace::text || ' ' || pg_get_userbyid(a.grantee)
from pg_namespace as n cross join aclexplode(n.nspacl) as a
where n.oid in {OURS} and a.privilege_type = 'CREATE'
  and a.grantee not in ('flowgres_owner'::regrole, 'flowgres_definer'::regrole, 'flowgres_engine'::regrole)""",
    "nobody may hand on a right": f"""
select c.oid::regclass::text from pg_class as c cross join aclexplode(c.relacl) as a
where c.relnamespace in {OURS} and a.is_grantable and a.grantee <> c.relowner
union all
select p.oid::regprocedure::text from pg_proc as p cross join aclexplode(p.proacl) as a
where p.pronamespace in {OURS} and a.is_grantable and a.grantee <> p.proowner""",
}

TABLE = "create table flowgres.wrong (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id)); "
PROTECTED = TABLE + "select flowgres.protect_table('flowgres.wrong'); "
BREAKING = {
    "row security is on where there are policies": PROTECTED + "alter table flowgres.wrong disable row level security",
    "row security has policies where it is on": TABLE + "alter table flowgres.wrong enable row level security",
    "row security is forced on every table": PROTECTED + "alter table flowgres.wrong no force row level security",
    "a role has one permissive policy for a verb": PROTECTED
    + "create policy second on flowgres.wrong for update to flowgres_viewer using (false)",
    "no policy is for everybody": PROTECTED + "create policy second on flowgres.wrong for select using (false)",
    "policies call functions once a query": PROTECTED
    + "create policy second on flowgres.wrong for delete to flowgres_sql using (tenant_id = flowgres.tenant_id())",
    "policies trust nothing that a caller can set": PROTECTED
    + "create policy second on flowgres.wrong to flowgres_sql using (current_setting('x') = 'y')",
    "views run with the rights of their caller": "create view flowgres_api.wrong"
    " as select tenant_id from flowgres.tenants",
    "nothing is kept where no policy can reach": "create materialized view flowgres.wrong as select 1 as one",
    "search paths are pinned where rights change": "create function flowgres.wrong() returns integer language sql"
    " security definer set search_path to '' return 1",
    "unpinned functions name what they use in full": "set check_function_bodies = off;"
    " create function flowgres.wrong() returns integer language sql as 'select 1 from executions'",
    "strangers run no definer function but those that are meant for them": "create function flowgres.wrong()"
    " returns integer language sql security definer set search_path to pg_catalog, pg_temp return 1;"
    " grant execute on function flowgres.wrong() to flowgres_anon",
    "definer functions are not served": "create function flowgres_api.wrong() returns integer language sql"
    " security definer set search_path to pg_catalog, pg_temp return 1",
    "foreign keys have an index": TABLE
    + "alter table flowgres.wrong add other uuid, add foreign key (tenant_id, other) references flowgres.workflows",
    "no two indexes are the same": TABLE + "create unique index on flowgres.wrong (tenant_id, id)",
    "every table has a primary key": "create table flowgres.wrong (tenant_id uuid)",
    "no extension lies in a schema that others write": "set allow_system_table_mods = on;"
    " update pg_extension set extnamespace = 'public'::regnamespace",
    "nobody else makes objects in our schemas": "grant create on schema flowgres to flowgres_runner",
    "nobody may hand on a right": TABLE + "grant select on flowgres.wrong to flowgres_viewer with grant option",
}


@pytest.mark.parametrize("rule", RULES)
def test_rule_holds_until_it_is_broken(rule: str, db: Db) -> None:
    query = RULES[rule]
    assert db.column(query) == []
    db.run(BREAKING[rule])
    assert db.column(query) != []


def test_every_rule_can_be_broken() -> None:
    assert RULES.keys() == BREAKING.keys()


def test_no_view_of_the_api_has_a_column_of_its_own_name(db: Db) -> None:
    # A function that embeds is called with the row by the view's name, which would then be the column.
    found = db.column(
        "select c.relname from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attname = c.relname"
        " where c.relnamespace = 'flowgres_api'::regnamespace and c.relkind = 'v'"
    )
    assert found == []
