"""Steps that a runner runs ahead under one lease: the database checks that nothing else could have made them ready."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, completed, dag, failed, get, hands, import_workflow, start

CHAIN: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b"]}]


def _report(runner: Any, lease: Any, *outcomes: tuple[int, dict[str, Any]]) -> list[Any]:
    """Report the leased step and those run ahead after it, as (step index, outcome)."""
    first, *ahead = [{"s": index, "ms": 1.0, **outcome} for index, outcome in outcomes]
    results = [{**runner.result(lease, first), "ahead": ahead}]
    return list(runner.report(results))


def test_chain_run_ahead_ends_in_one_report(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("chain", CHAIN)))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        assert _report(runner, lease, (0, completed(1)), (1, completed(2)), (2, completed(3))) == []
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["output"]) == ("completed", {"c": 3})
    assert [step["attempts"] for step in execution["steps"].values()] == [1, 1, 1]
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        events = api.all(
            "select seq, type, step from flowgres_api.execution_events where execution_id = %s order by seq",
            execution_id,
        )
    assert [row["seq"] for row in events] == list(range(1, 9))
    assert [(row["type"], row["step"]) for row in events[1:7]] == [
        (f"step_{end}", step) for step in "abc" for end in ("started", "completed")
    ]
    assert_invariants(db)


def test_rest_of_the_chain_is_handed_over(database: Database, db: Db, tenant: Tenant) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("chain", CHAIN)))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        (rest,) = _report(runner, lease, (0, completed(1)), (1, completed(2)))
        assert (rest["step_index"], rest["handed"], rest["attempt"]) == (2, True, 1)


def test_failure_ahead_fails_that_step(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("chain", CHAIN)))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        _report(runner, lease, (0, completed(1)), (1, failed("expression")))
    execution = get(database, tenant, execution_id)
    statuses = {name: step["status"] for name, step in execution["steps"].items()}
    assert statuses == {"a": "completed", "b": "failed", "c": "cancelled"}
    assert execution["error"]["step"] == "b"
    assert_invariants(db)


@pytest.mark.parametrize(
    ("outcomes", "left"),
    [
        ([(0, completed(1)), (2, completed(3))], 1),
        ([(0, completed(1)), (2, completed(3)), (1, completed(2))], 1),
        ([(0, failed("timeout")), (1, completed(2))], 0),
        ([(0, completed(1)), (1, {"o": "suspended", "seconds": 5}), (2, completed(3))], 1),
        ([(0, completed(1)), (1, {"o": "started"})], 1),
    ],
    ids=["a step left out", "the wrong order", "after a failure", "a wait ahead", "an announcement ahead"],
)
def test_what_does_not_follow_is_dropped_and_its_step_becomes_ready_as_ever(
    database: Database, db: Db, tenant: Tenant, outcomes: list[tuple[int, dict[str, Any]]], left: int
) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("chain", CHAIN)))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        assert [row["step_index"] for row in _report(runner, lease, *outcomes)] == [1] * left
    assert get(database, tenant, execution_id)["steps"]["b"]["output"] is None
    assert_invariants(db, drained=False)


def test_step_of_two_parents_cannot_be_run_ahead(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": ["a", "b"]}]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("join", steps)))
    with hands(database) as runner:
        lease = next(lease for lease in runner.claim(2) if runner.step_name(lease) == "a")
        assert _report(runner, lease, (0, completed(1)), (2, completed(3))) == []
    assert get(database, tenant, execution_id)["steps"]["c"]["status"] == "pending"


def test_branch_cannot_be_run_ahead_of_its_condition(database: Database, db: Db, tenant: Tenant) -> None:
    condition = {"expression": "{{ true }}", "true_branch": ["high"], "false_branch": []}
    steps: list[dict[str, Any]] = [
        {"id": "check", "type": "condition", "config": condition},
        {"id": "high", "depends_on": ["check"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("gate", steps)))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        _report(runner, lease, (0, completed(taken=[])), (1, completed(1)))
    assert get(database, tenant, execution_id)["steps"]["high"]["status"] == "skipped"
    assert_invariants(db)


def test_nothing_is_run_ahead_in_a_failing_execution(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "bad"},
        {"id": "clean", "depends_on": ["bad"], "join": "always"},
        {"id": "after", "depends_on": ["clean"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("failing", steps)))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        (clean,) = runner.report([runner.result(lease, failed())])
        _report(runner, clean, (1, completed()), (2, completed()))
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["steps"]["after"]["status"]) == ("failed", "cancelled")
    assert_invariants(db)
