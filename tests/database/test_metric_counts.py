"""What is counted where it happens is in the counters once, whoever measures or dies; and its labels are few."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import flowgres_front.webhooks
from tests.support.database import Database, Db, Row, Tenant
from tests.support.definitions import Author
from tests.support.engine import Hands, completed, dag, import_workflow, start
from tests.support.metrics import measure
from tests.support.notifications import Notifications
from tests.support.webhooks import deliver, find_webhook, hooked

MEASURE = "select flowgres.measure_history(p_limit => 1000)"
FRONT = Path(flowgres_front.webhooks.__file__).parent


@pytest.fixture
def front(database: Database) -> Iterator[Db]:
    """The front's login."""
    with database.connect("front") as front:
        yield front


@pytest.fixture
def webhook(database: Database, db: Db, front: Db) -> Row:
    """What the front knows of a tenant's webhook that asks for nothing."""
    author = Author(database, db)
    author.confirm(author.import_(hooked({"type": "webhook", "scheme": "none"}))["version_id"])
    path = db.value("select path from flowgres_api.webhooks where tenant_id = %s", author.tenant_id)
    return find_webhook(front, path)


def counted(db: Db, name: str) -> dict[tuple[str, str], int]:
    """The counters of one measure, by status and reason."""
    rows = db.all("select status, type, total from flowgres.metric_rollups where measure = %s", name)
    return {(row["status"], row["type"]): row["total"] for row in rows}


def reject(front: Db, webhook: Row, reason: str, count: int) -> None:
    rejection = {"tenant_id": webhook["tenant_id"], "webhook_id": webhook["id"], "status": 401, "reason": reason}
    front.call("flowgres.reject_deliveries", p_rejections=[{**rejection, "bytes": 2, "count": count}])


def test_every_outcome_of_a_delivery_is_counted(database: Database, db: Db, front: Db, webhook: Row) -> None:
    for key in ("a", "a", "b", None):
        deliver(front, webhook, key=key)
    deliver(front, webhook, answer={"outcome": "failed", "status": 400, "reason": "invalid_json", "message": "x"})
    # One that came too late, and one that came much too late, are two webhooks' worth of one reason.
    for late in (400, 4000):
        deliver(front, webhook, signed_at=db.value("select extract(epoch from flowgres.now())::bigint") - late)
    reject(front, webhook, "signature_wrong", 250)
    reject(front, webhook, "a word of tomorrow", 3)
    db.run("update flowgres.workflows set status = 'inactive'")
    deliver(front, webhook)

    assert counted(db, "webhook") == {}
    measure(database)

    assert counted(db, "webhook") == {
        ("accepted", ""): 3,
        ("duplicate", "known_key"): 1,
        ("failed", "invalid_json"): 1,
        ("failed", "workflow_not_active"): 1,
        ("rejected", "timestamp_too_old"): 2,
        ("rejected", "signature_wrong"): 250,
        ("rejected", "other"): 3,
    }
    assert db.value("select count(*) from flowgres.metric_counts") == 0


def test_ends_of_notifications_are_counted(
    notifications: Notifications, database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    notifications.set()
    import_workflow(db, tenant, dag("told", [{"id": "a"}]))
    for _ in range(3):
        start(database, tenant, "told")
    gone = {"code": "http_status", "message": "410", "class": "http_status", "details": {"status": 410}}
    answers = iter([completed({"status": 200}), completed({"status": 200}), {"o": "failed", "error": gone}])
    runner.work(lambda lease, step: next(answers) if step == "deliver" else completed(1))

    measure(database)

    assert counted(db, "notification") == {("completed", ""): 2, ("failed", ""): 1}


def test_who_dies_while_adding_up_takes_nothing_away(database: Database, db: Db, front: Db, webhook: Row) -> None:
    deliver(front, webhook)
    with psycopg.connect(database.dsn("runner")) as dying, database.connect("runner") as other:
        dying.execute(MEASURE)
        deliver(front, webhook)  # waits for nobody
        assert other.value(MEASURE) == 0
        dying.rollback()
    assert counted(db, "webhook") == {}
    measure(database)
    assert counted(db, "webhook") == {("accepted", ""): 2}


def test_what_is_rolled_back_was_never_counted(database: Database, db: Db, front: Db, webhook: Row) -> None:
    front.run("begin")
    deliver(front, webhook)
    with database.connect("runner") as runner:
        runner.value(MEASURE)
        front.run("rollback")
        deliver(front, webhook)
        runner.value(MEASURE)
    assert counted(db, "webhook") == {("accepted", ""): 1}


def test_a_backlog_of_counts_is_added_up_bit_by_bit(database: Database, db: Db, webhook: Row) -> None:
    db.run(
        "insert into flowgres.metric_counts (tenant_id, measure, status, total)"
        " select %s, 'webhook', 'accepted', 1 from generate_series(1, 250)",
        webhook["tenant_id"],
    )
    with database.connect("runner") as runner:
        assert [runner.call("flowgres.measure_history", p_limit=100) for _ in range(4)] == [100, 100, 50, 0]
    assert counted(db, "webhook") == {("accepted", ""): 250}


def test_reasons_of_the_front_are_all_told(db: Db) -> None:
    reasons = {
        reason
        for path in FRONT.glob("*.py")
        for line in path.read_text().splitlines()
        if "Refusal(" in line or "_RefusedError(" in line or "trouble = " in line
        for reason in re.findall(r'"([a-z]+_[a-z_]+)"', line)
    }
    assert len(reasons) > 8
    assert reasons <= set(db.value("select flowgres.delivery_reasons()"))
