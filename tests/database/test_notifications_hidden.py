"""Deliveries are executions that nobody sees as such, in no view, count or call; notifications are their tenant's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, import_workflow, start
from tests.support.machines import going, store_machine
from tests.support.metrics import measure_all
from tests.support.notifications import Notifications
from tests.support.races import refusal_code

VIEWS = "select viewname from pg_views where schemaname = 'flowgres_api' order by 1"
HIDDEN = "select id::text from flowgres.executions where flowgres.is_hidden(id)"


@pytest.fixture
def delivered(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands, clock: Clock
) -> Iterator[Notifications]:
    """Of four executions that were told, deliveries that are delivered, failed, to be tried again, and leased."""
    notifications.set()
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    for _ in range(4):
        start(database, tenant, "w")
    runner.report([runner.result(lease, completed(1)) for lease in runner.claim()])
    leases = runner.claim()
    outcomes = [completed({"status": 200}), failed("validation"), failed("timeout")]
    runner.report([runner.result(lease, outcome) for lease, outcome in zip(leases[:3], outcomes, strict=True)])
    runner.beat(leases[3])
    yield notifications
    assert_invariants(db, drained=False)


def test_no_view_shows_a_delivery_as_an_execution(
    delivered: Notifications, database: Database, tenant: Tenant, db: Db
) -> None:
    store_machine(db, tenant.tenant_id, going("a>b", b={"workflow": "w"}))
    instance = db.call("flowgres_api.start_workflow", workflow_name="m", entity_table="orders", entity_id="1")
    assert db.call("flowgres_api.execute_transition", instance_id=instance, to_state="b") is True
    hidden = db.column(HIDDEN)
    assert len(hidden) == 4
    workflow = db.value("select flowgres.hidden_id(%s)::text", tenant.tenant_id)
    views = db.column(VIEWS)
    seen: dict[tuple[str, str], str] = {}
    sessions = {
        "admin": database.as_role("admin", tenant_id=tenant.tenant_id),
        "operator": database.connect("operator"),
    }
    for role, session in sessions.items():
        with session as api:
            for view in views:
                seen[role, view] = json.dumps(api.all(f"select * from flowgres_api.{view}"), default=str)
    shown = {key for key, text in seen.items() if any(id_ in text for id_ in [*hidden, workflow])}
    assert shown == {("admin", "notification_deliveries"), ("operator", "notification_deliveries")}
    # The rule is not held by views that show nothing.
    assert {view for (role, view), text in seen.items() if role == "admin" and text == "[]"} <= {
        *("runners", "schedules", "subscriptions", "webhooks", "webhook_deliveries"),
        # A delivery is an http step: it waits for nobody, and calls no function.
        *("approvals", "limits", "signals", "sql_functions", "tasks", "task_queues"),
        # Of failures test_no_figure_counts_deliveries has some.
        "error_groups",
    }


def test_no_call_reaches_a_delivery_as_an_execution(
    delivered: Notifications, database: Database, tenant: Tenant, db: Db
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        (function, {"execution_id": id_})
        for id_ in db.column(HIDDEN)
        for function in ("get_execution", "cancel_execution")
    ]
    hidden = db.value("select flowgres.hidden_id(%s)::text", tenant.tenant_id)
    calls += [
        (function, {"workflow": name})
        for name in ("notification", hidden)
        for function in ("start_execution", "activate_workflow", "delete_workflow", "archive_workflow")
    ]
    for function, arguments in calls:
        with (
            pytest.raises(psycopg.Error, match="does not exist"),
            database.as_role("admin", tenant_id=tenant.tenant_id) as api,
        ):
            api.call(f"flowgres_api.{function}", **arguments)
    # The name is free for an author.
    import_workflow(db, tenant, dag("notification", [{"id": "a"}]))


@pytest.mark.parametrize("is_measured", [False, True])
def test_no_figure_counts_deliveries(
    is_measured: bool, delivered: Notifications, database: Database, tenant: Tenant, db: Db, clock: Clock
) -> None:
    if is_measured:
        measure_all(database, clock)
        assert db.value("select count(*) from flowgres.metric_rollups where tenant_id = %s", tenant.tenant_id) > 0
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        metrics = api.call("flowgres_api.execution_metrics")
        assert api.all("select * from flowgres_api.error_groups") == []
    assert metrics["executions"]["total"] == 4
    assert metrics["executions"]["by_status"] == {"completed": 4}
    assert {step["step"] for step in metrics["steps"]} == {"a"}


def test_deliveries_show_what_has_become_of_them(delivered: Notifications) -> None:
    rows = delivered.deliveries()
    assert sorted(row["status"] for row in rows) == ["delivered", "given_up", "pending", "pending"]
    assert sorted(bool(row["next_attempt_at"]) for row in rows) == [False, False, False, True]
    assert {row["attempts"] for row in rows} == {1}
    assert sorted(bool(row["last_error"]) for row in rows) == [False, False, True, True]


def test_deleted_workflow_beside_them_leaves_deliveries_alone(
    delivered: Notifications, database: Database, tenant: Tenant, db: Db, runner: Hands, clock: Clock
) -> None:
    import_workflow(db, tenant, dag("gone", [{"id": "a"}]))
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.delete_workflow", workflow="gone")
    clock.advance(seconds=6)
    assert [runner.step_name(lease) for lease in runner.claim()] == ["deliver"]


def test_another_tenant_sees_and_reaches_nothing(delivered: Notifications, database: Database, db: Db) -> None:
    other = Notifications(database, db, database.make_tenant("Other"))
    assert (other.rows(), other.deliveries()) == ([], [])
    for call, arguments in (
        ("delete", {"name": "ops"}),
        ("redeliver", {"delivery_id": str(delivered.deliveries()[0]["id"])}),
    ):
        with pytest.raises(psycopg.Error, match="does not exist"):
            other.call(call, **arguments)
    # Nor does it hear of what is not its own.
    other.set(url="https://spy.example/")
    assert {row["url"] for row in delivered.deliveries()} == {"https://ops.example/hook"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "Ops"}, "argument_invalid"),
        ({"url": "http://ops.example/"}, "notification_invalid"),
        ({"url": "ftp://ops.example/"}, "notification_invalid"),
        ({"url": "https://a:b@ops.example/"}, "notification_invalid"),
        ({"url": "https://ops.example/{{ input.x }}"}, "notification_invalid"),
        ({"url": "http://11.0.0.1/"}, "notification_invalid"),
        ({"events": []}, "notification_invalid"),
        ({"events": ["done"]}, "notification_invalid"),
        ({"events": {"failed": True}}, "notification_invalid"),
        ({"secret": "whsec_abc="}, "notification_invalid"),
        ({"secret": "NOBODY"}, "secret_not_found"),
        ({"workflow": "nobody"}, "workflow_not_found"),
    ],
)
def test_what_is_wrong_with_a_notification_is_told(
    changes: dict[str, Any], code: str, notifications: Notifications
) -> None:
    given = {"name": "ops", "url": "https://ops.example/", "secret": "HOOK", **changes}
    with pytest.raises(psycopg.Error) as refusal:
        notifications.call("set", **given)
    assert refusal.value.diag.message_primary is not None, refusal.value
    assert json.loads(refusal.value.diag.message_primary)["code"] == code
    assert notifications.rows() == []


@pytest.mark.parametrize(
    "url",
    [
        "https://ops.example",
        "https://ops.example:8443/a?b=c",
        "http://localhost:9/x",
        "http://receiver/",
        "http://[::1]:80/",
    ],
)
def test_addresses_that_may_be_told(url: str, notifications: Notifications) -> None:
    assert notifications.set(url=url)["url"] == url


def test_a_tenant_has_as_many_as_its_setting_says(notifications: Notifications, db: Db, tenant: Tenant) -> None:
    db.run("update flowgres.settings set value = '2' where name = 'max_notifications'")
    notifications.set("one")
    notifications.set("two")
    notifications.set("two", events=["failed"])
    with pytest.raises(psycopg.Error) as refused:
        notifications.set("three")
    assert refusal_code(refused.value) == "too_many_notifications"
    defined = dag("w", [{"id": "a"}], settings={"notify": [{"url": "https://a.example/", "secret": "HOOK"}]})
    with pytest.raises(psycopg.Error) as refused:
        import_workflow(db, tenant, defined)
    assert refusal_code(refused.value) == "too_many_notifications"
