"""Two ends in one execution at once, each on a connection of its own: whoever is second sees what the first one did."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow, start
from tests.support.races import Lane, caller, drain

UNDONE = {"compensate": {"type": "log", "config": {"message": "undone"}}}
LATE = [{"id": "page", "type": "log", "config": {"message": "x"}}]
STEPS: dict[str, list[dict[str, Any]]] = {
    "join": [
        {"id": "a"},
        {"id": "b"},
        {"id": "c"},
        {"id": "j", "depends_on": ["a", "b", "c"], "join": {"at_least": 2, "rest": "cancel"}},
    ],
    "cancel": [{"id": "a", "cancels": ["b"]}, {"id": "b", "cancels": ["a"]}, {"id": "j", "depends_on": ["a", "b"]}],
    "stop": [
        {"id": "a", "type": "stop", "config": {}},
        {"id": "b", "type": "stop", "config": {}},
        {"id": "j", "depends_on": ["a", "b"], "join": "always"},
    ],
    "stop or fail": [
        {"id": "a", "type": "stop", "config": {}},
        {"id": "b", **UNDONE},
        {"id": "j", "depends_on": ["a", "b"], "join": "always"},
    ],
}
ENDS: dict[str, dict[str, dict[str, Any]]] = {
    "join": {"a": completed(), "b": completed()},
    "cancel": {"a": completed(), "b": completed()},
    "stop": {"a": completed({"status": "completed", "output": "a"}), "b": completed({"status": "cancelled"})},
    "stop or fail": {"a": completed({"status": "completed", "output": "a"}), "b": failed()},
}
# What the first one makes of the execution: its status, and those of the steps.
EXPECTED: dict[tuple[str, str], tuple[str, dict[str, str]]] = {
    ("join", "a"): ("completed", {"a": "completed", "b": "completed", "c": "cancelled", "j": "completed"}),
    ("join", "b"): ("completed", {"a": "completed", "b": "completed", "c": "cancelled", "j": "completed"}),
    ("cancel", "a"): ("completed", {"a": "completed", "b": "cancelled", "j": "completed"}),
    ("cancel", "b"): ("completed", {"a": "cancelled", "b": "completed", "j": "completed"}),
    ("stop", "a"): ("completed", {"a": "completed", "b": "cancelled", "j": "completed"}),
    ("stop", "b"): ("cancelled", {"a": "cancelled", "b": "completed", "j": "completed"}),
    ("stop or fail", "a"): ("completed", {"a": "completed", "b": "cancelled", "j": "completed"}),
    ("stop or fail", "b"): ("failed", {"a": "cancelled", "b": "failed", "j": "completed", "page": "completed"}),
}


def _ended(database: Database, tenant: Tenant, execution_id: str) -> tuple[str, dict[str, str]]:
    execution = get(database, tenant, execution_id)
    return execution["status"], {name: step["status"] for name, step in execution["steps"].items()}


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize("kind", list(STEPS))
@pytest.mark.parametrize("is_one_call", [False, True], ids=["two connections", "one call"])
def test_of_two_ends_at_once_the_first_one_counts(
    database: Database, db: Db, tenant: Tenant, runner: Hands, kind: str, first: str, is_one_call: bool
) -> None:
    second = "b" if first == "a" else "a"
    name = import_workflow(db, tenant, dag("at_once", STEPS[kind], on_failure=LATE))
    execution_id = start(database, tenant, name)
    leases = {runner.step_name(lease): lease for lease in runner.claim()}
    ends = {step: runner.result(leases[step], said) for step, said in ENDS[kind].items()}
    expected = EXPECTED[kind, first]
    if is_one_call:
        # Both have ended then, and what comes of it begins with the one that is older in the queue.
        runner.report([ends[first], ends[second]])
        status, steps = EXPECTED[kind, "a"]
        # But of two that cancel each other only one completes.
        second_end = {"stop or fail": "failed", "cancel": "cancelled"}.get(kind, "completed")
        expected = status, {**steps, "b": second_end}
    else:
        with database.connect("runner") as other:
            lane = Lane(other, runner)
            with runner.db.connection.transaction():
                runner.report_once([ends[first]])
                assert [row["is_passed_over"] for row in lane.report([ends[second]])] == [True]
            lane.report([ends[second]])
    drain(database, db, runner)
    assert _ended(database, tenant, execution_id) == expected


@pytest.mark.parametrize("is_cancelled_first", [True, False])
@pytest.mark.parametrize("end", ["a failure", "a compensation"])
def test_cancel_beside_the_turn_to_what_follows_a_failure(
    database: Database, db: Db, tenant: Tenant, runner: Hands, end: str, is_cancelled_first: bool
) -> None:
    steps: list[dict[str, Any]] = [{"id": "a", **UNDONE}, {"id": "b", "depends_on": ["a"]}]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("turn", steps, on_failure=LATE)))
    (lease,) = runner.claim()
    (lease,) = runner.report([runner.result(lease, completed())])
    said = runner.result(lease, failed())
    if end == "a compensation":
        runner.report([said])
        (lease,) = runner.claim()
        said = runner.result(lease, completed())
    with caller(database, tenant) as (_, request):
        if is_cancelled_first:
            request("cancel_execution", execution_id=execution_id)
            assert runner.report([said]) == []
        else:
            runner.report([said])
            request("cancel_execution", execution_id=execution_id)
    assert_invariants(db)
    drain(database, db, runner)
    status, found = _ended(database, tenant, execution_id)
    assert status == "cancelled"
    at = runner.step_name(lease)
    assert found[at] == ("cancelled" if is_cancelled_first else said["o"])
    late = "a.compensate" if end == "a failure" else "page"
    assert found.get(late) == (None if is_cancelled_first else "cancelled")


@pytest.mark.parametrize("ends_first", [True, False])
def test_end_of_time_beside_a_stop(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands, ends_first: bool
) -> None:
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "type": "stop", "config": {}, "depends_on": ["a"]}]
    definition = dag("timed", steps, settings={"timeout": 60}, on_failure=LATE)
    execution_id = start(database, tenant, import_workflow(db, tenant, definition))
    (lease,) = runner.claim()
    (lease,) = runner.report([runner.result(lease, completed())])
    clock.advance(seconds=61)
    said = [runner.result(lease, completed({"status": "completed", "output": 1}))]
    if ends_first:
        runner.report(said)
    with database.connect("runner") as other:
        assert other.call("flowgres.expire_executions", p_limit=10) == (0 if ends_first else 1)
    if not ends_first:
        assert runner.report(said) == []
    drain(database, db, runner)
    execution = get(database, tenant, execution_id)
    if ends_first:
        assert (execution["status"], execution["output"]) == ("completed", 1)
    else:
        assert (execution["status"], execution["error"]["code"]) == ("failed", "execution_timeout")
        assert execution["steps"]["page"]["status"] == "completed"
