"""A database in trouble: what passes is waited for, what stands still is left, and no step fails for it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from flowgres_cli.stack.postgres import THROW_AWAY_OPTIONS, Cluster
from flowgres_runner.database import listening
from flowgres_runner.database.connection import Link
from flowgres_runner.database.listening import Listener
from flowgres_runner.errors import DatabaseUnreachableError
from tests.runner.lanes import running
from tests.support.database import Database, Db, Tenant, end_sessions
from tests.support.engine import dag, get, import_workflow, start
from tests.support.runner import Runner, wait_for

LISTENING = "select pid from pg_stat_activity where application_name = 'flowgres-runner listen'"
LOOK_UPS = {"get_version": "uuid", "declare_idle": "uuid, boolean"}


@pytest.fixture
def workflow(db: Db, tenant: Tenant) -> str:
    return import_workflow(db, tenant, dag("one", [{"id": "a", "type": "log", "config": {"message": "{{ input.n }}"}}]))


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def test_runner_that_cannot_declare_itself_idle_works_on(
    database: Database, db: Db, tenant: Tenant, workflow: str
) -> None:
    db.run(f"alter role flowgres_runner in database {database.name} set lock_timeout to '100ms'")
    async with running(database) as lane:
        lane.loop.poll_seconds = 0.2
        with database.connect() as other, other.connection.transaction():
            held = asyncio.Event()

            def hold(call: str) -> None:
                if call == "claim:0" and not held.is_set():
                    other.run("select from flowgres.runners where id = %s for update", lane.runner_id)
                    held.set()

            for link in lane.links:
                link.before_answer = hold
            await asyncio.wait_for(held.wait(), 10)
            await asyncio.sleep(0.5)
            assert "declare_idle" not in lane.calls
            start(database, tenant, workflow)
            step = await lane.take()
        lane.report(step)
        await lane.holds_nothing()


@pytest.mark.parametrize("function", LOOK_UPS)
def test_function_that_is_missing_for_a_while_fails_no_execution(
    database: Database, db: Db, tenant: Tenant, workflow: str, tmp_path: Path, function: str
) -> None:
    signature = f"({LOOK_UPS[function]})"
    runner = Runner(database, log_path=tmp_path / "runner.log").start()
    try:
        db.run(f"alter function flowgres.{function}{signature} rename to {function}_away")
        executions = [start(database, tenant, workflow, input={"n": n}) for n in range(3)]
        wait_for(lambda: "42883" in runner.log, what="the complaint")
        db.run(f"alter function flowgres.{function}_away{signature} rename to {function}")
        for execution_id in executions:
            wait_for(lambda one=execution_id: get(database, tenant, one)["status"] == "completed", what="the end")  # type: ignore[misc]
        assert runner.process.return_code is None
    finally:
        runner.stop()


def test_database_of_another_isolation_by_default_is_worked_on(
    database: Database, db: Db, tenant: Tenant, workflow: str, tmp_path: Path
) -> None:
    db.run(f"alter database {database.name} set default_transaction_isolation to 'repeatable read'")
    runner = Runner(database, log_path=tmp_path / "runner.log").start()
    try:
        execution_id = start(database, tenant, workflow, input={"n": 1})
        wait_for(lambda: get(database, tenant, execution_id)["status"] == "completed", what="the end")
    finally:
        runner.stop()


def test_runner_whose_claims_are_refused_is_not_called_alive(
    database: Database, db: Db, tenant: Tenant, workflow: str, tmp_path: Path
) -> None:
    # Somebody's own setting stays, so this is how it may be.
    role = f"alter role flowgres_runner in database {database.name}"
    db.run(f"{role} set default_transaction_isolation to 'serializable'")
    runner = Runner(database, log_path=tmp_path / "runner.log").start()
    try:
        wait_for(lambda: db.column("select status from flowgres.list_runners()") == ["blocked"], what="the status")
        assert db.value("select flowgres.health()")["status"] == "degraded"
        execution_id = start(database, tenant, workflow, input={"n": 1})
        db.run(f"{role} reset default_transaction_isolation")
        # Sessions keep what they began with.
        end_sessions(db, "flowgres_runner")
        wait_for(lambda: get(database, tenant, execution_id)["status"] == "completed", what="the end")
        wait_for(lambda: db.value("select flowgres.health()")["status"] == "ok", what="its health")
    finally:
        runner.stop()


@pytest.fixture
def own_url(tmp_path: Path) -> Iterator[str]:
    """A server whose processes are here, wherever that of the other tests is."""
    cluster = Cluster(tmp_path / "own", options=THROW_AWAY_OPTIONS)
    cluster.start()
    try:
        yield cluster.superuser_dsn()
    finally:
        cluster.destroy()


async def test_backend_that_stands_still_is_left(own_url: str) -> None:
    link = Link(own_url, application_name="still", seconds=0.5)
    pid = int((await link.call("select pg_backend_pid()"))[0][0])
    with standing_still(pid):
        async with asyncio.timeout(5):
            with pytest.raises(DatabaseUnreachableError, match=r"did not answer within 0\.5 s"):
                await link.call("select 1")
            assert await link.call("select 1") == [(1,)]
    await link.close()


async def test_listener_whose_backend_stands_still_listens_anew(own_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PING_SECONDS", 0.3)
    monkeypatch.setattr(listening, "PING_DEADLINE_SECONDS", 0.3)
    heard: asyncio.Queue[None] = asyncio.Queue()
    listener = Listener(own_url, lambda: heard.put_nowait(None))
    assert listener.deaf_seconds > 0
    task = asyncio.create_task(listener.run())
    try:
        await asyncio.wait_for(heard.get(), 10)
        assert listener.deaf_seconds == 0
        with psycopg.connect(own_url) as other:
            (pid,) = other.execute(LISTENING).fetchone() or (0,)
        with standing_still(pid):
            # It looks for work whenever it begins to listen.
            await asyncio.wait_for(heard.get(), 5)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
