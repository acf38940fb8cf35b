"""Sub-workflows: children of steps, their results, and cancelling them with their parents."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, hands, import_workflow, start


def _import_pair(db: Db, tenant: Tenant, **parent: Any) -> str:
    import_workflow(db, tenant, dag("child", [{"id": "work"}]))
    call: dict[str, Any] = {"id": "call", "type": "sub_workflow", "config": {"workflow": "child", "input": {"n": 1}}}
    return import_workflow(db, tenant, dag("parent", [call, {"id": "after", "depends_on": ["call"]}], **parent))


def _decide(lease: Row, step: str) -> dict[str, Any]:
    if step != "call":
        return completed(step)
    if lease["resume"] is None:
        return {"o": "child", "workflow": "child", "input": {"n": 1}}
    result = lease["resume"]
    return completed(result["output"]) if result["status"] == "completed" else failed("child")


def _child_of(db: Db, execution_id: str) -> str:
    return str(db.value("select id from flowgres.executions where parent_execution_id = %s", execution_id))


def test_parent_goes_on_with_the_output_of_its_child(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, _import_pair(db, tenant))
    with hands(database) as runner:
        assert runner.work(_decide) == ["call", "work", "call", "after"]
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert execution["steps"]["call"]["output"] == {"work": "work"}
    assert execution["steps"]["call"]["child_execution_id"] == _child_of(db, execution_id)
    assert execution["steps"]["call"]["attempts"] == 1


def test_parent_waits_while_its_child_runs(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, _import_pair(db, tenant))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, _decide(lease, "call"))])
        assert get(database, tenant, execution_id)["status"] == "waiting"


def test_failed_child_fails_its_step(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, _import_pair(db, tenant))
    with hands(database) as runner:
        runner.work(lambda lease, step: failed() if step == "work" else _decide(lease, step))
    assert get(database, tenant, execution_id)["status"] == "failed"


def test_unknown_child_fails_the_step_and_not_its_batch(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, _import_pair(db, tenant))
    bystander = start(database, tenant, "child")
    with hands(database) as runner:

        def decide(lease: Row, step: str) -> dict[str, Any]:
            return {"o": "child", "workflow": "ghost", "input": {}} if step == "call" else completed()

        runner.work(decide)
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "failed"
    assert execution["error"]["code"] == "workflow_not_found"
    assert get(database, tenant, bystander)["status"] == "completed"


def test_cancel_reaches_the_child(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, _import_pair(db, tenant))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, _decide(lease, "call"))])
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            api.call("flowgres_api.cancel_execution", execution_id=execution_id)
        _cancel_orphans(runner)
        assert runner.claim(1) == []
    child = get(database, tenant, _child_of(db, execution_id))
    assert (get(database, tenant, execution_id)["status"], child["status"]) == ("cancelled", "cancelled")


def test_failing_parent_cancels_its_child(database: Database, db: Db, tenant: Tenant) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "work"}]))
    steps: list[dict[str, Any]] = [
        {"id": "call", "type": "sub_workflow", "config": {"workflow": "child"}},
        {"id": "bad"},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("parent", steps)))
    with hands(database) as runner:
        leases = {runner.step_name(lease): lease for lease in runner.claim(2)}
        runner.report([runner.result(leases["call"], _decide(leases["call"], "call"))])
        runner.report([runner.result(leases["bad"], failed())])
        _cancel_orphans(runner)
    assert get(database, tenant, execution_id)["status"] == "failed"
    assert get(database, tenant, _child_of(db, execution_id))["status"] == "cancelled"


def test_cancelled_child_fails_the_step_of_its_parent(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, _import_pair(db, tenant))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, _decide(lease, "call"))])
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            api.call("flowgres_api.cancel_execution", execution_id=_child_of(db, execution_id))
        (again,) = runner.claim(1)
        assert again["resume"]["status"] == "cancelled"
        runner.report([runner.result(again, _decide(again, "call"))])
    assert get(database, tenant, execution_id)["status"] == "failed"


def test_fourth_level_is_refused_at_run_time(database: Database, db: Db, tenant: Tenant) -> None:
    import_workflow(db, tenant, dag("leaf", [{"id": "work"}]))
    # Nothing at import can know what a name in an expression will be.
    call: dict[str, Any] = {"id": "call", "type": "sub_workflow", "config": {"workflow": "{{ input.name }}"}}
    name = import_workflow(db, tenant, dag("deep", [call]))
    execution_id = start(database, tenant, name)

    def decide(lease: Row, step: str) -> dict[str, Any]:
        if lease["resume"] is None:
            return {"o": "child", "workflow": "deep", "input": {}}
        return completed() if lease["resume"]["status"] == "completed" else failed("child")

    with hands(database) as runner:
        runner.work(decide)
    assert get(database, tenant, execution_id)["status"] == "failed"
    assert db.value("select max(depth) from flowgres.executions") == 3
    errors = db.column("select error ->> 'code' from flowgres.executions where depth = 3")
    assert errors == ["nesting_too_deep"]


def _cancel_orphans(runner: Hands) -> None:
    while runner.db.call("flowgres.cancel_orphan"):
        pass


def test_child_that_takes_longer_than_its_step_may_is_cancelled(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "work"}]))
    call = {
        "id": "call",
        "type": "sub_workflow",
        "timeout": 60,
        "retry": {"attempts": 1},
        "config": {"workflow": "child"},
    }
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("parent", [call])))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, _decide(lease, "call"))])
        (work,) = runner.claim(10)
        clock.advance(seconds=61)
        (resumed,) = runner.claim(10)
        assert resumed["resume"] == {"status": "timed_out", "execution_id": _child_of(db, execution_id)}
        assert runner.db.call("flowgres.cancel_orphan") is True
        assert runner.report([runner.result(work, completed())]) == []
        runner.report([runner.result(resumed, failed("timeout"))])
    assert get(database, tenant, _child_of(db, execution_id))["status"] == "cancelled"
    assert get(database, tenant, execution_id)["status"] == "failed"
    assert_invariants(db)


def test_end_of_a_child_is_not_lost_while_somebody_holds_its_parents_row(
    database: Database, db: Db, tenant: Tenant
) -> None:
    execution_id = start(database, tenant, _import_pair(db, tenant))
    with hands(database) as runner, database.connect() as holder:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, _decide(lease, "call"))])
        (work,) = runner.claim(1)
        runner.db.run("set lock_timeout to '100ms'")
        with holder.connection.transaction():
            holder.run("select from flowgres.work_queue where execution_id = %s for update", execution_id)
            assert runner.report_once([runner.result(work, completed("done"))]) == []
            assert_invariants(db, drained=False)
            assert runner.claim(1) == []
        assert runner.db.call("flowgres.wake_pending", p_limit=10) == 1
        assert runner.work(_decide) == ["call", "after"]
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)


def test_cancel_takes_all_descendants_with_it_at_once(database: Database, db: Db, tenant: Tenant) -> None:
    import_workflow(db, tenant, dag("leaf", [{"id": "work"}]))
    calls = [{"id": f"c{i}", "type": "sub_workflow", "config": {"workflow": "leaf"}} for i in range(5)]
    import_workflow(db, tenant, dag("middle", calls))
    name = import_workflow(
        db, tenant, dag("top", [{"id": "call", "type": "sub_workflow", "config": {"workflow": "middle"}}])
    )
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        for workflow in ("middle", "leaf"):
            child: dict[str, Any] = {"o": "child", "workflow": workflow, "input": {}}
            runner.report([runner.result(lease, child) for lease in runner.claim()])
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            api.call("flowgres_api.cancel_execution", execution_id=execution_id)
        assert runner.claim() == []
        assert db.column("select distinct status from flowgres.executions") == ["cancelled"]
        assert runner.db.call("flowgres.cancel_orphan") is False
    assert_invariants(db)


@pytest.mark.parametrize(("bad", "hint"), [({"n": "x"}, "/workflow_versions"), ({"n": 1, "m": 1}, "One of: n.")])
def test_many_children_start_together_and_a_bad_input_fails_alone(
    database: Database, db: Db, tenant: Tenant, bad: dict[str, Any], hint: str
) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "work"}], inputs={"n": {"type": "integer", "required": True}}))
    call = {"id": "call", "type": "sub_workflow", "on_error": "continue", "config": {"workflow": "child"}}
    name = import_workflow(db, tenant, dag("parent", [call]))
    for _ in range(30):
        start(database, tenant, name)
    with hands(database) as runner:
        leases = runner.claim()
        children = [{"o": "child", "workflow": "child", "input": {"n": i} if i != 17 else bad} for i in range(30)]
        runner.report([runner.result(lease, child) for lease, child in zip(leases, children, strict=True)])
    assert db.value("select count(*) from flowgres.executions where parent_execution_id is not null") == 29
    error = db.value("select error from flowgres.step_executions where status = 'failed'")
    assert (error["class"], error["code"]) == ("child", "input_invalid")
    assert hint in error["hint"]


def test_cancel_of_an_execution_that_ends_meanwhile_is_refused_though_its_children_are_open(
    database: Database, db: Db, tenant: Tenant
) -> None:
    import_workflow(db, tenant, dag("leaf", [{"id": "only"}]))
    calls: list[dict[str, Any]] = [
        {"id": side, "type": "sub_workflow", "config": {"workflow": "leaf"}} for side in ("left", "right")
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("pair", calls)))
    with hands(database) as runner:
        left, right = sorted(runner.claim(), key=lambda lease: lease["step_index"])
        runner.report([runner.result(left, {"o": "child", "workflow": "leaf", "input": {}})])
        runner.report([runner.result(right, failed())])
        assert get(database, tenant, execution_id)["status"] == "failed"
        with database.as_role("member", tenant_id=tenant.tenant_id, commit=False) as api:
            api.run("select set_config('request.method', '', true)")
            with pytest.raises(psycopg.Error) as refusal:
                api.call("flowgres_api.cancel_execution", execution_id=execution_id)
        assert refusal.value.diag.constraint_name == "execution_ended"
