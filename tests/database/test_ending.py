"""What turns an execution towards its end, what is cancelled on the way, and what runs then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import (
    assert_invariants,
    completed,
    dag,
    failed,
    get,
    hands,
    import_workflow,
    start,
    statuses,
)


def _run(
    database: Database, db: Db, tenant: Tenant, definition: dict[str, Any], outcomes: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    """The execution when all is over, and its steps in the order in which they ran."""
    execution_id = start(database, tenant, import_workflow(db, tenant, definition), input={"n": 1})

    def decide(_: Row, name: str) -> dict[str, Any]:
        return outcomes.get(name, completed(name))

    with hands(database) as runner:
        ran = runner.work(decide, one_by_one=True)
    assert_invariants(db)
    return get(database, tenant, execution_id), ran


UNDOES = {"compensate": {"type": "log", "config": {"message": "undone"}}}


def test_compensations_run_one_by_one_in_the_reverse_order_of_completion(
    database: Database, db: Db, tenant: Tenant
) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a", **UNDOES},
        {"id": "b", "depends_on": ["a"], **UNDOES},
        {"id": "c", "depends_on": ["b"]},
        {"id": "d", "depends_on": ["c"], **UNDOES},
        {"id": "e", "depends_on": ["d"], **UNDOES},
    ]
    late = [{"id": "page", "type": "log", "config": {"message": "{{ error.step }}"}}]
    definition = dag("saga", steps, on_failure=late)
    execution, ran = _run(database, db, tenant, definition, {"d": failed(), "b.compensate": failed()})
    assert ran == ["a", "b", "c", "d", "b.compensate", "a.compensate", "page"]
    assert statuses(execution) == {
        "a": "completed",
        "b": "completed",
        "c": "completed",
        "d": "failed",
        "e": "cancelled",
        "b.compensate": "failed",
        "a.compensate": "completed",
        "page": "completed",
    }
    assert (execution["status"], execution["error"]["step"], execution["total_steps"]) == ("failed", "d", 8)


def test_on_failure_sees_the_error(database: Database, db: Db, tenant: Tenant) -> None:
    late = [{"id": "page", "type": "log", "config": {"message": "{{ error.step }} {{ steps.a.status }}"}}]
    name = import_workflow(db, tenant, dag("page", [{"id": "a"}], on_failure=late))
    start(database, tenant, name)
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        assert "error" not in lease["context"]
        assert runner.report([runner.result(lease, failed())]) == []
        (lease,) = runner.claim(1)
        assert runner.step_name(lease) == "page"
        assert lease["context"]["error"]["step"] == "a"
        assert lease["context"]["steps"]["a"]["status"] == "failed"
        runner.report([runner.result(lease, completed())])


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_stop_ends_the_execution_as_it_says(database: Database, db: Db, tenant: Tenant, status: str) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a", **UNDOES},
        {"id": "end", "type": "stop", "depends_on": ["a"], "config": {"status": status}},
        {"id": "b", "depends_on": ["end"]},
        {"id": "last", "depends_on": ["b"], "join": "always"},
    ]
    late = [{"id": "page", "type": "log", "config": {"message": "x"}}]
    definition = dag("stops", steps, on_failure=late, outputs={"never": "{{ steps.b.output }}"})
    said = completed({"status": status, "output": {"n": 1}, "message": "enough"})
    execution, ran = _run(database, db, tenant, definition, {"end": said})
    undone = ["a.compensate", "page"] if status == "failed" else []
    assert ran == ["a", "end", "last", *undone]
    assert execution["status"] == status
    assert execution["output"] == ({"n": 1} if status == "completed" else None)
    assert execution["error"] == (
        None if status == "completed" else {"code": "stopped", "class": "stopped", "message": "enough", "step": "end"}
    )
    assert execution["steps_completed"] == 3 + len(undone)


def test_step_that_completes_cancels_others(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "work"},
        {"id": "remind"},
        {"id": "after", "depends_on": ["remind"]},
        {"id": "done", "depends_on": ["work"], "cancels": ["remind", "never", "work"]},
        {"id": "never", "depends_on": ["after"], "join": "always"},
        {"id": "end", "depends_on": ["done", "never"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("cancels", steps)))
    with hands(database) as runner:
        leases = {runner.step_name(lease): lease for lease in runner.claim()}
        assert set(leases) == {"work", "remind"}
        (done,) = runner.report([runner.result(leases["work"], completed())])
        (end,) = runner.report([runner.result(done, completed())])
        assert runner.step_name(end) == "end"
        assert runner.report([runner.result(leases["remind"], completed())]) == []
        runner.report([runner.result(end, completed())])
    execution = get(database, tenant, execution_id)
    assert statuses(execution) == {
        "work": "completed",
        "remind": "cancelled",
        "after": "skipped",
        "done": "completed",
        "never": "cancelled",
        "end": "completed",
    }
    assert execution["status"] == "completed"


def test_step_that_is_cancelled_in_a_batch_cancels_nothing(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "first", "type": "stop", "config": {"status": "completed"}, "cancels": ["second"]},
        {"id": "second", "cancels": ["third"]},
        {"id": "third", "cancels": ["fourth"]},
        {"id": "fourth", "cancels": ["fifth"]},
        {"id": "fifth"},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("chained", steps)))
    with hands(database) as runner:
        leases = sorted(runner.claim(), key=lambda lease: lease["queue_id"])
        assert [runner.step_name(lease) for lease in leases] == ["first", "second", "third", "fourth", "fifth"]
        output = {"status": "completed"}
        runner.report([runner.result(lease, completed(output)) for lease in leases])
    assert statuses(get(database, tenant, execution_id)) == {
        "first": "completed",
        "second": "cancelled",
        "third": "completed",
        "fourth": "cancelled",
        "fifth": "completed",
    }
    assert_invariants(db)


@pytest.mark.parametrize("rest", ["continue", "cancel"])
def test_join_of_some_starts_at_the_last_that_it_needs(database: Database, db: Db, tenant: Tenant, rest: str) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "b"},
        {"id": "c0"},
        {"id": "c", "depends_on": ["c0"]},
        {"id": "d0"},
        {"id": "d", "depends_on": ["d0"]},
        {"id": "also", "depends_on": ["d0"]},
        {"id": "two", "depends_on": ["a", "b", "c", "d"], "join": {"at_least": 2, "rest": rest}},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("some", steps)))
    with hands(database) as runner:
        leases = {runner.step_name(lease): lease for lease in runner.claim()}
        assert runner.report([runner.result(leases["b"], completed())]) == []
        (two,) = runner.report([runner.result(leases["a"], completed())])
        assert runner.step_name(two) == "two"
        now = statuses(get(database, tenant, execution_id))
        gone = "cancelled" if rest == "cancel" else None
        assert (now["c0"], now["c"], now["d"]) == (gone or "running", gone or "pending", gone or "pending")
        # What leads elsewhere, too, goes on.
        assert (now["d0"], now["also"]) == ("running", "pending")
        ends = [runner.result(leases[name], completed()) for name in ("c0", "d0")]
        more = runner.report([*ends, runner.result(two, completed())])
        assert {runner.step_name(lease) for lease in more} == ({"also"} if gone else {"c", "d", "also"})
        runner.report([runner.result(lease, completed()) for lease in more])
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert execution["steps"]["c"]["status"] == (gone or "completed")
    assert_invariants(db)


@pytest.mark.parametrize("when", ["before it fails", "afterwards", "skipped"])
def test_failure_whose_handler_was_cancelled_is_not_handled(
    database: Database, db: Db, tenant: Tenant, when: str
) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "b", "cancels": ["handle"]},
        {"id": "handle", "depends_on": ["a"], "join": "failed"},
        {"id": "later", "depends_on": ["b"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("handlers", steps)))
    with hands(database) as runner:
        leases = {runner.step_name(lease): lease for lease in runner.claim()}
        order = ["b", "a"] if when == "before it fails" else ["a", "b"]
        for name in order:
            said = failed() if name == "a" else completed()
            more = runner.report([runner.result(leases[name], said)])
            leases |= {runner.step_name(lease): lease for lease in more}
            if when == "skipped" and name == "a":
                runner.report([runner.result(leases["handle"], {"o": "skipped"})])
                break
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["error"]["step"]) == ("failed", "a")
    assert_invariants(db)


def test_detached_child_is_not_waited_for_and_not_cancelled(database: Database, db: Db, tenant: Tenant) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "slow"}]))
    steps: list[dict[str, Any]] = [
        {"id": "call", "type": "sub_workflow", "config": {"workflow": "child", "detach": True}},
        {"id": "after", "depends_on": ["call"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("parent", steps)))
    with hands(database) as runner:
        (call,) = runner.claim()
        runner.report([runner.result(call, {"o": "child", "workflow": "child", "input": {}, "detached": True})])
        leases = {runner.step_name(lease): lease for lease in runner.claim()}
        child_id = leases["call"]["resume"]["execution_id"]
        assert leases["call"]["resume"] == {"status": "detached", "execution_id": child_id}
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call("flowgres_api.cancel_execution", execution_id=execution_id)
        while db.call("flowgres.cancel_orphan"):
            pass
        assert get(database, tenant, child_id)["status"] == "running"
        runner.report([runner.result(leases["slow"], completed(1))])
    child = get(database, tenant, child_id)
    assert (child["status"], child["parent_execution_id"]) == ("completed", execution_id)
    assert get(database, tenant, execution_id)["status"] == "cancelled"
    assert_invariants(db)


@pytest.mark.parametrize("at", ["a.compensate", "first"])
def test_cancel_ends_what_follows_a_failure(database: Database, db: Db, tenant: Tenant, at: str) -> None:
    late = [{"id": name, "type": "log", "config": {"message": "x"}} for name in ("first", "second")]
    steps: list[dict[str, Any]] = [{"id": "a", **UNDOES}, {"id": "b", "depends_on": ["a"]}]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("late", steps, on_failure=late)))
    with hands(database) as runner:
        (lease,) = runner.claim()
        (lease,) = runner.report([runner.result(lease, completed())])
        runner.report([runner.result(lease, failed())])
        (lease,) = runner.claim()
        while runner.step_name(lease) != at:
            runner.report([runner.result(lease, completed())])
            (lease,) = runner.claim()
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call("flowgres_api.cancel_execution", execution_id=execution_id)
        assert runner.report([runner.result(lease, completed())]) == []
        assert runner.claim() == []
    execution = get(database, tenant, execution_id)
    assert (execution["status"], statuses(execution)[at]) == ("cancelled", "cancelled")
    assert_invariants(db)
