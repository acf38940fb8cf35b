"""Executions that are changed on their way: priority, when they begin, how long they may take."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.control import HTTP, act, descend, nest
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, get, import_workflow, start
from tests.support.races import refusal_code

TWO: list[dict[str, Any]] = [{"id": "first", **HTTP}, {"id": "last", "depends_on": ["first"], **HTTP}]


def change(database: Database, tenant: Tenant, execution_id: str, **changes: Any) -> Any:
    """Change an execution as a member of the tenant."""
    return act(
        database, tenant, "update_execution", execution_id=execution_id, changes=Jsonb(changes), reason="because"
    )


def refused(database: Database, tenant: Tenant, execution_id: str, **changes: Any) -> str:
    """The code with which a change is refused."""
    with pytest.raises(psycopg.Error) as error:
        change(database, tenant, execution_id, **changes)
    return refusal_code(error.value)


def test_priority_moves_what_waits_into_another_line(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    flow = import_workflow(db, tenant, dag("flow", TWO))
    ids = [start(database, tenant, flow) for _ in range(3)]
    assert change(database, tenant, ids[2], priority=0)["priority"] == 0
    assert [str(lease["execution_id"]) for lease in runner.claim(1)] == [ids[2]]
    event = db.one("select type, message, details from flowgres.events where execution_id = %s", ids[2])
    assert event["type"] == "execution_updated"
    assert event["message"] == "because"
    assert event["details"] == {"changes": {"priority": 0}, "before": {"priority": 5}}
    assert db.value("select count(*) from flowgres.audit_log where action = 'execution_updated'") == 1


def test_priority_reaches_steps_to_come_and_children(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    root = start(database, tenant, nest(db, tenant))
    lease = descend(runner, until="work")
    change(database, tenant, root, priority=2)
    assert {row["priority"] for row in db.all("select priority from flowgres.executions")} == {2}
    runner.report([runner.result(lease, completed(1))])
    assert {row["priority"] for row in db.all("select priority from flowgres.work_queue")} == {2}


def test_scheduled_execution_is_moved_and_begins_now(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    flow = import_workflow(db, tenant, dag("flow", TWO))
    later = db.value("select flowgres.now() + interval '1 hour'")
    execution_id = start(database, tenant, flow, scheduled_at=later)
    changed = change(database, tenant, execution_id, scheduled_at=(later + timedelta(hours=1)).isoformat())
    assert changed["scheduled_at"] > later.isoformat()
    clock.advance(seconds=3700)
    assert runner.claim() == []
    assert change(database, tenant, execution_id, scheduled_at=None)["scheduled_at"] is None
    (lease,) = runner.claim()
    assert refused(database, tenant, execution_id, scheduled_at=None) == "execution_started"
    (lease,) = runner.report([runner.result(lease, completed(1))])
    assert refused(database, tenant, execution_id, scheduled_at=None) == "execution_started"
    runner.report([runner.result(lease, completed(1))])
    assert refused(database, tenant, execution_id, priority=1) == "execution_ended"
    assert_invariants(db)


def test_start_that_waits_in_line_is_put_off(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("flow", TWO)))
    change(
        database, tenant, execution_id, scheduled_at=db.value("select flowgres.now() + interval '1 hour'").isoformat()
    )
    assert runner.claim() == []
    clock.advance(seconds=3601)
    assert runner.work() == ["first", "last"]


def test_scheduled_execution_is_cancelled(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    later = db.value("select flowgres.now() + interval '1 hour'")
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("flow", TWO)), scheduled_at=later)
    assert act(database, tenant, "cancel_execution", execution_id=execution_id)["status"] == "cancelled"
    clock.advance(seconds=3601)
    assert runner.claim() == []
    assert_invariants(db)


@pytest.mark.parametrize("changes", [{"extend_seconds": 100}, {"timeout_seconds": 200}])
def test_deadline_is_extended(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock, changes: dict[str, float]
) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("flow", TWO, settings={"timeout": 100})))
    (lease,) = runner.claim()
    runner.report([runner.result(lease, completed(1))])
    clock.advance(seconds=90)
    assert change(database, tenant, execution_id, **changes)["timeout_seconds"] == 200
    clock.advance(seconds=100)
    assert db.value("select flowgres.expire_executions(10)") == 0
    clock.advance(seconds=11)
    assert db.value("select flowgres.expire_executions(10)") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "failed"},
        {"priority": 10},
        {"priority": None},
        {"priority": 1.5},
        {"timeout_seconds": 0},
        {"timeout_seconds": "5"},
        {"extend_seconds": -1},
        {"extend_seconds": 1, "timeout_seconds": 1},
        {"scheduled_at": "soon"},
        {"scheduled_at": 5},
    ],
)
def test_changes_that_do_not_fit_are_refused(
    database: Database, db: Db, tenant: Tenant, changes: dict[str, Any]
) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("flow", TWO)))
    assert refused(database, tenant, execution_id, **changes) == "changes_invalid"
    assert get(database, tenant, execution_id)["priority"] == 5
