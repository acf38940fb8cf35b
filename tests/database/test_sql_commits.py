"""Commits of sql steps that break: whether they came through is found out before anything is said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from flowgres_runner.database import calls, connection
from flowgres_runner.database.calls import Called, Lost, SqlCalls
from flowgres_runner.errors import DatabaseUnreachableError
from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, dag, hands, import_workflow, start
from tests.support.functions import calling, effects, make_shop

BREAK = "select pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())"
ARGS: Any = {"step": "a"}


class Caller:
    """A runner's hands with the lease of a step, and what calls its function."""

    def __init__(self, runner: Hands, sql: SqlCalls) -> None:
        self.row = runner.claim()[0]
        self.sql = sql

    async def call(self) -> Any:
        lease = [str(self.row[name]) for name in ("tenant_id", "execution_id")]
        return await self.sql.call([*lease, self.row["queue_id"], self.row["token"]], "shop.reserve", ARGS, seconds=5.0)


@pytest.fixture
def runner(database: Database, db: Db, tenant: Tenant) -> Iterator[Hands]:
    make_shop(db)
    import_workflow(db, tenant, dag("sells", [calling("shop.reserve", args=ARGS)]))
    with hands(database) as runner:
        db.run("update flowgres.runners set capabilities = capabilities || '{sql}'")
        start(database, tenant, "sells")
        yield runner


@asynccontextmanager
async def calling_as(database: Database, runner: Hands) -> AsyncIterator[Caller]:
    sql = SqlCalls(database.dsn("sql"), runner_id=lambda: str(runner.id), connections=1)
    try:
        yield Caller(runner, sql)
    finally:
        await sql.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever broke is tried again at once."""
    monkeypatch.setattr(connection.Backoff, "next_seconds", lambda _: 0.0)


def breaking(monkeypatch: pytest.MonkeyPatch, commit: str, *, unreachable: int = 0, refuses: int = 0) -> list[str]:
    """The first commit is this one, and ends its connection; then so many others fail. What failed so."""
    commits, connect, ask = calls._COMMIT, connection.connect, calls._ask
    failed: list[str] = []

    async def connecting(*args: Any, **named: Any) -> Any:
        if calls._COMMIT is commit and failed:
            monkeypatch.setattr(calls, "_COMMIT", commits)
        if 0 < len(failed) <= unreachable:
            failed.append("connect")
            # By now the time of the attempt is over.
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(loop, "time", lambda: time.monotonic() + 1_000 * len(failed))
            raise DatabaseUnreachableError("gone", hint="")
        return await connect(*args, **named)

    async def asking(link: Any, query: str, parameters: Any) -> Any:
        if query == calls._CLOSE:
            if not failed:
                failed.append("commit")
        elif query == calls._OPEN and unreachable < len(failed) <= unreachable + refuses:
            failed.append("open")
            raise psycopg.errors.InsufficientPrivilege("not now")
        return await ask(link, query, parameters)

    monkeypatch.setattr(calls, "_COMMIT", commit)
    monkeypatch.setattr(calls, "connect", connecting)
    monkeypatch.setattr(calls, "_ask", asking)
    return failed


@pytest.mark.parametrize("more", [{"unreachable": 2}, {"refuses": 2}, {"unreachable": 1, "refuses": 1}])
async def test_a_commit_that_came_through_is_found_whatever_fails_after_it(
    database: Database, db: Db, runner: Hands, monkeypatch: pytest.MonkeyPatch, more: dict[str, int]
) -> None:
    failed = breaking(monkeypatch, f"commit; {BREAK}", **more)
    async with calling_as(database, runner) as caller:
        assert await caller.call() == Called({"step": "a", "quantity": 1})
    assert len(failed) == 3
    assert effects(db) == ["a"]


async def test_a_commit_that_never_came_through_is_made_again(
    database: Database, db: Db, runner: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch, BREAK, unreachable=1)
    async with calling_as(database, runner) as caller:
        assert await caller.call() == Called({"step": "a", "quantity": 1})
    assert effects(db) == ["a"]
    assert db.value("select count(*) from flowgres.sql_calls") == 0


async def test_a_doubt_ends_with_the_lease(
    database: Database, db: Db, runner: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = breaking(monkeypatch, BREAK, refuses=1)
    async with calling_as(database, runner) as caller:
        connect = vars(calls)["connect"]

        async def losing(*args: Any, **named: Any) -> Any:
            if failed:
                db.run("update flowgres.work_queue set token = token + 1")
            return await connect(*args, **named)

        monkeypatch.setattr(calls, "connect", losing)
        with pytest.raises(Lost):
            await caller.call()
    assert effects(db) == []
