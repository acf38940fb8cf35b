"""Where lists meet the rest of an execution: joins, outputs, runners of another version, and much of everything."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow, start


def _lease(runner: Hands) -> dict[str, Row]:
    return {runner.step_name(row): row for row in runner.claim()}


def _expand(runner: Hands, lease: Row, items: list[Any]) -> dict[int, Row]:
    rows = runner.report([runner.result(lease, {"o": "expand", "out": items})], want=100)
    return {row["iteration"]: row for row in rows}


def _drain(runner: Hands, leases: list[Row]) -> None:
    while leases:
        more = runner.report([runner.result(lease, completed(lease["item"])) for lease in leases], want=100)
        leases = [*more, *runner.claim()]


@pytest.mark.parametrize("first", ["each", "b"])
@pytest.mark.parametrize("more", [{"outputs": {"x": "{{ steps.each.output }}"}}, {}], ids=["outputs", "join"])
def test_what_waits_for_a_list_that_goes_on_is_judged_when_it_has_enough(
    database: Database, db: Db, tenant: Tenant, runner: Hands, first: str, more: dict[str, Any]
) -> None:
    steps: list[dict[str, Any]] = [{"id": "each", "foreach": {"items": [1, 2, 3], "at_least": 1}}, {"id": "b"}]
    if not more:
        steps.append({"id": "c", "depends_on": ["each", "b"]})
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("waits", steps, **more)))
    leases = _lease(runner)
    items = _expand(runner, leases["each"], [1, 2, 3])
    ends = [leases["b"], items[0]] if first == "b" else [items[0], leases["b"]]
    handed = [row for lease in ends for row in runner.report([runner.result(lease, completed(1))])]
    assert {runner.step_name(row) for row in [*handed, *runner.claim()]} == {"$outputs" if more else "c"}
    _drain(runner, [*handed, items[1], items[2]])
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)


def test_list_that_is_too_short_is_a_failure_at_once(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    step = {"id": "each", "foreach": {"items": [1, 2], "at_least": 3}}
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("few", [step])))
    assert _expand(runner, _lease(runner)["each"], [1, 2]) == {}
    error = get(database, tenant, execution_id)["error"]
    assert (error["code"], error["message"]) == ("too_few_items", "the list has 2 items, and at_least asks for 3")
    assert_invariants(db)


def test_list_of_which_too_few_can_be_done_is_given_up(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    step = {"id": "each", "foreach": {"items": [1, 2, 3], "at_least": 2, "tolerate": "100%"}, "retry": 1}
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("reach", [step])))
    items = _expand(runner, _lease(runner)["each"], [1, 2, 3])
    runner.report([runner.result(items[0], failed()), runner.result(items[1], failed())])
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["steps"]["each"]["items"]["failed"]) == ("failed", 2)
    assert "and 2 had to be done" in execution["error"]["message"]
    assert_invariants(db)


@pytest.mark.parametrize("said", [completed("once"), {"o": "suspended", "seconds": 1}])
def test_runner_that_does_not_know_lists_runs_none(
    database: Database, db: Db, tenant: Tenant, runner: Hands, said: dict[str, Any]
) -> None:
    step = {"id": "each", "foreach": {"items": [1, 2]}}
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("older", [step])))
    runner.report([runner.result(_lease(runner)["each"], said)])
    assert get(database, tenant, execution_id)["error"]["code"] == "runner_outdated"


def test_metrics_count_a_step_and_not_its_items(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("counted", [{"id": "each", "foreach": {"items": [1, 2]}}])))
    _drain(runner, list(_expand(runner, _lease(runner)["each"], [1, 2]).values()))
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as viewer:
        (step,) = viewer.call("flowgres_api.execution_metrics")["steps"]
    assert (step["step"], step["total"], step["failed"]) == ("each", 1, 0)


def test_outputs_beyond_what_a_value_can_hold_are_a_failure(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    items = list(range(300))
    step = {"id": "each", "foreach": {"items": items, "tolerate": 5}, "retry": 1}
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("large", [step])))
    leases = list(_expand(runner, _lease(runner)["each"], items).values())
    large = "x" * 1_000_000
    while leases:
        leases = runner.report([runner.result(lease, completed(large)) for lease in leases[:10]]) + leases[10:]
    assert get(database, tenant, execution_id)["error"]["code"] == "output_too_large"
    assert_invariants(db)


@pytest.mark.parametrize("end", ["fails", "is cancelled"])
def test_thousands_of_items_under_way_are_cancelled_at_once(
    database: Database, db: Db, tenant: Tenant, runner: Hands, end: str
) -> None:
    items = list(range(1_000))
    lists: list[dict[str, Any]] = [
        {"id": f"each{n}", "foreach": {"items": "{{ input.items }}", "max_parallel": 1_000}} for n in range(4)
    ]
    definition = dag("wide", [*lists, {"id": "bad", "retry": 1}])
    execution_id = start(database, tenant, import_workflow(db, tenant, definition), input={"items": items})
    leases = _lease(runner)
    bad = leases.pop("bad")
    for lease in leases.values():
        runner.report([runner.result(lease, {"o": "expand", "out": items})])
    assert db.value("select count(*) from flowgres.work_queue") == 4_001
    # By the square of their number 3,000 took 12 s, and 6,000 41 s.
    if end == "fails":
        runner.db.run("set statement_timeout to '8s'")
        runner.report([runner.result(bad, failed())])
    else:
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.run("set local statement_timeout to '8s'")
            member.call("flowgres_api.cancel_execution", execution_id=execution_id)
    assert get(database, tenant, execution_id)["status"] == ("failed" if end == "fails" else "cancelled")
    assert_invariants(db)
