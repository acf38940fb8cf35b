"""Retrying executions with sub-workflows: the same child goes on, through its parent."""

from __future__ import annotations

from typing import Any

from tests.database.test_retries import UNDOES, begin, refusal, retry
from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow


def decide(*bad: str) -> Any:
    """As a runner does: these steps fail, a call starts its child or takes what it ended with."""

    def say(lease: Row, step: str) -> dict[str, Any]:
        if not step.startswith("call"):
            return failed() if step in bad else completed(step)
        if lease["resume"] is None:
            return {"o": "child", "workflow": "child" if step == "call" else "middle", "input": {}}
        result = lease["resume"]
        return completed(result["output"]) if result["status"] == "completed" else failed("child")

    return say


def _import(db: Db, tenant: Tenant, **more: Any) -> None:
    steps: list[dict[str, Any]] = [{"id": "work", **more}, {"id": "rest", "depends_on": ["work"]}]
    import_workflow(db, tenant, dag("child", steps))
    import_workflow(db, tenant, dag("middle", [_call("call", "child")]))


def _call(step: str, workflow: str, **more: Any) -> dict[str, Any]:
    return {"id": step, "type": "sub_workflow", "config": {"workflow": workflow, "input": {}}, **more}


def _children(db: Db, execution_id: str) -> list[str]:
    found = db.all("select id from flowgres.executions where parent_execution_id = %s order by id", execution_id)
    return [str(row["id"]) for row in found]


def test_children_at_any_depth_go_on(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    _import(db, tenant)
    definition = dag("top", [_call("call_top", "middle"), {"id": "last", "depends_on": ["call_top"]}])
    execution_id = begin(database, db, tenant, definition)
    assert runner.work(decide("rest")) == ["call_top", "call", "work", "rest", "call", "call_top"]
    (middle,) = _children(db, execution_id)
    (child,) = _children(db, middle)
    assert refusal(database, tenant, child) == ("execution_has_parent", 409)
    for _ in range(2):
        assert retry(database, tenant, execution_id)["status"] == "waiting"
        assert get(database, tenant, child)["status"] == "running"
        assert_invariants(db, drained=False)
        assert runner.work(decide("rest")) == ["rest", "call", "call_top"]
        assert_invariants(db)
    retry(database, tenant, execution_id)
    assert runner.work(decide()) == ["rest", "call", "call_top", "last"]
    for one in (execution_id, middle, child):
        execution = get(database, tenant, one)
        assert (execution["status"], execution["generation"]) == ("completed", 4)
    assert (_children(db, execution_id), _children(db, middle)) == ([middle], [child])
    assert_invariants(db)


def test_child_that_has_undone_its_steps_is_started_anew(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    _import(db, tenant, **UNDOES)
    execution_id = begin(database, db, tenant, dag("top", [_call("call", "child")]))
    runner.work(decide("rest"))
    retry(database, tenant, execution_id)
    assert runner.work(decide()) == ["call", "work", "rest", "call"]
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert len(_children(db, execution_id)) == 2
    assert_invariants(db)


def test_cancelled_tree_goes_on(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    _import(db, tenant)
    execution_id = begin(database, db, tenant, dag("top", [_call("call", "child")]))
    (lease,) = runner.claim()
    runner.report([runner.result(lease, decide()(lease, "call"))])
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.cancel_execution", execution_id=execution_id)
    retry(database, tenant, execution_id)
    assert_invariants(db, drained=False)
    assert runner.work(decide()) == ["work", "rest", "call"]
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert len(_children(db, execution_id)) == 1
    assert_invariants(db)


def test_note_from_before_a_retry_cancels_no_child(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    _import(db, tenant)
    steps = [_call("call", "child", timeout=60), {"id": "b"}]
    execution_id = begin(database, db, tenant, dag("top", steps))
    leases = {runner.step_name(row): row for row in runner.claim()}
    runner.report([runner.result(leases["call"], decide()(leases["call"], "call"))])
    (work,) = runner.claim()
    runner.report([runner.result(leases["b"], failed())])
    # Its parent has failed, and the note to cancel it is not followed yet.
    assert db.value("select count(*) from flowgres.cancellations") == 1
    (first,) = _children(db, execution_id)
    retry(database, tenant, execution_id)
    runner.sweep()
    db.value("select flowgres.cancel_orphan()")
    runner.report([runner.result(work, completed("late"))])
    assert get(database, tenant, first)["status"] == "cancelled"
    assert sorted(runner.work(decide())) == ["b", "call", "call", "rest", "work"]
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)


def test_lists_of_children_go_on_with_those_that_failed(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    _import(db, tenant)
    each = _call("call", "child", foreach={"items": [1], "max_parallel": 1, "tolerate": 9})
    each["foreach"] = {"items": [1], "max_parallel": 3}
    execution_id = begin(database, db, tenant, dag("top", [each]))
    (lease,) = runner.claim()
    leases = runner.report([runner.result(lease, {"o": "expand", "out": [1, 2, 3]})], want=10)
    runner.report([runner.result(row, decide()(row, "call")) for row in leases])
    works = runner.claim()
    rests = [row for work in works for row in runner.report([runner.result(work, completed(1))])]
    runner.report([runner.result(rests[0], completed(1))])
    runner.report([runner.result(rests[1], failed())])
    runner.work(decide("rest"))
    assert get(database, tenant, execution_id)["status"] == "failed"
    while runner.sweep() or db.value("select flowgres.cancel_orphan()"):
        pass
    assert_invariants(db)
    retry(database, tenant, execution_id)
    assert_invariants(db, drained=False)
    runner.work(decide())
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert len(_children(db, execution_id)) == 3
    assert_invariants(db)
