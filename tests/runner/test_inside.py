"""A runner in the test's own process: what it does with what it holds when it was cut off, or is told to let go."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from flowgres_runner.database.connection import Link, connect
from flowgres_runner.errors import DatabaseUnreachableError
from flowgres_runner.http import EgressPolicy
from flowgres_runner.runner import Runner
from flowgres_runner.settings import RunnerSettings
from flowgres_runner.upkeep.scheduling import Scheduler
from flowgres_runner.work import leases as leases_module
from flowgres_runner.work.leases import Leases
from tests.support.chaos import set_lease
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, hands, import_workflow, start
from tests.support.peers import blackhole


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[Runner]:
    settings = RunnerSettings(
        database_url=database.url("runner"), direct_url=database.url("runner"), grace_seconds=0, poll_seconds=0.1
    )
    runner = Runner(settings, http_policy=EgressPolicy(allow_private_networks=True))
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        runner.request_stop()
        await asyncio.wait_for(task, 60)


async def eventually(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), what


async def test_lease_that_was_committed_late_is_found_by_the_second_look(
    database: Database, db: Db, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend of a connection that broke may still commit its claim after everything has been reconciled."""
    monkeypatch.setattr(leases_module, "SECOND_LOOK_SECONDS", 1.0)
    link = Link(database.dsn("runner"), application_name="test")
    leases = Leases()
    with hands(database) as lost:
        reconciling = asyncio.create_task(leases.reconcile_forever(link, lambda: lost.id))
        leases.need_reconciling()
        await asyncio.wait_for(leases.settled(), 30)
        start(database, tenant, import_workflow(db, tenant, dag("one", [{"id": "a"}])))
        assert len(lost.claim(1)) == 1
        held = "select count(*) from flowgres.work_queue where runner_id = %s"
        await eventually(lambda: db.value(held, lost.id) == 0, "nobody else would ever find it")
        await asyncio.wait_for(leases.settled(), 30)
    reconciling.cancel()
    await asyncio.gather(reconciling, return_exceptions=True)
    await link.close()


async def test_what_was_known_of_executions_is_forgotten_after_a_silence(database: Database, db: Db) -> None:
    """Others may have gone on with them meanwhile."""
    set_lease(db, lease_seconds=5, heartbeat_seconds=0.2)
    async with running(database) as runner:
        await eventually(lambda: db.value("select count(*) from flowgres.runners"), "it is registered")
        await asyncio.sleep(0.5)
        runner._contexts.store("x", 1, {}, 2)
        await asyncio.sleep(0.5)
        assert len(runner._contexts) == 1, "not as long as it is answered"
        runner._belief._until = 0
        await eventually(lambda: runner._belief.holds, "it is answered again")
        assert len(runner._contexts) == 0


async def test_what_was_known_of_executions_is_forgotten_by_one_that_was_given_up(database: Database, db: Db) -> None:
    async with running(database) as runner:
        await eventually(lambda: db.value("select count(*) from flowgres.runners"), "it is registered")
        before = runner._runner_id()
        runner._contexts.store("x", 1, {}, 2)
        await runner._begin_anew()
        assert len(runner._contexts) == 0
        assert runner._runner_id() != before


async def test_step_that_is_aborted_ends_and_leaves_its_slot(database: Database, db: Db, tenant: Tenant) -> None:
    with blackhole() as port:
        step = {"id": "a", "type": "http", "config": {"url": f"http://127.0.0.1:{port}/"}, "timeout": 60}
        start(database, tenant, import_workflow(db, tenant, dag("hang", [step])))
        async with running(database) as runner:
            await eventually(lambda: len(runner._running), "it runs")
            (step_here,) = runner._running._steps.values()
            assert step_here.task is not None
            await eventually(lambda: step_here.began is not None, "it has begun")
            free_before = runner._running._turns.free_count
            runner._running.abort_all(reason="test")
            await asyncio.wait([step_here.task], timeout=10)
            assert step_here.task.cancelled()
            assert runner._running._turns.free_count == free_before + 1


async def test_scheduler_that_is_cancelled_as_it_is_woken_ends(database: Database) -> None:
    """On Python 3.11 `asyncio.wait_for` loses a cancel that comes together with what it waits for."""
    link = Link(database.dsn("runner"), application_name="test")
    scheduler = Scheduler(link, on_work=lambda: None)
    for turns in range(6):
        task = asyncio.create_task(scheduler.run())
        await asyncio.sleep(0.3)
        scheduler.look()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled(), turns
        scheduler._hint.clear()
    await link.close()


async def test_runner_that_is_told_to_stop_at_any_moment_ends(database: Database) -> None:
    dice = random.Random(1)
    for turn in range(12):
        async with running(database) as runner:
            if turn % 3:
                await eventually(lambda: runner._belief.holds, "it works")
            for _ in range(dice.randrange(30)):
                runner._take_notice()
                await asyncio.sleep(dice.choice([0, 0, 0.001, 0.02]))


async def test_connecting_that_is_cancelled_leaves_no_connection(database: Database, db: Db) -> None:
    """One that was left to the collector would fail this test, or the next."""
    for milliseconds in range(0, 40):
        task = asyncio.create_task(connect(database.dsn("runner"), application_name="cancelled"))
        await asyncio.sleep(milliseconds / 2000)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await task).close()
    gc.collect()
    left = "select count(*) from pg_stat_activity where application_name = 'cancelled'"
    await eventually(lambda: db.value(left) == 0, "they are closed")


async def test_server_that_takes_no_writes_any_more_is_left(database: Database) -> None:
    """One that has become a standby answers, and goes on to refuse: its connection is of no more use."""
    link = Link(database.dsn("runner"), application_name="test")
    await link.call("set default_transaction_read_only to on")
    before = await link.call("select pg_backend_pid()")
    with pytest.raises(DatabaseUnreachableError):
        await link.call("create table public.t (i int)")
    assert await link.call("select pg_backend_pid()") != before
    await link.close()
