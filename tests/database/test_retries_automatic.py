"""Executions that are retried by themselves: max_retries of a workflow or a start."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.database.test_retries import UNDOES, begin, fail, retry
from tests.database.test_retries_below import decide
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow, start

LATE = [{"id": "page", "type": "log", "config": {"message": "x"}}]


def test_failure_is_retried_after_a_pause_and_the_rest_comes_with_the_last(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a", **UNDOES},
        {"id": "b", "depends_on": ["a"]},
        {"id": "tidy", "depends_on": ["b"], "join": "always"},
    ]
    definition = dag("again", steps, on_failure=LATE, settings={"max_retries": 2})
    execution_id = begin(database, db, tenant, definition)
    assert runner.work(fail("b")) == ["a", "b"]
    for retry_count in (1, 2):
        (row,) = db.all("select status, retry_count, retry_at, finished_at from flowgres_api.executions")
        assert (row["status"], row["retry_count"], row["finished_at"]) == ("retrying", retry_count, None)
        execution = get(database, tenant, execution_id)
        assert (execution["status"], execution["retry_count"]) == ("retrying", retry_count)
        assert execution["steps"]["b"]["status"] in {"pending", "retrying"}
        assert_invariants(db, drained=False)
        assert runner.claim() == []
        clock.advance(seconds=2**retry_count)
        ran = runner.work(fail("b"))
        assert ran == (["b"] if retry_count == 1 else ["b", "tidy", "a.compensate", "page"])
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["generation"], execution["retry_count"]) == ("failed", 3, 2)
    told = db.all("select type, actor from flowgres_api.execution_events where type like 'execution%' order by seq")
    assert [row["type"] for row in told] == [
        "execution_started",
        "execution_retrying",
        "execution_retrying",
        "execution_failed",
    ]
    assert_invariants(db)


def test_retry_that_completes_leaves_no_error(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    workflow = import_workflow(db, tenant, dag("once", [{"id": "a"}, {"id": "side"}]))
    execution_id = start(database, tenant, workflow, max_retries=1)
    leases = {runner.step_name(row): row for row in runner.claim()}
    runner.report([runner.result(leases["a"], failed())])
    # What ran beside it was taken away, and comes too late.
    runner.report([runner.result(leases["side"], completed("late"))])
    clock.advance(seconds=1)
    assert sorted(runner.work(fail())) == ["a", "side"]
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["error"], execution["generation"]) == ("completed", None, 2)
    assert_invariants(db)


@pytest.mark.parametrize(
    "error",
    [
        {"class": "validation"},
        {"class": "expression"},
        {"class": "definition"},
        {"class": "http", "retryable": False},
        {"class": "child", "details": {"error": {"class": "validation"}}},
        {"class": "iteration", "details": {"error": {"class": "child", "details": {"error": {"code": "cancelled"}}}}},
    ],
)
def test_what_fails_the_same_way_again_is_not_retried(
    database: Database, db: Db, tenant: Tenant, runner: Hands, error: dict[str, Any]
) -> None:
    execution_id = begin(database, db, tenant, dag("same", [{"id": "a"}], settings={"max_retries": 5}))
    said = failed()
    said["error"] |= error
    runner.work(lambda *_: said)
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["generation"]) == ("failed", 1)
    assert_invariants(db)


def test_stop_is_meant_and_not_retried(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    steps = [{"id": "a", "type": "stop", "config": {"status": "failed"}}]
    execution_id = begin(database, db, tenant, dag("stopped", steps, settings={"max_retries": 5}))
    runner.work(lambda *_: completed({"status": "failed", "message": "no"}))
    assert get(database, tenant, execution_id)["status"] == "failed"
    assert_invariants(db)


def test_time_of_the_execution_begins_anew(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    definition = dag("slow", [{"id": "a"}], settings={"max_retries": 1, "timeout": 10})
    execution_id = begin(database, db, tenant, definition)
    for last in (False, True):
        (lease,) = runner.claim()
        runner.report([runner.result(lease, {"o": "started"})])
        clock.advance(seconds=11)
        db.value("select flowgres.expire_executions(100)")
        assert get(database, tenant, execution_id)["status"] == ("failed" if last else "retrying")
        assert_invariants(db, drained=last)
        clock.advance(seconds=2)
    assert get(database, tenant, execution_id)["error"]["code"] == "execution_timeout"


def test_cancel_ends_the_wait_for_a_retry(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    execution_id = begin(database, db, tenant, dag("waits", [{"id": "a"}], settings={"max_retries": 9}))
    runner.work(fail("a"))
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.cancel_execution", execution_id=execution_id)
    clock.advance(seconds=600)
    assert runner.claim() == []
    assert get(database, tenant, execution_id)["status"] == "cancelled"
    assert_invariants(db)
    # A person's retry gives it all its retries again.
    assert retry(database, tenant, execution_id)["retry_count"] == 0


def test_child_uses_its_own_retries_before_its_parent_hears_of_it(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "work"}], settings={"max_retries": 1}))
    call = {"id": "call", "type": "sub_workflow", "config": {"workflow": "child", "input": {}}}
    execution_id = begin(database, db, tenant, dag("top", [call], settings={"max_retries": 1}))
    assert runner.work(decide("work")) == ["call", "work"]
    assert get(database, tenant, execution_id)["status"] == "waiting"
    clock.advance(seconds=1)
    # Now it has failed, and the parent retries it as itself.
    assert runner.work(decide("work")) == ["work", "call"]
    assert get(database, tenant, execution_id)["status"] == "waiting"
    assert_invariants(db, drained=False)
    clock.advance(seconds=1)
    assert runner.work(decide()) == ["work", "call"]
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert db.value("select count(*) from flowgres.executions") == 2
    assert_invariants(db)


def test_max_retries_of_a_start_is_checked_and_part_of_its_key(database: Database, db: Db, tenant: Tenant) -> None:
    workflow = import_workflow(db, tenant, dag("keyed", [{"id": "a"}], settings={"max_retries": 7}))
    with pytest.raises(psycopg.Error, match="max_retries_invalid"):
        start(database, tenant, workflow, max_retries=101)
    first = start(database, tenant, workflow, max_retries=3, idempotency_key="k")
    assert start(database, tenant, workflow, max_retries=3, idempotency_key="k") == first
    with pytest.raises(psycopg.Error, match="idempotency_key"):
        start(database, tenant, workflow, max_retries=4, idempotency_key="k")
    start(database, tenant, workflow, max_retries=0)
    start(database, tenant, workflow)
    assert [row["max_retries"] for row in db.all("select max_retries from flowgres.executions order by id")] == [
        3,
        0,
        7,
    ]
