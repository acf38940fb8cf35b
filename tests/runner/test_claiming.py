"""When the work loop asks for steps: never in the middle of the work it has, and never too late for what comes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from flowgres_runner.database import queries
from flowgres_runner.database.connection import Backoff, Link
from flowgres_runner.steps.base import ChildStarted, Outcome, Suspended
from flowgres_runner.work import loop as work_loop
from tests.runner.lanes import LONG, running
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow, start


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_loop, "LATE_LOOK_SECONDS", LONG)


@pytest.fixture
def workflow(db: Db, tenant: Tenant) -> str:
    return import_workflow(db, tenant, dag("one", [{"id": "a"}]))


async def test_claim_that_emptied_the_queue_is_followed_by_results_only(
    database: Database, tenant: Tenant, workflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "PAUSE_SECONDS", LONG)
    start(database, tenant, workflow)
    async with running(database) as lane:
        step = await lane.take()
        await asyncio.sleep(0.05)
        assert lane.calls == ["claim:1"]
        lane.report(step)
        assert await lane.sleeps() == ["claim:1", "complete", "claim:0", "declare_idle", "claim:0"]


async def test_work_that_comes_while_work_is_in_hand_is_found_after_a_pause(
    database: Database, tenant: Tenant, workflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "PAUSE_SECONDS", 0.3)
    start(database, tenant, workflow)
    async with running(database) as lane:
        first = await lane.take()
        # Nobody is idle, so nobody is notified of this one.
        start(database, tenant, workflow)
        assert lane.calls == ["claim:1"]
        second = await lane.take()
        assert await lane.sleeps() == ["claim:1", "claim:1", "claim:0", "declare_idle", "claim:0"]
        lane.report(first, second)
        await lane.sleeps()


async def test_results_of_slow_work_bring_what_came_meanwhile(
    database: Database, tenant: Tenant, workflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "PAUSE_SECONDS", LONG)
    for _ in range(2):
        start(database, tenant, workflow)
    async with running(database) as lane:
        first, second = await lane.take(), await lane.take()
        start(database, tenant, workflow)
        lane.report(first)
        third = await lane.take()
        # The last of what is held goes alone, and the look comes after it.
        lane.report(second, third)
        assert await lane.sleeps() == [
            "claim:2",
            "complete+claim:1",
            "complete",
            "claim:0",
            "declare_idle",
            "claim:0",
        ]


async def test_claim_that_brought_all_that_was_wanted_is_followed_by_another(
    database: Database, tenant: Tenant, workflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "PAUSE_SECONDS", LONG)
    monkeypatch.setattr(work_loop, "MAX_BATCH", 2)
    for _ in range(5):
        start(database, tenant, workflow)
    async with running(database) as lane:
        steps = [await lane.take() for _ in range(5)]
        assert lane.calls == ["claim:2", "claim:2", "claim:1"]
        lane.report(*steps)
        await lane.sleeps()


async def test_steps_of_a_fan_out_are_run_in_several_batches(
    database: Database, db: Db, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "MAX_BATCH", 2)
    branches = [{"id": f"b{number}", "depends_on": ["first"]} for number in range(5)]
    start(database, tenant, import_workflow(db, tenant, dag("fan", [{"id": "first"}, *branches])))
    async with running(database) as lane:
        lane.report(await lane.take())
        steps = [await lane.take() for _ in branches]
        assert lane.batches == [1, 2, 2, 1]
        lane.report(*steps)
        await lane.sleeps()


async def test_no_more_is_handed_over_than_there_is_room_for(
    database: Database, db: Db, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "PAUSE_SECONDS", LONG)
    monkeypatch.setattr(work_loop, "MAX_PURE_IN_FLIGHT", 3)
    branches = [{"id": f"b{number}", "depends_on": ["first"]} for number in range(5)]
    start(database, tenant, import_workflow(db, tenant, dag("fan", [{"id": "first"}, *branches])))
    async with running(database) as lane:
        lane.report(await lane.take())
        steps = [await lane.take() for _ in range(3)]
        assert all(step.handed for step in steps)
        lane.report(*steps)
        rest = [await lane.take() for _ in range(2)]
        lane.report(*rest)
        await lane.sleeps()


async def test_runner_that_stops_takes_nothing_over(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [{"id": "first"}, {"id": "second", "depends_on": ["first"]}]
    start(database, tenant, import_workflow(db, tenant, dag("two", steps)))
    async with running(database) as lane:
        step = await lane.take()
        lane.loop.stop_claiming()
        lane.report(step)
        async with asyncio.timeout(10):
            while not lane.loop.is_done:
                await asyncio.sleep(0.005)
        assert lane.batches == [1]
        # It was never its own, so nothing had to be given back.
        assert lane.calls[-1] == "complete"
        assert db.one("select runner_id, attempt from flowgres.work_queue") == {"runner_id": None, "attempt": 0}


async def test_many_tenants_are_served_without_a_pause(
    database: Database, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "PAUSE_SECONDS", LONG)
    for number in range(20):
        tenant = database.make_tenant(f"tenant {number}")
        start(database, tenant, import_workflow(db, tenant, dag("one", [{"id": "a"}])))
    async with running(database) as lane:
        steps = [await lane.take() for _ in range(20)]
        assert lane.calls == ["claim:16", "claim:4"]
        lane.report(*steps)
        await lane.sleeps()


@pytest.mark.parametrize("is_child", [False, True])
async def test_what_results_make_ready_elsewhere_is_found_at_once(
    database: Database, db: Db, tenant: Tenant, workflow: str, monkeypatch: pytest.MonkeyPatch, is_child: bool
) -> None:
    """A delay that is over, a child that begins, a parent whose child has ended."""
    monkeypatch.setattr(work_loop, "PAUSE_SECONDS", LONG)
    if is_child:
        steps: list[dict[str, Any]] = [{"id": "p", "type": "sub_workflow", "config": {"workflow": workflow}}]
        outcome: Outcome = ChildStarted(workflow, None, {})
    else:
        steps = [{"id": "d", "type": "delay", "config": {"seconds": 0}}]
        outcome = Suspended(0)
    start(database, tenant, import_workflow(db, tenant, dag("waiting", steps)))
    async with running(database) as lane:
        lane.report(await lane.take(), outcome=outcome)
        if is_child:
            lane.report(await lane.take())
        step = await lane.take()
        assert step.resume is not None
        lane.report(step)
        await lane.sleeps()


async def test_start_that_saw_nobody_asleep_and_commits_late_is_found_by_a_second_look(
    database: Database, tenant: Tenant, workflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "PAUSE_SECONDS", LONG)
    monkeypatch.setattr(work_loop, "LATE_LOOK_SECONDS", 0.2)
    async with running(database) as lane:
        await lane.sleeps()
        # Nobody listens here, and the poll is far away.
        start(database, tenant, workflow)
        step = await lane.take()
        assert lane.calls == ["claim:1"]
        lane.report(step)
        await lane.sleeps()
        await asyncio.sleep(0.5)
        assert lane.calls == ["claim:0"], "one look, and then sleep"


async def test_results_of_a_call_that_broke_off_go_through_another_lane(
    database: Database, tenant: Tenant, workflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backoff, "next_seconds", lambda _self: LONG)
    start(database, tenant, workflow)
    async with running(database) as lane:
        step = await lane.take()
        lookup = Link(database.dsn("runner"), application_name="test")
        reconciling = asyncio.create_task(lane.leases.reconcile_forever(lookup, lambda: lane.runner_id))
        lane.breaks_off.set()
        lane.report(step)
        async with asyncio.timeout(10):
            while not any(call.startswith("complete") for call in lane.calls):
                await asyncio.sleep(0.005)
        reconciling.cancel()
        await lookup.close()


async def test_hint_that_comes_during_the_last_claim_is_not_lost(
    database: Database, tenant: Tenant, workflow: str
) -> None:
    async with running(database) as lane:
        await lane.sleeps()

        def start_unseen(name: str) -> None:
            # The claim has its answer from before the start, and the notification overtakes it.
            for link in lane.links:
                link.before_answer = None
            assert name == "claim:0"
            start(database, tenant, workflow)
            lane.loop.look_for_work()

        for link in lane.links:
            link.before_answer = start_unseen
        lane.loop.look_for_work()
        lane.report(await lane.take())
        assert json.dumps(await lane.sleeps()).count("claim:1") == 1


async def test_step_that_is_parked_while_the_runner_declares_itself_idle_is_not_forgotten(
    database: Database, tenant: Tenant, workflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_loop, "PAUSE_SECONDS", 0.01)
    declare_idle = queries.declare_idle
    start(database, tenant, workflow)
    async with running(database) as lane:
        step = await lane.take()
        parked = asyncio.Event()

        async def declare(link: Link, **arguments: Any) -> float | None:
            answer = await declare_idle(link, **arguments)
            if not parked.is_set():
                # The answer is under way, and knows nothing of this.
                lane.report(step, outcome=Suspended(0.2))
                await lane.holds_nothing()
                parked.set()
            return answer

        monkeypatch.setattr(queries, "declare_idle", declare)
        assert (await lane.take()).resume is not None
