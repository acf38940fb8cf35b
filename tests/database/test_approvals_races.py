"""Decisions beside each other, the end of the time, and a cancel: each comes after the other, and one counts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.approvals import NOON, Approvals
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants
from tests.support.races import Run, refusal_code, rivals


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


@pytest.fixture
def approvals(database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock) -> Approvals:
    clock.set(NOON)
    return Approvals(database, db, tenant, runner)


def decide(api: Db, execution: str, decision: str = "approved") -> Any:
    return api.call("flowgres_api.decide_approval", execution_id=execution, step="ask", decision=decision)


@pytest.mark.parametrize(
    ("quorum", "second", "code"),
    [(1, "approved", "already_decided"), (1, "rejected", "already_decided"), (2, "approved", None)],
)
def test_second_of_two_deciders_waits_and_sees_what_the_first_has_said(
    quorum: int, second: str, code: str | None, approvals: Approvals, run: Run, db: Db
) -> None:
    execution = approvals.ask(quorum=quorum)
    with approvals.as_caller("bob") as late:
        with approvals.as_caller("ann") as api:
            decide(api, execution)
            rival = run(late, partial(decide, late, execution, second))
            assert rival.run_until_blocked()
        if code is None:
            assert rival.answer()["status"] == "approved"
        else:
            error = rival.refusal()
            assert error is not None
            assert refusal_code(error) == code
    (row,) = approvals.rows()
    assert (row["status"], row["approved_count"]) == ("approved", quorum)
    assert approvals.work() == ["ask", "after"]
    assert_invariants(db)


def test_one_person_who_says_it_twice_at_once_counts_once(approvals: Approvals, run: Run) -> None:
    execution = approvals.ask(quorum=2)
    with approvals.as_caller("ann") as again:
        with approvals.as_caller("ann") as api:
            answer = decide(api, execution)
            rival = run(again, partial(decide, again, execution))
            assert rival.run_until_blocked()
        assert rival.answer() == answer
    assert approvals.rows()[0]["approved_count"] == 1


def test_claim_that_finds_the_time_over_takes_the_step_before_the_decision(
    approvals: Approvals, run: Run, clock: Clock, runner: Hands, db: Db
) -> None:
    execution = approvals.ask(step={"timeout": 600})
    with approvals.as_caller("ann") as api:
        with runner.db.connection.transaction():
            clock.advance(seconds=601)
            (lease,) = runner.claim()
            # For it the time is not over.
            clock.advance(seconds=-300)
            rival = run(api, partial(decide, api, execution))
            assert rival.run_until_blocked()
        error = rival.refusal()
        assert error is not None
        assert refusal_code(error) == "approval_ended"
    assert lease["resume"]["status"] == "timed_out"
    runner.report([runner.result(lease, approvals.late)])
    assert approvals.get(execution)["steps"]["ask"]["output"] == {"decision": "late"}
    assert_invariants(db, drained=False)


def test_claim_at_the_end_of_the_time_passes_over_what_is_being_decided(
    approvals: Approvals, run: Run, clock: Clock, runner: Hands, db: Db
) -> None:
    execution = approvals.ask(step={"timeout": 600})
    with approvals.as_caller("ann") as api:
        decide(api, execution)
        clock.advance(seconds=601)
        rival = run(runner.db, runner.claim)
        assert not rival.run_until_blocked()
        assert rival.answer() == []
        sweep = run(runner.db, approvals.fire)
        assert not sweep.run_until_blocked()
    approvals.work()
    assert approvals.get(execution)["steps"]["ask"]["output"]["decision"] == "approved"
    assert approvals.rows()[0]["status"] == "approved"
    assert_invariants(db)


@pytest.mark.parametrize("first", ["cancel", "decision"])
def test_cancel_and_decision_come_one_after_the_other(first: str, approvals: Approvals, run: Run, db: Db) -> None:
    execution = approvals.ask()

    def cancel(api: Db) -> Any:
        return api.call("flowgres_api.cancel_execution", execution_id=execution)

    with approvals.as_caller("bob") as late:
        with approvals.as_caller("ann") as api:
            cancel(api) if first == "cancel" else decide(api, execution)
            rival = run(late, partial(decide, late, execution) if first == "cancel" else partial(cancel, late))
            assert rival.run_until_blocked()
        error = rival.refusal()
        if first == "cancel":
            assert error is not None
            assert refusal_code(error) == "approval_ended"
        else:
            assert error is None
    assert [row["status"] for row in approvals.rows()] == ["cancelled" if first == "cancel" else "approved"]
    assert approvals.work() == []
    assert approvals.get(execution)["status"] == "cancelled"
    assert_invariants(db)


def test_runner_does_not_wait_for_who_keeps_a_decision_open(
    approvals: Approvals, run: Run, runner: Hands, db: Db
) -> None:
    held, free = approvals.ask("held"), approvals.ask("free")
    approvals.decide(free)
    with approvals.as_caller("ann") as api:
        decide(api, held)
        rival = run(runner.db, approvals.work)
        assert not rival.run_until_blocked()
        assert rival.answer() == ["ask", "after"]
    assert approvals.work() == ["ask", "after"]
    assert_invariants(db)


def test_decision_that_is_rolled_back_was_none(approvals: Approvals, db: Db) -> None:
    execution = approvals.ask()
    with approvals.database.as_role("member", commit=False, tenant_id=approvals.tenant_id) as api:
        decide(api, execution)
    assert (approvals.work(), approvals.events(execution)) == ([], [])
    assert approvals.rows()[0]["status"] == "pending"
    approvals.decide(execution, "rejected")
    approvals.work()
    assert_invariants(db)
