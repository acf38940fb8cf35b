"""Temporary objects of a login never become part of what the engine's functions do."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tests.support.database import Clock, Database, Db, LoginRole, Tenant

# Names of types in the bodies of our functions. Keywords such as integer are not looked up, so nobody can forge them.
TYPE_NAMES = ("timestamptz", "uuid", "text", "jsonb", "json", "bytea", "tid", "regclass", "regproc")
TABLE_NAMES = ("tenants", "pg_class", "pg_roles", "pg_inherits")

CALLABLE = """
select p.oid::regprocedure::text as signature, n.nspname || '.' || quote_ident(p.proname) as name,
  array(select format_type(t.oid, null) from unnest(p.proargtypes) with ordinality as a (type, place)
    join pg_type as t on t.oid = a.type order by a.place) as types
from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
where n.nspname in ('flowgres', 'flowgres_api') and p.prokind = 'f' and has_function_privilege(p.oid, 'execute')
order by 1
"""
VALUES = {
    "uuid": "gen_random_uuid()",
    "text": "'x'",
    "jsonb": "'{}'",
    "integer": "1",
    "timestamp with time zone": "now()",
    "uuid[]": "array[gen_random_uuid()]",
    "text[]": "'{x}'",
}


@pytest.fixture
def login_of(database: Database, db: Db) -> Iterator[Callable[[str, Tenant | None], str]]:
    """A login of its own with one of our roles, mapped to a tenant; the function returns its connection string."""
    names = []

    def make(role: str, tenant: Tenant | None = None) -> str:
        name = f"login_{secrets.token_hex(6)}"
        db.run(f"create role {name} login password 'secret'")
        names.append(name)
        db.run(f"grant flowgres_{role} to {name}")
        if tenant is not None:
            db.run("insert into flowgres.tenant_logins (tenant_id, login_name) values (%s, %s)", tenant.tenant_id, name)
        return make_conninfo(database.dsn(), user=name, password="secret")

    yield make
    for name in names:
        db.run(f"drop owned by {name}")
        db.run(f"drop role {name}")


@contextmanager
def _connected(dsn: str) -> Iterator[Db]:
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        yield Db(connection)


def _forge(login: Db) -> None:
    """Put a type, checked by a function of ours, where a careless search path would find it first."""
    login.run(
        "create function pg_temp.intrude() returns boolean language plpgsql as $$"
        "begin raise exception 'intruder ran as %', current_user; end $$"
    )
    for name in TYPE_NAMES:
        login.run(f'create domain pg_temp."{name}" as pg_catalog."{name}" check (pg_temp.intrude())')
    for name in TABLE_NAMES:
        login.run(f'create view pg_temp."{name}" as select pg_temp.intrude() as tenant_id')


def _intrusions(login: Db, *, at_least: int) -> list[str]:
    """Forge, and call everything that this login may call; return what ran our code."""
    found = []
    functions = login.all(CALLABLE)
    assert len(functions) > at_least
    _forge(login)
    # The calls themselves are to mean the real types; the functions bring their own path.
    login.run("set search_path to pg_catalog, pg_temp")
    for function in functions:
        for values in (["null"] * len(function["types"]), [VALUES.get(t, "null") for t in function["types"]]):
            arguments = ", ".join(f"{v}::{t}" for v, t in zip(values, function["types"], strict=True))
            try:
                login.run(f"select * from {function['name']}({arguments})")
            except psycopg.Error as error:
                if "intruder" in str(error):
                    found.append(f"{function['signature']}: {error}")
    return found


def test_the_forged_types_are_found_by_a_function_with_an_empty_search_path(database: Database, db: Db) -> None:
    """The attack itself works: what follows fails when one of our functions is open to it."""
    db.run(
        "create function public.careless() returns void language plpgsql security definer set search_path to ''"
        " as $$ declare v_at timestamptz := now(); begin end $$"
    )
    with database.connect("sql") as login:
        _forge(login)
        with pytest.raises(psycopg.Error, match="intruder ran as"):
            login.run("select public.careless()")


ROLES = [*(pytest.param(role, marks=pytest.mark.slow) for role in ("viewer", "member", "operator")), "admin"]


@pytest.mark.parametrize("role", ROLES)
def test_a_tenants_login_runs_nothing_as_the_engine(login_of: Callable[..., str], tenant: Tenant, role: str) -> None:
    with _connected(login_of(role, tenant)) as login:
        assert _intrusions(login, at_least=20) == []


@pytest.mark.parametrize("role", ["runner", "front", "authenticator"])
def test_a_login_of_the_installation_runs_nothing_as_the_engine(database: Database, role: LoginRole) -> None:
    with database.connect(role) as login:
        assert _intrusions(login, at_least=10) == []


def test_history_is_kept_with_the_names_of_the_catalogue(database: Database, clock: Clock, db: Db) -> None:
    clock.advance(seconds=30 * 86400)
    with database.connect("runner") as login:
        _forge(login)
        assert login.value("select flowgres.maintain_history()")["created"] > 0
