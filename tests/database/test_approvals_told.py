"""That people are asked is told, in the transaction in which they are; and told again while nobody decides."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.approvals import NOON, Approvals
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, dag, get, import_workflow, start
from tests.support.floors import buffers_of_look
from tests.support.notifications import Notifications

BOTH = ["waiting_for_approval", "approval_reminder"]


@pytest.fixture
def approvals(database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock) -> Approvals:
    clock.set(NOON)
    return Approvals(database, db, tenant, runner)


def messages(db: Db) -> list[dict[str, Any]]:
    return db.column(
        "select input -> 'message' from flowgres.executions where trigger_type = 'notification' order by id"
    )


def test_message_has_what_a_person_needs(approvals: Approvals, notifications: Notifications, db: Db) -> None:
    notifications.set(events=BOTH)
    form = {"reason": {"type": "string"}}
    execution = approvals.ask(
        title="Pay?", message="To Ann.", role=["boss"], quorum=2, form=form, step={"timeout": 3600}
    )
    (message,) = messages(db)
    assert message["type"] == "execution.waiting_for_approval"
    data = message["data"]
    assert (data["execution_id"], data["workflow"], "output" in data) == (execution, "w", False)
    (row,) = approvals.rows()
    assert data["approval"] == {
        "id": str(row["id"]), "step": "ask", "title": "Pay?", "message": "To Ann.", "roles": ["boss"], "approvers": [],
        "quorum": 2, "approved_count": 0, "form": form,
        "requested_at": data["approval"]["requested_at"], "due_at": data["approval"]["due_at"],
    }  # fmt: skip
    due_at = row["requested_at"] + timedelta(hours=1)
    assert (datetime.fromisoformat(data["approval"]["due_at"]), row["due_at"]) == (due_at, due_at)
    assert [(one["event"], str(one["execution_id"])) for one in notifications.deliveries()] == [
        ("waiting_for_approval", execution)
    ]
    assert_invariants(db, drained=False)


def test_only_who_asked_for_it_is_told(approvals: Approvals, notifications: Notifications) -> None:
    notifications.set("ends")
    approvals.ask("other")
    notifications.set("mine", events=["waiting_for_approval"], workflow="other")
    approvals.ask("w")
    assert notifications.deliveries() == []
    approvals.ask("other")
    assert [one["notification"] for one in notifications.deliveries()] == ["mine"]


def test_pending_one_is_told_again_every_interval(
    approvals: Approvals, notifications: Notifications, clock: Clock, db: Db
) -> None:
    notifications.set(events=BOTH)
    execution = approvals.ask(remind=600, title="Pay?")
    clock.advance(seconds=300)
    early = approvals.fire()
    assert (early["p_picked"], early["p_moved"]) == (0, 0)
    assert 200 <= early["p_next_seconds"] <= 300
    clock.advance(seconds=301)
    assert (approvals.fire()["p_picked"], approvals.fire()["p_picked"]) == (1, 0)
    # Nobody was there for a while: what was missed is not told now.
    clock.advance(seconds=1300)
    fired = approvals.fire()
    assert (fired["p_moved"], 400 < fired["p_next_seconds"] < 600) == (1, True)
    assert approvals.events(execution) == [("approval_reminder", None)] * 2
    assert [message["type"].split(".")[1] for message in messages(db)] == [BOTH[0], BOTH[1], BOTH[1]]
    assert approvals.rows()[0]["reminder_count"] == 2
    approvals.decide(execution)
    clock.advance(seconds=700)
    assert approvals.fire() == {"p_picked": 0, "p_moved": 0, "p_next_seconds": None}
    assert_invariants(db, drained=False)


def test_ends_are_told_as_ever_and_the_time_ends_reminders(
    approvals: Approvals, notifications: Notifications, clock: Clock, database: Database, tenant: Tenant
) -> None:
    notifications.set(events=["completed", "approval_reminder"])
    execution = approvals.ask(remind=600, step={"timeout": 900})
    clock.advance(seconds=601)
    approvals.fire()
    clock.advance(seconds=300)
    assert approvals.fire()["p_moved"] == 0
    assert approvals.rows()[0]["status"] == "timed_out"
    approvals.work()
    assert get(database, tenant, execution)["status"] == "completed"
    assert [one["event"] for one in notifications.deliveries()] == ["approval_reminder", "completed"]


def test_reminders_of_one_approval_end_after_a_hundred(
    approvals: Approvals, notifications: Notifications, clock: Clock, db: Db
) -> None:
    notifications.set(events=BOTH)
    approvals.ask(remind=60)
    db.run("update flowgres.approvals set reminder_count = 98")
    for reminders in (99, 100, 100):
        clock.advance(seconds=61)
        approvals.fire()
        assert approvals.rows()[0]["reminder_count"] == reminders
    assert approvals.fire()["p_next_seconds"] is None
    # Its time is the end of it all the same.
    execution = approvals.ask("timed", remind=60, step={"timeout": 600})
    db.run("update flowgres.approvals set reminder_count = 99 where execution_id = %s", execution)
    clock.advance(seconds=61)
    approvals.fire()
    clock.advance(seconds=540)
    approvals.fire()
    status = "select status from flowgres.approvals where execution_id = %s"
    assert db.value(status, execution) == "timed_out"


def test_what_another_report_of_the_batch_cancels_is_not_told(
    approvals: Approvals, notifications: Notifications, database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    notifications.set(events=BOTH)
    ask: dict[str, Any] = {"id": "ask", "type": "approval", "config": {"title": "Pay?"}}
    steps: list[dict[str, Any]] = [
        {"id": "won", "cancels": ["ask"]},
        ask,
        {"id": "other", "type": "approval", "config": {"title": "And?"}},
    ]
    import_workflow(db, tenant, dag("race", steps))
    execution = start(database, tenant, "race")
    leases = runner.claim()
    assert len(leases) == 3
    # All at once, as a runner reports that was away.
    runner.report([runner.result(lease, approvals.answer(lease, "ask" if name != "won" else name)) for lease, name in
                   ((lease, runner.step_name(lease)) for lease in leases)])  # fmt: skip
    assert [(row["step"], row["status"]) for row in sorted(approvals.rows(), key=lambda row: row["step"])] == [
        ("ask", "cancelled"), ("other", "pending")
    ]  # fmt: skip
    assert [message["data"]["approval"]["step"] for message in messages(db)] == ["other"]
    assert get(database, tenant, execution)["steps"]["ask"]["status"] == "cancelled"
    assert_invariants(db, drained=False)


def test_tenants_are_reminded_in_turns(approvals: Approvals, database: Database, db: Db, clock: Clock) -> None:
    for number in range(4):
        approvals.ask(f"w{number}", remind=600)
    other = Approvals(database, db, database.make_tenant("Other"), approvals.runner)
    other.ask(remind=600)
    clock.advance(seconds=601)
    assert db.one("select * from flowgres.fire_approvals(2)")["p_picked"] == 2
    assert other.rows()[0]["reminder_count"] == 1
    assert sum(row["reminder_count"] for row in approvals.rows()) == 1


def test_waiting_for_an_answer_costs_a_look_nothing(approvals: Approvals, db: Db) -> None:
    approvals.ask(remind=3600)
    before = buffers_of_look(approvals.runner)
    db.run(
        "insert into flowgres.approvals (tenant_id, id, execution_id, workflow_id, step_index, iteration, number, step,"
        " roles, approvers, not_starter, quorum, requested_at, remind_seconds, next_at)"
        " select tenant_id, gen_random_uuid(), gen_random_uuid(), workflow_id, 0, -1, 1, 'ask', roles, approvers,"
        " false, 1, requested_at, 3600, next_at from flowgres.approvals cross join generate_series(1, 10000)"
    )
    assert buffers_of_look(approvals.runner) <= before + 2
    (plan,) = db.value("explain (analyze, buffers, format json) select * from flowgres.fire_approvals(50)")
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 200
