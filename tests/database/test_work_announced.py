"""Steps that were announced (`started`) and whose lease then ends otherwise than usual."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, hands, import_workflow, start


@pytest.fixture
def execution_id(database: Database, db: Db, tenant: Tenant) -> str:
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]
    return start(database, tenant, import_workflow(db, tenant, dag("two", steps)))


def lease_of(row: Row) -> list[str | int]:
    return [str(row["tenant_id"]), str(row["execution_id"]), row["queue_id"], row["token"]]


def test_start_and_end_of_a_step_may_come_in_one_batch(
    database: Database, db: Db, tenant: Tenant, runner: Hands, execution_id: str
) -> None:
    (lease,) = runner.claim()
    runner.report([runner.result(lease, {"o": "started"}), runner.result(lease, completed(7))])
    assert get(database, tenant, execution_id)["steps"]["a"]["status"] == "completed"
    (lease,) = runner.claim() or db.all("select *, id as queue_id from flowgres.work_queue")
    runner.report([runner.result(lease, {"o": "started"}), runner.result(lease, completed(8))])
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert execution["steps"]["b"]["output"] == 8
    assert_invariants(db)


def test_start_and_failure_of_a_step_may_come_in_one_batch(
    database: Database, db: Db, tenant: Tenant, runner: Hands, execution_id: str
) -> None:
    (lease,) = runner.claim()
    runner.report([runner.result(lease, {"o": "started"}), runner.result(lease, failed())])
    assert get(database, tenant, execution_id)["status"] == "failed"
    assert_invariants(db)


def test_announced_step_that_was_released_runs_elsewhere(
    database: Database, db: Db, tenant: Tenant, runner: Hands, execution_id: str
) -> None:
    (lease,) = runner.claim()
    runner.report([runner.result(lease, {"o": "started"})])
    assert db.value("select flowgres.release(%s, %s)", runner.id, [lease_of(lease)]) == 1
    with hands(database) as other:
        assert other.work() == ["a", "b"]
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert execution["steps"]["a"]["attempts"] == 1
    assert_invariants(db)


def test_announced_step_that_nobody_knows_of_runs_elsewhere(
    database: Database, db: Db, tenant: Tenant, runner: Hands, execution_id: str
) -> None:
    (lease,) = runner.claim()
    runner.report([runner.result(lease, {"o": "started"})])
    assert db.value("select flowgres.release_unknown(%s, '[]')", runner.id) == 1
    with hands(database) as other:
        assert other.work() == ["a", "b"]
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)
