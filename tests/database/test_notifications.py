"""Notifications: every way of ending is told, once, to whoever listens, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.engine import Hands, completed, dag, failed, get, import_workflow, outwait_lease, start
from tests.support.notifications import Notifications

CHAIN = dag("chain", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}])
STOP = [{"id": "a", "type": "stop", "config": {"status": "cancelled", "message": "enough"}}]


def told(notifications: Notifications) -> list[tuple[str, str]]:
    """Event and execution of each delivery, the oldest first."""
    return [(row["event"], str(row["execution_id"])) for row in notifications.deliveries()]


def messages(db: Db) -> list[dict[str, Any]]:
    return db.column(
        "select input -> 'message' from flowgres.executions where trigger_type = 'notification' order by id"
    )


def deliver(runner: Hands, *, status: int = 200) -> list[Row]:
    """Let every delivery that is ready have its attempt, and the receiver answer so."""
    leases = [lease for lease in runner.claim() if runner.step_name(lease) == "deliver"]
    outcome = completed({"status": 200, "duration_ms": 1}) if status == 200 else refused(status)
    runner.report([runner.result(lease, outcome) for lease in leases])
    return leases


def refused(status: int) -> dict[str, Any]:
    error = {"code": "http_status", "message": str(status), "class": "http_status", "details": {"status": status}}
    return {"o": "failed", "error": error}


def test_completed_and_failed_are_told_and_cancelled_is_not_unless_asked_for(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands
) -> None:
    notifications.set()
    import_workflow(db, tenant, CHAIN)
    good, bad, ended = (start(database, tenant, "chain", input={"n": n}, correlation_id=f"c{n}") for n in range(3))
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.cancel_execution", execution_id=ended)
    outcomes = {bad: failed(), good: completed(1)}
    runner.work(lambda lease, step: outcomes.get(str(lease["execution_id"]), refused(500)), one_by_one=True)
    assert told(notifications) == [("failed", bad), ("completed", good)]
    failure, success = messages(db)
    assert success["type"] == "execution.completed"
    assert success["data"]["execution_id"] == good
    assert (success["data"]["workflow"], success["data"]["version"]) == ("chain", 1)
    assert (success["data"]["status"], success["data"]["correlation_id"]) == ("completed", "c0")
    assert success["data"]["output"] == get(database, tenant, good)["output"]
    assert success["timestamp"] == success["data"]["finished_at"]
    assert failure["type"] == "execution.failed"
    assert (failure["data"]["error"]["code"], failure["data"]["error"]["step"]) == ("broken", "a")


def test_a_whole_chain_that_ends_its_execution_is_told(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands
) -> None:
    notifications.set(events=["completed"])
    import_workflow(db, tenant, CHAIN)
    ids = [start(database, tenant, "chain", input={"n": n}) for n in range(3)]
    leases = [lease for lease in runner.claim() if runner.step_name(lease) == "a"]
    runner.report_chains([(lease, [1, 2]) for lease in leases])
    assert told(notifications) == [("completed", id_) for id_ in ids]
    assert [message["data"]["output"] for message in messages(db)] == [{"b": 2}] * 3


@pytest.mark.parametrize("way", ["stop", "cancel", "delete", "parent", "timeout"])
def test_every_other_way_of_ending_is_told(
    way: str,
    notifications: Notifications,
    database: Database,
    tenant: Tenant,
    db: Db,
    runner: Hands,
    clock: Clock,
) -> None:
    notifications.set(events=["cancelled", "failed"])
    steps = STOP if way == "stop" else [{"id": "a"}]
    import_workflow(db, tenant, dag("w", steps, settings={"timeout": "10s"}))
    id_ = start(database, tenant, "w")
    expected = "cancelled"
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        if way == "cancel":
            api.call("flowgres_api.cancel_execution", execution_id=id_)
        elif way == "delete":
            api.call("flowgres_api.delete_workflow", workflow="w", cancel_running=True)
    if way == "stop":
        runner.work(lambda lease, step: completed({"status": "cancelled", "message": "enough"}))
    elif way == "parent":
        # As a parent that ended leaves it to the sweep.
        db.run(
            "insert into flowgres.cancellations (tenant_id, execution_id, requested_at)"
            " select tenant_id, id, flowgres.now() from flowgres.executions"
        )
        assert runner.db.value("select flowgres.cancel_orphan()")
    elif way == "timeout":
        (lease,) = runner.claim()
        runner.report([runner.result(lease, {"o": "started"})])
        clock.advance(seconds=11)
        assert runner.db.value("select flowgres.expire_executions(10)") == 1
        expected = "failed"
    assert told(notifications) == [(expected, id_)]
    outwait_lease(db, clock)


def test_a_child_is_told_of_by_its_own_workflow_alone(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands
) -> None:
    notifications.set("all")
    import_workflow(db, tenant, dag("child", [{"id": "a"}]))
    notifications.set("child", workflow="child")
    import_workflow(db, tenant, dag("parent", [{"id": "s", "type": "sub_workflow", "config": {"workflow": "child"}}]))
    parent = start(database, tenant, "parent")
    runner.work(
        lambda lease, step: (
            {"o": "child", "workflow": "child", "input": {}} if step == "s" and not lease["resume"] else completed(1)
        )
    )
    child = db.value("select id::text from flowgres.executions where parent_queue_id is not null")
    names = {row["id"]: row["name"] for row in notifications.rows()}
    seen = {(names[row["notification_id"]], str(row["execution_id"])) for row in notifications.deliveries()}
    assert seen == {("all", parent), ("child", child)}


def test_notifications_of_a_definition_follow_the_active_version(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands
) -> None:
    one = {"url": "https://a.example/", "secret": "HOOK", "events": "failed"}
    two = {"url": "https://b.example/", "secret": "HOOK"}
    import_workflow(db, tenant, dag("w", [{"id": "a"}], settings={"notify": [one, two]}))
    rows = notifications.rows()
    assert [(row["name"], row["events"]) for row in rows] == [
        ("w.1", ["failed"]),
        ("w.2", ["completed", "failed"]),
    ]
    start(database, tenant, "w")
    runner.work(lambda lease, step: failed() if step == "a" else refused(500))
    urls = [row["url"] for row in notifications.deliveries()]
    assert sorted(urls) == ["https://a.example/", "https://b.example/"]
    import_workflow(db, tenant, dag("w", [{"id": "a"}], settings={"notify": [one]}))
    assert [row["id"] for row in notifications.rows()] == [rows[0]["id"]]
    while runner.db.value("select flowgres.cancel_orphan()"):
        pass
    statuses = {row["url"]: row["status"] for row in notifications.deliveries()}
    assert statuses == {"https://a.example/": "pending", "https://b.example/": "cancelled"}
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.archive_workflow", workflow="w")
    assert notifications.rows() == []


def test_a_large_output_is_left_out(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands
) -> None:
    notifications.set()
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    start(database, tenant, "w")
    # Compressed it is small: what counts is its text.
    runner.work(lambda lease, step: completed("x" * 65_536))
    (message,) = messages(db)
    assert (message["data"]["output"], message["data"]["output_omitted"]) == (None, True)


def test_deliveries_are_tried_for_days_and_then_given_up(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands, clock: Clock
) -> None:
    notifications.set()
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    start(database, tenant, "w")
    runner.work(lambda lease, step: completed(1) if step == "a" else refused(503))
    attempts = 1
    while (row := notifications.deliveries()[0])["status"] == "pending":
        assert (row["attempts"], row["last_error"]["details"]["status"]) == (attempts, 503)
        clock.advance(seconds=36_001)
        attempts += len(deliver(runner, status=503))
    assert (row["status"], row["attempts"], attempts) == ("given_up", 12, 12)
    assert notifications.rows()[0]["failed_count"] == 1
    # The same message, under the same id, and then it is heard.
    again = notifications.call("redeliver", delivery_id=str(row["id"]))
    assert again["message_id"] == str(row["message_id"])
    deliver(runner)
    first, second = notifications.deliveries()
    assert (second["status"], second["redelivers"], second["message_id"]) == ("delivered", first["id"], first["id"])
    assert notifications.rows()[0]["failed_count"] == 0


def test_receivers_that_are_gone_or_always_fail_are_disabled_until_they_are_set_again(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands
) -> None:
    notifications.set()
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))

    def end(error: dict[str, Any]) -> None:
        start(database, tenant, "w")
        runner.work(lambda lease, step: completed(1) if step == "a" else error)

    end(refused(410))
    assert (notifications.rows()[0]["status"], notifications.rows()[0]["disabled_reason"]) == ("disabled", "gone")
    end(refused(410))
    assert len(notifications.deliveries()) == 1
    notifications.set()
    for _ in range(10):
        end(failed("validation"))
    assert (notifications.rows()[0]["disabled_reason"], notifications.rows()[0]["failed_count"]) == ("failing", 10)
    assert len(notifications.deliveries()) == 11


def test_delivery_that_is_deleted_with_its_notification_is_sent_no_more(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands
) -> None:
    notifications.set()
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    start(database, tenant, "w")
    runner.report([runner.result(lease, completed(1)) for lease in runner.claim()])
    notifications.call("delete", name="ops")
    assert runner.db.value("select flowgres.cancel_orphan()")
    assert [row["status"] for row in notifications.deliveries()] == ["cancelled"]
    assert runner.claim() == []


def test_what_is_rolled_back_was_never_told(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db
) -> None:
    notifications.set(events=["cancelled"])
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    id_ = start(database, tenant, "w")
    with database.as_role("member", tenant_id=tenant.tenant_id, commit=False) as api:
        api.call("flowgres_api.cancel_execution", execution_id=id_)
    assert notifications.deliveries() == []
