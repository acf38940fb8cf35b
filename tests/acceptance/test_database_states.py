"""Each state of a database that an operator can have is told in its own words, at every door: CLI, runner and front."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from starlette.applications import Starlette

from flowgres_cli import migrate
from flowgres_cli.errors import CliError
from flowgres_cli.examination import examine_database
from flowgres_cli.operator import call_as_operator
from flowgres_cli.stack.ports import free_port
from flowgres_cli.stack.postgres import THROW_AWAY_OPTIONS, Cluster
from flowgres_cli.stack.process import GuardedProcess
from flowgres_front.server import server_config
from flowgres_front.settings import FrontSettings
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.database.refusals import refusal_of
from flowgres_runner.errors import DatabaseError
from tests.support.database import Database
from tests.support.relay import announcing
from tests.support.server import INSTALLER, JWT_SECRET, ROLE_PASSWORD

pytestmark = pytest.mark.slow

INFO = {"name": "r", "version": "0", "protocol": 2, "environment": "development", "step_types": []}


@dataclass(frozen=True, slots=True)
class Doors:
    """How each of ours would connect: connection strings of the owner, the operator, the runner and the front."""

    owner: str
    operator: str
    runner: str
    front: str

    def changed(self, **parameters: Any) -> Doors:
        return Doors(
            *(make_conninfo(dsn, **parameters) for dsn in (self.owner, self.operator, self.runner, self.front))
        )


@dataclass(frozen=True, slots=True)
class Case:
    """What is done to a database, and the code that each door tells; None where this state does not concern it."""

    make: Callable[[Database, Doors, ExitStack], Doors]
    status: str | None
    install: str | None
    runner: str | None
    front: str | None


def run(*statements: str) -> Callable[[Database, Doors, ExitStack], Doors]:
    """Statements of a superuser, in the test's database unless they are about it."""

    def make(database: Database, doors: Doors, _: ExitStack) -> Doors:
        for statement in statements:
            is_about_it = "NAME" in statement
            dsn = database.server.superuser_dsn if is_about_it else database.dsn()
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(statement.replace("NAME", database.name).encode())
        return doors

    return make


def elsewhere(**parameters: Any) -> Callable[[Database, Doors, ExitStack], Doors]:
    return lambda _, doors, __: doors.changed(**parameters)


def unreachable(_: Database, doors: Doors, __: ExitStack) -> Doors:
    return doors.changed(port=free_port())


def too_old(database: Database, doors: Doors, stack: ExitStack) -> Doors:
    parts = conninfo_to_dict(database.server.superuser_dsn)
    port = stack.enter_context(announcing("13.14", host="127.0.0.1", port=int(str(parts["port"]))))
    return doors.changed(port=port)


def foreign(database: Database, doors: Doors, _: ExitStack) -> Doors:
    with database.connect() as db:
        db.run("drop schema flowgres, flowgres_api cascade")
        db.run("create schema flowgres; create table flowgres.migrations (id int)")
    return doors


CASES = {
    "wrong password": Case(elsewhere(password="wrong"), *["login_refused"] * 4),
    "no such login": Case(elsewhere(user="nobody_at_all"), *["login_refused"] * 4),
    "no such database": Case(elsewhere(dbname="fg_no_such"), *["database_missing"] * 4),
    "nobody answers": Case(
        unreachable, "database_unreachable", "database_unreachable", "database_unreachable", "unreachable",
    ),
    "connect refused": Case(
        run("revoke connect on database NAME from public", f"revoke connect on database NAME from {INSTALLER}",
            "alter database NAME owner to postgres"),
        "connect_refused", "connect_refused", "connect_refused", "connect_refused",
    ),
    "no connections allowed": Case(run("alter database NAME allow_connections false"), *["connect_refused"] * 4),
    "no connection left": Case(run("alter database NAME connection limit 0"), *["connections_exhausted"] * 4),
    "too old": Case(too_old, *["postgres_too_old"] * 4),
    "read-only by default": Case(
        run("alter database NAME set default_transaction_read_only to on"),
        None, "database_read_only", "database_read_only", None,
    ),
    "foreign schema": Case(foreign, "schema_taken", "schema_taken", "right_missing", "not_installed"),
    "not installed": Case(
        run("drop schema flowgres, flowgres_api cascade"), None, None, "not_installed", "not_installed",
    ),
    "rights are gone": Case(
        run("revoke usage on schema flowgres, flowgres_api from flowgres_runner, flowgres_front, flowgres_anon"),
        None, None, "right_missing", "right_missing",
    ),
}  # fmt: skip


@pytest.fixture
def doors(database: Database) -> Doors:
    return Doors(
        database.server.dsn(database.name, user=INSTALLER),
        database.dsn("operator"),
        database.dsn("runner"),
        database.dsn("front"),
    )


def code_at_runner(dsn: str) -> tuple[str, str]:
    """Code and hint that a runner logs, or ends with, when it registers."""

    async def register() -> None:
        link = Link(dsn, application_name="test")
        try:
            await queries.register_runner(link, runner_id=str(uuid.uuid4()), info=INFO)
        finally:
            await link.close()

    with pytest.raises(DatabaseError) as caught:
        asyncio.run(register())
    refusal = refusal_of(caught.value)
    return refusal.code, refusal.hint


def health_at_front(dsn: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        settings = FrontSettings(dsn=dsn, jwt_secret=JWT_SECRET, pool_wait_seconds=2)
        app = cast("Starlette", server_config(settings).app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://front") as client,
        ):
            return await client.get("/health")

    return asyncio.run(ask())


@pytest.mark.parametrize("name", CASES)
def test_state_is_told_at_every_door(name: str, database: Database, doors: Doors) -> None:
    case = CASES[name]
    with ExitStack() as stack:
        doors = case.make(database, doors, stack)
        calls: dict[Callable[[], Any], str | None] = {
            lambda: migrate.status(doors.owner): case.status,
            lambda: migrate.upgrade(doors.owner): case.install,
            lambda: call_as_operator(doors.operator, "select flowgres_api.health()", []): case.status
            if case.status != "schema_taken"
            else "not_installed",
        }
        for call, code in calls.items():
            if code is not None:
                with pytest.raises(CliError) as caught:
                    call()
                assert (caught.value.code, bool(caught.value.hint)) == (code, True), caught.value
                assert "ternal error" not in caught.value.message
        if case.status is not None:
            (finding, *_) = examine_database({"DATABASE_URL": doors.owner})
            assert finding.result == "problem"
            assert finding.fix
        if case.runner is not None:
            code, hint = code_at_runner(doors.runner)
            assert (code, bool(hint)) == (case.runner, True)
        if case.front is not None:
            answer = health_at_front(doors.front)
            assert (answer.status_code, answer.json()["database"]) == (503, case.front), answer.text


def test_standby_is_told_at_every_door(tmp_path: Path) -> None:
    options = {**THROW_AWAY_OPTIONS, "wal_level": "replica", "max_wal_senders": "3"}
    primary = Cluster(tmp_path / "primary", options=options)
    standby = Cluster(tmp_path / "standby", options=options)
    primary.start()
    try:
        dsn = primary.superuser_dsn("app")
        migrate.create_database(dsn)
        migrate.upgrade(dsn, passwords=dict.fromkeys(migrate.LOGIN_ROLES, ROLE_PASSWORD))
        _copy(primary, standby)
        standby.start()
        copied = make_conninfo(dsn, port=standby.running().port)  # type: ignore[union-attr]
        # The same server as far as anybody can tell: it must go on by itself once it is promoted.
        found = migrate.status(copied)
        assert found.installation is not None
        assert not found.installation.is_copy
        with pytest.raises(CliError) as caught:
            migrate.upgrade(copied)
        assert caught.value.code == "database_read_only"
        login = {"user": "flowgres_runner", "password": ROLE_PASSWORD}
        assert code_at_runner(make_conninfo(copied, **login))[0] == "database_read_only"
    finally:
        standby.destroy()
        primary.destroy()


def _copy(primary: Cluster, standby: Cluster) -> None:
    """A base backup that follows its primary, with the files where a cluster of ours has them."""
    standby.directory.mkdir(parents=True)
    standby._own(standby.directory, mode=0o700)
    backup = GuardedProcess(
        "pg_basebackup",
        [
            str(primary.binaries.path("pg_basebackup")),
            f"--dbname={primary.superuser_dsn()}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            f"--pgdata={standby.data_directory}",
        ],
        log_path=standby.directory / "backup.log",
        environment=standby._environment(),
        account=standby._account,
    )
    with backup:
        assert backup.wait() == 0, backup.log_tail()


@pytest.mark.parametrize(
    ("sqlstate", "code"), [("53100", "disk_full"), ("53200", "memory_exhausted"), ("58030", "disk_failed")]
)
def test_what_the_server_lacks_is_no_fault_of_ours(sqlstate: str, code: str, database: Database) -> None:
    from flowgres_front.problems import from_database
    from flowgres_runner.database.connection import classified

    with psycopg.connect(database.dsn(), autocommit=True) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(f"do $$ begin raise sqlstate '{sqlstate}' using message = 'could not extend file'; end $$")
    problem = from_database(caught.value)
    assert (problem.status, problem.code) == (503, code)
    error = classified(caught.value)
    assert (error.code, bool(error.hint)) == (code, True)
