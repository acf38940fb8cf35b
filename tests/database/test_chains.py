"""Leases whose whole chain completed: recorded in one go when as plain as they look, judged as ever when not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, completed, dag, failed, get, hands, import_workflow, start

CHAIN: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b"]}]


def _chain(db: Db, tenant: Tenant, **more: Any) -> str:
    return import_workflow(db, tenant, dag("chain", CHAIN, **more))


def _comparable(execution: dict[str, Any]) -> dict[str, Any]:
    """What must be the same whichever way an execution was recorded."""
    kept = ("status", "output", "error", "steps_completed", "progress", "generation")
    steps = {
        name: {key: step[key] for key in ("status", "output", "error", "attempts", "type")}
        | {"times": [step[key] is not None for key in ("ready_at", "started_at", "finished_at")]}
        for name, step in execution["steps"].items()
    }
    return {key: execution[key] for key in kept} | {"steps": steps}


@pytest.mark.parametrize("outputs", [None, {"last": "{{ steps.c.output }}"}])
def test_chain_is_recorded_like_the_same_reports(
    database: Database, db: Db, tenant: Tenant, outputs: dict[str, Any] | None
) -> None:
    name = _chain(db, tenant, **({} if outputs is None else {"outputs": outputs}))
    values: list[Any] = [1, {"x": None}, [True], *([] if outputs is None else [{"last": [True]}])]
    executions = []
    for as_chain in (True, False):
        execution_id = start(database, tenant, name)
        with hands(database) as runner:
            (lease,) = runner.claim(1)
            if as_chain:
                assert runner.report_chains([(lease, values)]) == []
            else:
                head, *ahead = [{"s": index, "ms": 1.0, **completed(value)} for index, value in enumerate(values)]
                assert runner.report([{**runner.result(lease, head), "ahead": ahead}]) == []
        executions.append(execution_id)
    one, other = (_comparable(get(database, tenant, execution_id)) for execution_id in executions)
    assert one == other
    assert one["status"] == "completed"
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        query = "select seq, type, step, level from flowgres_api.execution_events where execution_id = %s order by seq"
        assert api.all(query, executions[0]) == api.all(query, executions[1])
        query = "select step, attempt, status from flowgres_api.attempts where execution_id = %s order by step"
        assert api.all(query, executions[0]) == api.all(query, executions[1])
    # Not one row of events, and none left in the queue.
    assert db.value("select count(*) from flowgres.events") == 0
    assert_invariants(db)


def test_child_recorded_as_a_chain_wakes_its_parent(database: Database, db: Db, tenant: Tenant) -> None:
    _chain(db, tenant)
    call = {"id": "call", "type": "sub_workflow", "config": {"workflow": "chain"}}
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("parent", [call])))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, {"o": "child", "workflow": "chain", "input": {}})])
        (child,) = runner.claim(1)
        (resumed,) = runner.report_chains([(child, [1, 2, 3])], want=1)
        assert resumed["resume"]["output"] == {"c": 3}
        runner.report([runner.result(resumed, completed(resumed["resume"]["output"]))])
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)


def test_what_is_not_plain_is_judged_like_any_report(database: Database, db: Db, tenant: Tenant) -> None:
    name = _chain(db, tenant)
    cancelled, retried, partial, plain = (start(database, tenant, name) for _ in range(4))
    with hands(database) as runner:
        leases = {str(lease["execution_id"]): lease for lease in runner.claim()}
        runner.report([runner.result(leases[retried], failed("timeout"))])
        db.run("update flowgres.work_queue set due_at = now() where due_at is not null")
        (leases[retried],) = runner.claim()
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            api.call("flowgres_api.cancel_execution", execution_id=cancelled)
        handed = runner.report_chains(
            [
                (leases[plain], [1, 2, 3]),
                (leases[cancelled], [1, 2, 3]),
                (leases[retried], [1, 2, 3]),
                (leases[partial], [1, 2]),
            ]
        )
        assert [(str(row["execution_id"]), row["step_index"]) for row in handed] == [(partial, 2)]
        runner.report([runner.result(handed[0], completed(3))])
    statuses = {x: get(database, tenant, x)["status"] for x in (cancelled, retried, partial, plain)}
    assert statuses == {cancelled: "cancelled", retried: "completed", partial: "completed", plain: "completed"}
    assert get(database, tenant, retried)["steps"]["a"]["attempts"] == 2
    assert_invariants(db)


def test_held_execution_of_a_chain_is_passed_over(database: Database, db: Db, tenant: Tenant) -> None:
    name = _chain(db, tenant)
    held, free = (start(database, tenant, name) for _ in range(2))
    with hands(database) as runner, database.connect() as holder:
        leases = {str(lease["execution_id"]): lease for lease in runner.claim()}
        runner.db.run("set lock_timeout to '100ms'")
        chains = [(leases[x], [1, 2, 3]) for x in (held, free)]
        with holder.connection.transaction():
            holder.run("select from flowgres.executions where id = %s for no key update", held)
            (row,) = runner.report_chains(chains)
            assert (row["is_passed_over"], str(row["execution_id"])) == (True, held)
            assert get(database, tenant, free)["status"] == "completed"
        assert runner.report_chains(chains[:1]) == []
    assert get(database, tenant, held)["status"] == "completed"
    assert_invariants(db)


def test_chains_of_a_version_are_told_with_it(database: Database, db: Db, tenant: Tenant) -> None:
    forks: list[dict[str, Any]] = [{"id": side, "depends_on": ["root"]} for side in ("left", "right")]
    steps = [{"id": "root"}, *forks]
    start(database, tenant, import_workflow(db, tenant, dag("fork", steps)))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        version = runner.db.call("flowgres.get_version", p_version_id=lease["version_id"])
    told = [{"count": 1, "is_whole": False, "opened_count": count} for count in (2, 0, 0)]
    assert [step["chain"] for step in version["steps"]] == told
