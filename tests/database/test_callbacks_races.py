"""A call at the address of a step beside its step that begins to wait, its time, a cancel and another call."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow, start
from tests.support.races import Run, rivals

STEPS: list[dict[str, Any]] = [
    {"id": "ask", "type": "http", "config": {"url": "https://bank.example/", "callback": {"timeout": "1m"}}},
    {"id": "after", "depends_on": ["ask"]},
]


class Callers:
    """An execution whose step `ask` waits to be called, and the front that takes calls."""

    def __init__(self, database: Database, db: Db, tenant: Tenant, runner: Hands, front: Db) -> None:
        self.database, self.db, self.tenant, self.runner, self.front = database, db, tenant, runner, front
        import_workflow(db, tenant, dag("w", STEPS))
        self.execution = start(database, tenant, "w")

    def decide(self, lease: Row, step: str) -> dict[str, Any]:
        if step != "ask":
            return completed(step)
        resume = lease["resume"] or {}
        if "status" not in resume:
            return {"o": "park", "waits": "callback", "input": {}, "seconds": 60}
        return failed("timeout", retryable=False) if resume["status"] == "timed_out" else completed(resume["payload"])

    def work(self) -> list[str]:
        return self.runner.work(self.decide)

    def call(self, body: Any = 1, *, by: Db | None = None) -> str:
        return str(
            (by or self.front).value(
                "select flowgres.receive_callback(%s, %s, 0, -1, 0, 1, %s)",
                self.tenant.tenant_id,
                self.execution,
                {"body": body},
            )
        )

    @property
    def ask(self) -> dict[str, Any]:
        step: dict[str, Any] = get(self.database, self.tenant, self.execution)["steps"]["ask"]
        return step


@pytest.fixture
def callers(database: Database, db: Db, tenant: Tenant, runner: Hands) -> Iterator[Callers]:
    with database.connect("front") as front:
        front.run("set lock_timeout to '2s'")
        yield Callers(database, db, tenant, runner, front)
    assert_invariants(db, drained=False)


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


@pytest.mark.parametrize("is_kept", [True, False], ids=["it commits", "it rolls back"])
def test_call_beside_a_step_that_begins_to_wait(callers: Callers, database: Database, is_kept: bool) -> None:
    with database.connect("runner") as db:
        slow = Hands(db)
        (lease,) = slow.claim()
        with db.connection.transaction(force_rollback=not is_kept):
            slow.report([slow.result(lease, callers.decide(lease, "ask"))])
            assert callers.call() == "taken", "and it waits for nobody"
            assert callers.work() == []
        if not is_kept:
            slow.report([slow.result(lease, callers.decide(lease, "ask"))])
    assert callers.work() == ["ask", "after"]
    assert callers.ask["output"] == {"body": 1}


@pytest.mark.parametrize("is_kept", [True, False], ids=["it commits", "it rolls back"])
def test_step_that_begins_to_wait_beside_a_call(callers: Callers, is_kept: bool) -> None:
    with callers.front.connection.transaction(force_rollback=not is_kept):
        assert callers.call() == "taken"
        assert callers.work() == ["ask"]
        assert callers.work() == []
    assert callers.work() == (["ask", "after"] if is_kept else [])
    if not is_kept:
        assert callers.call(2) == "taken"
        assert callers.work() == ["ask", "after"]
    assert callers.ask["output"] == {"body": 1 if is_kept else 2}


@pytest.mark.parametrize("is_kept", [True, False], ids=["the first commits", "the first rolls back"])
def test_second_of_two_calls_waits_and_is_told_of_the_first(
    callers: Callers, database: Database, run: Run, is_kept: bool
) -> None:
    callers.work()
    with database.connect("front") as other:
        with callers.front.connection.transaction(force_rollback=not is_kept):
            assert callers.call(1) == "taken"
            rival = run(other, partial(callers.call, 2, by=other))
            assert rival.run_until_blocked()
        assert rival.answer() == ("repeated" if is_kept else "taken")
    assert callers.work() == ["ask", "after"]
    assert callers.ask["output"] == {"body": 1 if is_kept else 2}
    assert callers.call(3) == "repeated"


def test_call_in_time_counts_though_no_runner_looked_until_the_time_was_over(callers: Callers, clock: Clock) -> None:
    callers.work()
    clock.advance(seconds=59)
    assert callers.call() == "taken"
    clock.advance(seconds=2)
    assert callers.work() == ["ask", "after"]
    assert callers.ask["output"] == {"body": 1}


def test_call_after_the_time_is_refused_though_no_runner_has_looked(callers: Callers, clock: Clock) -> None:
    callers.work()
    clock.advance(seconds=61)
    assert callers.call() == "over"
    (lease,) = callers.runner.claim()
    assert lease["resume"]["status"] == "timed_out"
    # It runs: what it makes of that is not changed by a call.
    assert callers.call() == "over"
    callers.runner.report([callers.runner.result(lease, callers.decide(lease, "ask"))])
    assert callers.call() == "over"
    assert not callers.db.value("select count(*) from flowgres.signals")


@pytest.mark.parametrize("is_kept", [True, False], ids=["the cancel commits", "the cancel rolls back"])
def test_call_beside_a_cancel_waits_for_nobody(
    callers: Callers, database: Database, tenant: Tenant, is_kept: bool
) -> None:
    callers.work()
    with database.as_role("member", tenant_id=tenant.tenant_id, commit=is_kept) as canceller:
        canceller.call("flowgres_api.cancel_execution", execution_id=callers.execution)
        assert callers.call() == "taken", "the cancel comes after it"
        assert callers.work() == []
    assert callers.work() == ([] if is_kept else ["ask", "after"])
    assert callers.ask["status"] == ("cancelled" if is_kept else "completed")
    assert callers.call() == "repeated"


def test_call_between_two_attempts_is_kept_for_the_next(callers: Callers, clock: Clock) -> None:
    (lease,) = callers.runner.claim()
    callers.runner.report([callers.runner.result(lease, failed("network", retryable=True))])
    clock.advance(seconds=3600)
    assert callers.call() == "taken", "no runner has seen yet that it is time for the next attempt"
    assert callers.work() == ["ask", "ask", "after"]


def test_call_after_a_cancel_is_over(callers: Callers, database: Database, tenant: Tenant) -> None:
    callers.work()
    with database.as_role("member", tenant_id=tenant.tenant_id) as canceller:
        canceller.call("flowgres_api.cancel_execution", execution_id=callers.execution)
    callers.work()
    assert callers.call() == "over"
