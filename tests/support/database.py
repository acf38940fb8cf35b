"""A database of one test, and short ways to ask it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.support.server import Server

LoginRole = Literal["runner", "front", "authenticator", "operator", "sql"]
TenantRole = Literal["anon", "viewer", "member", "admin", "worker"]
Row = dict[str, Any]


class Db:
    """A connection in autocommit mode, with answers as dicts. `connection` is the psycopg connection."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self.connection = connection

    def all(self, query: str, *parameters: Any, **named: Any) -> list[Row]:
        """All rows; parameters are `%s` in order, or `%(name)s` by keyword."""
        cursor = self._run(query, parameters, named)
        return cursor.fetchall()

    def one(self, query: str, *parameters: Any, **named: Any) -> Row:
        """The one row; more or fewer are a failure."""
        rows = self.all(query, *parameters, **named)
        assert len(rows) == 1, f"expected one row, got {len(rows)}: {query}"
        return rows[0]

    def value(self, query: str, *parameters: Any, **named: Any) -> Any:
        """The one value of the one row."""
        row = self.one(query, *parameters, **named)
        assert len(row) == 1, f"expected one column, got {list(row)}"
        return next(iter(row.values()))

    def column(self, query: str, *parameters: Any, **named: Any) -> list[Any]:
        """The values of the only column."""
        return [next(iter(row.values())) for row in self.all(query, *parameters, **named)]

    def run(self, query: str, *parameters: Any, **named: Any) -> int:
        """Run a statement, or several without parameters; return the number of rows of the last."""
        return self._run(query, parameters, named).rowcount

    def call(self, function: str, **arguments: Any) -> Any:
        """Call a function with named arguments and return its value; dicts and lists travel as jsonb."""
        parts = [sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in arguments]
        names = sql.SQL(".").join(sql.Identifier(part) for part in function.split("."))
        query = sql.SQL("select {}({})").format(names, sql.SQL(", ").join(parts))
        rows = self.connection.execute(query, {name: _adapted(value) for name, value in arguments.items()}).fetchall()
        return next(iter(rows[0].values())) if rows else None

    def _run(self, query: str, parameters: Sequence[Any], named: Mapping[str, Any]) -> psycopg.Cursor[Row]:
        assert not (parameters and named), "positional or named parameters, not both"
        given: Any = [_adapted(value) for value in parameters] or {k: _adapted(v) for k, v in named.items()} or None
        return self.connection.execute(query, given)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant made for a test, with its first API key (role admin)."""

    tenant_id: str
    slug: str
    key: str


@dataclass(frozen=True, slots=True)
class Database:
    """A fresh copy of the template, with flowgres installed and nothing in it."""

    name: str
    server: Server

    def dsn(self, role: LoginRole | None = None) -> str:
        """Connection string of the superuser, or of the login role `flowgres_<role>`."""
        return self.server.dsn(self.name, user=f"flowgres_{role}" if role else None)

    def url(self, role: LoginRole) -> str:
        """The same as a URL."""
        return self.server.url(self.name, user=f"flowgres_{role}")

    @contextmanager
    def connect(self, role: LoginRole | None = None) -> Iterator[Db]:
        """Open one more connection, in autocommit mode."""
        with psycopg.connect(self.dsn(role), autocommit=True, row_factory=dict_row) as connection:
            yield Db(connection)

    def make_tenant(self, name: str = "Acme") -> Tenant:
        """Register a tenant, as an operator does."""
        with self.connect("operator") as db:
            answer = db.call("flowgres_api.register_tenant", name=name)
        return Tenant(tenant_id=answer["tenant_id"], slug=answer["slug"], key=answer["api_key"])

    @contextmanager
    def as_role(self, role: TenantRole, *, commit: bool = True, **claims: Any) -> Iterator[Db]:
        """One transaction exactly as PostgREST makes it for a JWT: role, claims, then the pre-request function.

        `claims` are those of the token, `tenant_id` among them; as `anon` there is no token.
        """
        with (
            psycopg.connect(self.dsn("authenticator"), row_factory=dict_row) as connection,
            postgrest_request(connection, role, commit=commit, **claims) as db,
        ):
            yield db


@contextmanager
def postgrest_request(
    connection: psycopg.Connection[Row], role: TenantRole, *, commit: bool = True, **claims: Any
) -> Iterator[Db]:
    """The transaction of one request on a connection of the authenticator, as `Database.as_role` says."""
    token = {} if role == "anon" else {"role": f"flowgres_{role}", "exp": time.time() + 60, "sub": "test", **claims}
    with connection.transaction(force_rollback=not commit):
        db = Db(connection)
        settings = {
            "role": f"flowgres_{role}",
            "request.jwt.claims": json.dumps(token, default=str),
            "request.headers": "{}",
            "request.cookies": "{}",
            "request.method": "POST",
            "request.path": "/",
            "search_path": "flowgres_api",
        }
        query = ", ".join(["set_config(%s, %s, true)"] * len(settings))
        db.run(f"select {query}", *(part for setting in settings.items() for part in setting))
        db.run("select flowgres.pre_request()")
        yield db


def end_sessions(db: Db, login: str) -> None:
    """End all sessions of a login in this database: others of the server belong to other tests."""
    db.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = %s and datname = current_database()",
        login,
    )


class Clock:
    """The engine's clock, moved by the owner of the installation; it goes on ticking from where it was put."""

    def __init__(self, db: Db) -> None:
        self._db = db

    def now(self) -> Any:
        """The engine's time."""
        return self._db.value("select flowgres.now()")

    def advance(self, *, seconds: float) -> None:
        """Move the engine's clock forward (or back)."""
        self._db.run(
            "select flowgres.set_clock(p_shift => flowgres.now() - clock_timestamp() + make_interval(secs => %s))",
            seconds,
        )

    def set(self, at: Any) -> None:
        """Put the engine's clock at a moment (a datetime, or text with its zone)."""
        self._db.run("select flowgres.set_clock(p_shift => %s::timestamptz - clock_timestamp())", at)


def _adapted(value: Any) -> Any:
    from psycopg.types.json import Jsonb

    return Jsonb(value) if isinstance(value, dict | list) else value
