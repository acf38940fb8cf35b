"""What must hold for every object of the schema, asked of the catalogue."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tests.support.database import Database, Db

TENANT_PREDICATE = "(tenant_id = ( SELECT flowgres.tenant_id() AS tenant_id))"
INSTALLATION_ROWS = "(tenant_id = '00000000-0000-0000-0000-000000000000'::uuid)"
OWN_AND_SHARED = f"({TENANT_PREDICATE} OR {INSTALLATION_ROWS})"
TENANT_ROLES = ("flowgres_anon", "flowgres_viewer", "flowgres_member", "flowgres_admin")
TABLES = """
select c.oid::regclass::text as name, c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relispartition
from pg_class as c
where c.relnamespace = 'flowgres'::regnamespace and c.relkind in ('r', 'p')
"""
FUNCTIONS = """
select
  p.oid::regprocedure::text as name, p.proname, p.proowner::regrole::text as owner, p.prosecdef, p.prosrc,
  coalesce(p.proconfig, '{}') as config, n.nspname as schema, obj_description(p.oid) as comment
from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
where n.nspname in ('flowgres', 'flowgres_api')
"""


def test_every_table_forces_row_security(db: Db) -> None:
    tables = db.all(TABLES)
    assert len(tables) > 30
    assert [t["name"] for t in tables if not (t["relrowsecurity"] and t["relforcerowsecurity"])] == []


def test_every_table_has_the_same_policies(db: Db) -> None:
    everywhere = {
        "engine_all": ("ALL", "true", "true", "{flowgres_engine,flowgres_owner}"),
        "operator_select": ("SELECT", "true", None, "{flowgres_operator}"),
    }
    tenant_all = ("ALL", TENANT_PREDICATE, TENANT_PREDICATE, "{flowgres_definer,flowgres_viewer}")
    listed = "(name = ANY (( SELECT flowgres.tenant_settings() AS tenant_settings)::text[]))"
    shared = {
        "definer_select": ("SELECT", OWN_AND_SHARED, None, "{flowgres_definer}"),
        "definer_insert": ("INSERT", None, TENANT_PREDICATE, "{flowgres_definer}"),
        "definer_update": ("UPDATE", TENANT_PREDICATE, TENANT_PREDICATE, "{flowgres_definer}"),
        "definer_delete": ("DELETE", TENANT_PREDICATE, None, "{flowgres_definer}"),
    }
    listed_rows = f"({TENANT_PREDICATE} OR ({INSTALLATION_ROWS} AND {listed}))"
    special = {
        "clock": {"owner_all": ("ALL", "true", "true", "{flowgres_owner}")},
        "step_types": everywhere | shared | {"tenant_select": ("SELECT", OWN_AND_SHARED, None, "{flowgres_viewer}")},
        "sql_functions": everywhere | shared | {"tenant_select": ("SELECT", OWN_AND_SHARED, None, "{flowgres_viewer}")},
        "settings": everywhere | shared | {"tenant_select": ("SELECT", listed_rows, None, "{flowgres_viewer}")},
    }
    for table in db.all(TABLES):
        policies = {
            row["policyname"]: (row["cmd"], row["qual"], row["with_check"], row["roles"])
            for row in db.all(
                "select policyname, cmd, qual, with_check, array(select unnest(roles) order by 1)::text as roles"
                " from pg_policies where schemaname = 'flowgres' and tablename = %s and permissive = 'PERMISSIVE'",
                table["relname"],
            )
        }
        assert policies == special.get(table["relname"], everywhere | {"tenant_all": tenant_all}), table["name"]


def test_no_table_exists_without_its_tenant(db: Db) -> None:
    without = db.column(
        "select c.oid::regclass::text from pg_class as c where c.relnamespace = 'flowgres'::regnamespace"
        " and c.relkind in ('r', 'p') and not exists (select from pg_attribute as a"
        " where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnotnull)"
    )
    assert without == []


def test_every_key_includes_the_tenant(db: Db) -> None:
    # Tenant slugs, the logins that are mapped to tenants and addresses of webhooks are unique in all of it.
    across = {"tenants_slug_key", "tenant_logins_login_name_key", "webhooks_token_idx"}
    keys = db.all(
        "select c.relname as name, i.indisprimary, array(select a.attname::text from unnest(i.indkey) with ordinality"
        " as k (number, place) join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number"
        " order by k.place)"
        " as columns from pg_index as i join pg_class as c on c.oid = i.indexrelid"
        " where c.relnamespace = 'flowgres'::regnamespace and i.indisunique"
    )
    assert [k["name"] for k in keys if "tenant_id" not in k["columns"] and k["name"] not in across] == []
    assert [k["name"] for k in keys if k["indisprimary"] and k["columns"][0] != "tenant_id"] == []
    references = db.column(
        "select o.conname from pg_constraint as o join pg_attribute as a"
        " on a.attrelid = o.conrelid and a.attnum = o.conkey[1]"
        " where o.connamespace = 'flowgres'::regnamespace and o.contype = 'f' and a.attname <> 'tenant_id'"
    )
    assert references == []


def test_every_object_is_explained(db: Db) -> None:
    relations = db.column(
        "select c.oid::regclass::text from pg_class as c"
        " where c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace)"
        " and c.relkind in ('r', 'p', 'v') and obj_description(c.oid, 'pg_class') is null"
    )
    assert relations == []
    # Partitions have the columns of their table, and its comments; composite types are explained as a whole.
    columns = db.column(
        "select c.oid::regclass || '.' || a.attname from pg_class as c join pg_attribute as a on a.attrelid = c.oid"
        " where c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace)"
        " and c.relkind in ('r', 'p', 'v') and not c.relispartition and a.attnum > 0 and not a.attisdropped"
        " and coalesce(col_description(c.oid, a.attnum), '') = ''"
    )
    assert columns == []
    types = db.column(
        "select t.oid::regtype::text from pg_type as t left join pg_class as c on c.oid = t.typrelid"
        " where t.typnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace)"
        " and (t.typtype in ('d', 'e') or c.relkind = 'c') and obj_description(t.oid, 'pg_type') is null"
    )
    assert types == []
    assert [f["name"] for f in db.all(FUNCTIONS) if not f["comment"]] == []


def test_pinned_search_paths_leave_temporary_objects_last(db: Db) -> None:
    # An empty path, or one without pg_temp, still looks up the names of types and tables in pg_temp, and there first.
    pinned = [f for f in db.all(FUNCTIONS) if "search_path" in str(f["config"])]
    assert len(pinned) > 100
    assert [f["name"] for f in pinned if "search_path=pg_catalog, pg_temp" not in f["config"]] == []


def test_definer_functions_have_a_pinned_search_path_and_an_owner_of_ours(db: Db) -> None:
    owners = {"flowgres_owner", "flowgres_definer", "flowgres_engine"}
    functions = [f for f in db.all(FUNCTIONS) if f["prosecdef"]]
    assert len(functions) > 20
    for function in functions:
        assert "search_path" in str(function["config"]), function["name"]
        assert function["owner"] in owners, function["name"]
        assert function["schema"] == "flowgres", function["name"]


def test_definer_functions_that_tenants_may_call_are_under_the_tenant_policy(db: Db) -> None:
    # Those of the owner and the engine see all tenants: each of these was looked at.
    allowed = {
        *(
            "tenant_of_login",
            "tenant_of_call",
            "authenticate_key",
            "is_tenant_open",
            "health",
            "list_runners",
            "unserved_reason",
        ),
        "enter",  # it takes a lock, and tells nothing
        "metrics_until",  # a moment of the installation's
        *("serving_runners", "heard_runner"),  # of runners what list_runners tells, and whether any has room
        *("pause_tenant", "resume_tenant"),  # one's own, and any by an operator: tenant_to_act_on asks
        "explain_limit",  # who holds a limit of the caller's own tenant
        "place_in_line",  # of the caller's own steps, and of others that there are any
    }
    callable_by = " or ".join(f"has_function_privilege('{role}', p.oid, 'execute')" for role in TENANT_ROLES)
    names = db.column(
        "select p.proname from pg_proc as p where p.pronamespace = 'flowgres'::regnamespace and p.prosecdef"
        f" and p.proowner <> 'flowgres_definer'::regrole and ({callable_by})"
    )
    assert set(names) <= allowed


def test_nothing_is_granted_to_public(db: Db) -> None:
    functions = db.column(
        "select p.oid::regprocedure::text from pg_proc as p,"
        " aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a"
        " where p.pronamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace) and a.grantee = 0"
    )
    assert functions == []
    relations = db.column(
        "select c.oid::regclass::text from pg_class as c, aclexplode(c.relacl) as a"
        " where c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace) and a.grantee = 0"
    )
    assert relations == []


def test_tenant_roles_only_read_and_only_what_they_may_see(db: Db) -> None:
    for role in (*TENANT_ROLES, "flowgres_runner", "flowgres_front", "flowgres_authenticator"):
        for verb in ("insert", "update", "delete", "truncate", "references", "trigger"):
            granted = db.column(
                "select c.oid::regclass::text from pg_class as c"
                " where c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace)"
                " and c.relkind in ('r', 'p', 'v') and has_table_privilege(%s, c.oid, %s)",
                role,
                verb,
            )
            assert granted == [], (role, verb)
    hidden = [("api_keys", "key_hash"), ("secrets", "ciphertext"), ("secrets", "nonce"), ("runners", "stats")]
    for table, column in hidden:
        for role in (*TENANT_ROLES, "flowgres_runner"):
            assert not db.value("select has_column_privilege(%s, %s, %s, 'select')", role, f"flowgres.{table}", column)


def test_nobody_may_truncate(db: Db) -> None:
    granted = db.column(
        "select c.oid::regclass::text from pg_class as c, aclexplode(c.relacl) as a"
        " where c.relnamespace = 'flowgres'::regnamespace and a.privilege_type in ('TRUNCATE', 'REFERENCES')"
        " and a.grantee <> 'flowgres_owner'::regrole"
    )
    assert granted == []


def test_runners_reach_no_table_and_only_the_engine(db: Db) -> None:
    readable = db.column(
        "select c.oid::regclass::text from pg_class as c where c.relnamespace = 'flowgres'::regnamespace"
        " and c.relkind in ('r', 'p') and has_table_privilege('flowgres_runner', c.oid, 'select')"
    )
    assert readable == []
    api = db.column(
        "select p.oid::regprocedure::text from pg_proc as p where p.pronamespace = 'flowgres_api'::regnamespace"
        " and has_function_privilege('flowgres_runner', p.oid, 'execute')"
    )
    assert api == []


def test_views_run_with_the_rights_of_their_caller(db: Db) -> None:
    views = db.all(
        "select c.oid::regclass::text as name, c.reloptions::text as options from pg_class as c"
        " where c.relnamespace = 'flowgres_api'::regnamespace and c.relkind = 'v'"
    )
    assert [v["name"] for v in views if "security_invoker=true" not in (v["options"] or "")] == []
    exposing = db.column(
        "select attrelid::regclass::text from pg_attribute where attname = 'tenant_id'"
        " and attrelid::regclass::text like 'flowgres_api.%'"
    )
    assert {v["name"] for v in views} <= set(exposing)


def test_functions_of_the_api_are_thin(db: Db) -> None:
    # A column silently wins over an argument of the same name in a SQL function that reads a table.
    functions = [f for f in db.all(FUNCTIONS) if f["schema"] == "flowgres_api"]
    assert functions
    relationships = [f for f in functions if "(flowgres_api." in f["name"]]
    for function in functions:
        if function not in relationships:
            assert not re.search(r"\bfrom\b", function["prosrc"]), function["name"]
        assert not function["prosecdef"]
    # A relationship is found by the row it takes as well: only those may share a name, which is their resource's.
    names = [f["proname"] for f in functions if f not in relationships]
    assert len(names) == len(set(names)), "PostgREST cannot tell overloads apart"
    assert {f["proname"] for f in relationships}.isdisjoint(names)


@pytest.mark.parametrize("role", ["viewer", "member", "admin"])
def test_tenant_sees_its_own_rows_in_every_table(role: Any, database: Database, as_role: Callable[..., Any]) -> None:
    first, second = database.make_tenant("First"), database.make_tenant("Second")
    with as_role(role, tenant_id=first.tenant_id) as db:
        assert db.column("select tenant_id::text from flowgres.tenants") == [first.tenant_id]
        db.run("select set_config('flowgres.tenant_id', '', true)")
        assert db.column("select tenant_id::text from flowgres.tenants") == []
        db.run("select set_config('flowgres.tenant_id', %s, true)", second.tenant_id)
        assert db.column("select tenant_id::text from flowgres.tenants") == [second.tenant_id]


@contextmanager
def login_that_views(database: Database, db: Db) -> Iterator[tuple[str, Db]]:
    """The name and a connection of a login of its own: the roles of flowgres belong to all databases of the server."""
    name = f"viewer_{secrets.token_hex(6)}"
    db.run(f"create role {name} login password 'secret' in role flowgres_viewer")
    try:
        dsn = make_conninfo(database.dsn(), user=name, password="secret")
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
            yield name, Db(connection)
    finally:
        db.run(f"drop owned by {name}")
        db.run(f"drop role {name}")


def test_login_that_is_not_trusted_cannot_choose_its_tenant(database: Database, db: Db) -> None:
    first, second = database.make_tenant("First"), database.make_tenant("Second")
    with login_that_views(database, db) as (name, login):
        login.run("set flowgres.tenant_id = '" + first.tenant_id + "'")
        assert login.column("select slug from flowgres_api.tenants") == []
        db.run("insert into flowgres.tenant_logins (tenant_id, login_name) values (%s, %s)", second.tenant_id, name)
        assert login.column("select slug from flowgres_api.tenants") == ["second"]


def test_login_cannot_change_what_the_words_of_the_policies_mean(database: Database, db: Db) -> None:
    other = database.make_tenant("Other")
    with login_that_views(database, db) as (name, login):
        db.run(f"create schema forged authorization {name}")
        for signature, answer in (
            ("current_setting(text, boolean) returns text", f"'{other.tenant_id}'"),
            ("pg_has_role(name, text, text) returns boolean", "true"),
            ("pg_has_role(name, name, text) returns boolean", "true"),
        ):
            login.run(f"create function forged.{signature} language sql immutable return {answer}")
        login.run("create function forged.same(name, text) returns boolean language sql immutable return true")
        login.run("create operator forged.= (function = forged.same, leftarg = name, rightarg = text)")
        login.run(f"set flowgres.tenant_id = '{other.tenant_id}'")
        login.run("set search_path = forged, pg_catalog")
        assert login.value("select current_setting('x', true)") == other.tenant_id
        assert login.value("select flowgres.tenant_id()") is None
        assert login.column("select slug from flowgres_api.tenants") == []


def test_new_partition_is_protected_too(db: Db) -> None:
    db.run("select flowgres.set_clock(p_shift => interval '300 days')")
    assert db.call("flowgres.maintain_history")["created"] > 0
    unprotected = [t["name"] for t in db.all(TABLES) if not t["relforcerowsecurity"]]
    assert unprotected == []
