"""Ends beside changes of those who are told: neither waits for the other, and none is counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, import_workflow, start
from tests.support.notifications import Notifications
from tests.support.races import Run, refusal_code, rivals

GONE = {"code": "http_status", "message": "410", "class": "http_status", "details": {"status": 410}}


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


@pytest.mark.parametrize("change", ["set", "delete"])
def test_an_end_does_not_wait_for_who_changes_a_notification(
    change: str, notifications: Notifications, database: Database, tenant: Tenant, db: Db, run: Run, runner: Hands
) -> None:
    notifications.set()
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    start(database, tenant, "w")
    runner.report([runner.result(lease, completed(1)) for lease in runner.claim()])
    start(database, tenant, "w")
    leases = runner.claim()
    arguments = {"set": {"url": "https://new.example/", "secret": "HOOK"}, "delete": {}}[change]
    outcomes = {"a": completed(1), "deliver": {"o": "failed", "error": GONE}}
    with ExitStack() as stack:
        api = stack.enter_context(database.as_role("admin", tenant_id=tenant.tenant_id))
        api.call(f"flowgres_api.{change}_notification", name="ops", **arguments)
        results = [runner.result(lease, outcomes[runner.step_name(lease)]) for lease in leases]
        rival = run(runner.db, partial(runner.report, results))
        assert not rival.run_until_blocked()
    # What was committed when the execution ended is what counted: it was told to the old address.
    urls = {row["url"] for row in notifications.deliveries()}
    assert urls == {"https://ops.example/hook"}
    assert_invariants(db, drained=False)


def test_a_change_waits_for_no_end(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, run: Run, runner: Hands
) -> None:
    notifications.set()
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    start(database, tenant, "w")
    (lease,) = runner.claim()
    with ExitStack() as stack, runner.db.connection.transaction():
        runner.report([runner.result(lease, completed(1))])
        api = stack.enter_context(database.as_role("admin", tenant_id=tenant.tenant_id))
        rival = run(api, partial(api.call, "flowgres_api.delete_notification", name="ops"))
        assert not rival.run_until_blocked()
    assert [row["status"] for row in notifications.deliveries()] == ["pending"]


def test_two_new_ones_count_each_other(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, run: Run
) -> None:
    db.run("update flowgres.settings set value = '1' where name = 'max_notifications'")
    with database.connect() as second:
        second.run("select set_config('flowgres.tenant_id', %s, false)", notifications.tenant_id)
        with database.as_role("admin", tenant_id=tenant.tenant_id) as first:
            first.call("flowgres_api.set_notification", name="one", url="https://ops.example/", secret="HOOK")
            given = {"p_name": "two", "p_url": "https://ops.example/", "p_secret": "HOOK", "p_events": None}
            rival = run(second, partial(second.call, "flowgres.set_notification", **given, p_workflow=None))
            assert rival.run_until_blocked()
        refusal = rival.refusal()
    assert refusal is not None
    assert refusal_code(refusal) == "too_many_notifications"
    assert [row["name"] for row in notifications.rows()] == ["one"]
