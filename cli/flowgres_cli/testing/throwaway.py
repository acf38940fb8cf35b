"""A database that is there for one run of tests: a private PostgreSQL, or one of its own on a server that was named."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowgres_cli import migrate
from flowgres_cli.connecting import connected, told
from flowgres_cli.dsn import checked_dsn
from flowgres_cli.stack.environment import without_libpq_variables
from flowgres_cli.stack.postgres import THROW_AWAY_OPTIONS, Cluster, dsn

DATABASE = "flowgres"
# Nothing is to be retired, wherever the clock goes; the functions of sql steps are elsewhere.
_SETTINGS: Mapping[str, Any] = {"log_retention_days": 36_500, "sql_functions_checked": False}

# The clock of such a database is a row, and stands still until somebody moves it: what happens at one moment happens at
# exactly that one, however slow the machine is, no lease runs out, and no plan has to be made anew.
_VIRTUAL_CLOCK = (
    "create schema flowgres_test",
    "create table flowgres_test.clock (at timestamptz not null)",
    "comment on table flowgres_test.clock is 'What time it is: one row.'",
    "insert into flowgres_test.clock select flowgres.now()",
    "grant usage on schema flowgres_test to public",
    "grant select on flowgres_test.clock to public",
    """create or replace function flowgres.now() returns timestamptz language plpgsql stable as
    $$ begin return (select c.at from flowgres_test.clock as c); end; $$""",
)


@dataclass(frozen=True, slots=True)
class ThrowAway:
    """How to get in: `owner_dsn` for the calls of the tests, `runner_dsn` for the runner."""

    owner_dsn: str
    runner_dsn: str


@contextlib.contextmanager
def throw_away_database(server_dsn: str | None) -> Iterator[ThrowAway]:
    """A database with flowgres in it and a clock that stands still, dropped at the end. Raises CliError, StackError.

    Without a server's address it is a PostgreSQL of its own, which ends with this process, however that ends.
    """
    if server_dsn is None:
        with without_libpq_variables(), tempfile.TemporaryDirectory(prefix="flowgres-test-") as folder:
            # The cluster may lie elsewhere, where the user that it runs as can get.
            Path(folder).chmod(0o755)
            cluster = Cluster(Path(folder) / "postgres", options=THROW_AWAY_OPTIONS, is_guarded=True)
            try:
                cluster.start()
                yield _in_cluster(cluster)
            finally:
                cluster.destroy()
        return
    with _on_server(checked_dsn(server_dsn, where="--database-url")) as found:
        yield found


def _in_cluster(cluster: Cluster) -> ThrowAway:
    password = secrets.token_urlsafe(24)
    owner_dsn = cluster.superuser_dsn(DATABASE)
    migrate.create_database(owner_dsn)
    migrate.upgrade(owner_dsn, passwords=dict.fromkeys(migrate.LOGIN_ROLES, password), settings=_SETTINGS)
    _stop_clock(owner_dsn)
    address = cluster.running()
    assert address is not None  # noqa: S101 - it has just been installed into
    return ThrowAway(owner_dsn, dsn(port=address.port, database=DATABASE, user="flowgres_runner", password=password))


@contextlib.contextmanager
def _on_server(server_dsn: str) -> Iterator[ThrowAway]:
    from psycopg import sql
    from psycopg.conninfo import make_conninfo

    name = f"flowgres_test_{secrets.token_hex(6)}"
    owner_dsn = make_conninfo(server_dsn, dbname=name)
    migrate.create_database(owner_dsn)
    try:
        migrate.upgrade(owner_dsn, settings=_SETTINGS)
        with connected(owner_dsn, application_name="flowgres-test") as connection, told():
            # The passwords of the login roles are those of whatever else is on that server, so this login does it all.
            if connection.info.parameter_status("is_superuser") != "on":
                connection.execute("grant flowgres_runner, flowgres_operator, flowgres_owner to current_user")
        _stop_clock(owner_dsn)
        yield ThrowAway(owner_dsn, owner_dsn)
    finally:
        with connected(server_dsn, application_name="flowgres-test") as connection, told():
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _stop_clock(owner_dsn: str) -> None:
    with connected(owner_dsn, application_name="flowgres-test") as connection, told(), connection.transaction():
        for statement in _VIRTUAL_CLOCK:
            connection.execute(statement)
