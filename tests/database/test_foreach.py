"""Steps that run once for each item of a list, in SQL: what runs when, what ends them, and what is left then."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import (
    Hands,
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


def _begin(
    database: Database, db: Db, tenant: Tenant, runner: Hands, items: list[Any], *, each: dict[str, Any] | None = None
) -> tuple[str, dict[int, Row]]:
    """An execution whose list was reported; and the iterations that were leased then, by number."""
    step = {"id": "each", "foreach": {"items": "{{ input.items }}", **(each or {})}, "retry": 1}
    definition = dag("items", [step, {"id": "after", "depends_on": ["each"]}])
    execution_id = start(database, tenant, import_workflow(db, tenant, definition), input={"items": items})
    (lease,) = runner.claim()
    assert (lease["iteration"], lease["item"]) == (-1, None)
    more = runner.report([runner.result(lease, {"o": "expand", "out": items})], want=100)
    return execution_id, {row["iteration"]: row for row in [*more, *runner.claim()]}


def _statuses(database: Database, tenant: Tenant, execution_id: str) -> dict[str, str]:
    execution = get(database, tenant, execution_id)
    return {"execution": execution["status"]} | statuses(execution)


def _drain(runner: Hands, leases: list[Row]) -> None:
    while leases:
        more = runner.report([runner.result(lease, completed(lease["item"])) for lease in leases], want=100)
        leases = [*more, *runner.claim()]


def test_items_are_worked_on_and_their_outputs_are_in_their_order(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    items = [f"item {n}" for n in range(250)]
    execution_id, leases = _begin(database, db, tenant, runner, items, each={"max_parallel": 7})
    assert {number: row["item"] for number, row in leases.items()} == {n: items[n] for n in range(7)}
    seen = dict(leases)
    while leases:
        # The last one first.
        number = max(leases)
        report = runner.result(leases.pop(number), completed(f"done {items[number]}"))
        more = runner.report([report], want=1)
        leases |= {row["iteration"]: row for row in more if row["iteration"] >= 0}
        assert len(leases) <= 7
        seen |= leases
    assert sorted(seen) == list(range(250))
    execution = get(database, tenant, execution_id)
    assert execution["steps"]["each"]["output"] == [f"done {item}" for item in items]
    assert execution["steps"]["after"]["status"] in ("ready", "running")


def test_empty_list_is_done_at_once(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id, leases = _begin(database, db, tenant, runner, [])
    assert [runner.step_name(row) for row in leases.values()] == ["after"]
    assert get(database, tenant, execution_id)["steps"]["each"]["output"] == []


@pytest.mark.parametrize(
    ("each", "failures", "expected"),
    [
        ({}, 1, "failed"),
        ({"tolerate": 2}, 2, "completed"),
        ({"tolerate": 2}, 3, "failed"),
        ({"tolerate": "20%"}, 2, "completed"),
        ({"tolerate": "20%"}, 3, "failed"),
        ({"at_least": 8}, 2, "completed"),
        ({"at_least": 8}, 3, "failed"),
    ],
)
def test_so_many_items_may_fail(
    database: Database,
    db: Db,
    tenant: Tenant,
    runner: Hands,
    each: dict[str, Any],
    failures: int,
    expected: str,
) -> None:
    execution_id, leases = _begin(database, db, tenant, runner, list(range(10)), each=each)
    for number in range(10):
        said = failed() if number < failures else completed(number)
        runner.report([runner.result(leases[number], said)])
    step = get(database, tenant, execution_id)["steps"]["each"]
    assert step["status"] == expected
    if expected == "completed":
        assert step["output"][: failures + 1] == [None] * failures + [failures]
    else:
        assert step["error"]["code"] == "iterations_failed"
        assert step["error"]["details"] == {
            "failed": failures,
            "items": 10,
            "iteration": 0,
            "error": failed()["error"],
        }
    assert_invariants(db, drained=False)


@pytest.mark.parametrize("rest", ["continue", "cancel"])
@pytest.mark.parametrize("then", ["goes on", "fails", "is cancelled"])
def test_step_is_done_with_as_many_as_it_needs(
    database: Database, db: Db, tenant: Tenant, runner: Hands, rest: str, then: str
) -> None:
    each = {"at_least": 2, "rest": rest, "max_parallel": 4}
    execution_id, leases = _begin(database, db, tenant, runner, list("abcdef"), each=each)
    runner.report([runner.result(leases[3], completed("d"))])
    more = runner.report([runner.result(leases[1], completed("b"))])
    step = get(database, tenant, execution_id)["steps"]["each"]
    assert (step["status"], step["output"]) == ("completed", [None, "b", None, "d", None, None])
    after = next(row for row in [*more, *runner.claim()] if runner.step_name(row) == "after")
    still = runner.beat(leases[0])["lost"] == []
    assert still == (rest == "continue")
    if then == "goes on":
        runner.report([runner.result(after, completed())])
        assert _statuses(database, tenant, execution_id)["execution"] == ("running" if still else "completed")
        for row in (leases[0], leases[2]):
            runner.report([runner.result(row, completed())])
        db.call("flowgres.stop_runner", p_runner_id=runner.id)
        with hands(database) as heir:
            heir.db.call("flowgres.rescue_expired_leases", p_limit=100)
            _drain(heir, heir.claim())
    elif then == "fails":
        runner.report([runner.result(after, failed())])
    else:
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call("flowgres_api.cancel_execution", execution_id=execution_id)
    ends = {"goes on": "completed", "fails": "failed", "is cancelled": "cancelled"}
    assert _statuses(database, tenant, execution_id)["execution"] == ends[then]
    assert_invariants(db)


def test_failed_item_is_tried_again_by_itself(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    step = {
        "id": "each",
        "foreach": {"items": "{{ input.items }}"},
        "retry": {"attempts": 2, "delay": 0, "errors": ["timeout"]},
    }
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("again", [step])), input={"items": [1, 2]})
    (lease,) = runner.claim()
    leases = {
        row["iteration"]: row
        for row in runner.report([runner.result(lease, {"o": "expand", "out": ["x", "y"]})], want=9)
    }
    runner.report([runner.result(leases[0], failed("timeout")), runner.result(leases[1], completed("y"))])
    (again,) = runner.claim()
    assert (again["iteration"], again["attempt"], again["item"]) == (0, 2, "x")
    runner.report([runner.result(again, completed("x"))])
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["output"]) == ("completed", {"each": ["x", "y"]})
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as viewer:
        attempts = viewer.all(
            "select iteration, attempt, status from flowgres_api.attempts where step = 'each' order by 1 nulls first, 2"
        )
        events = viewer.column(
            "select step || ' ' || type from flowgres_api.execution_events where step is not null order by seq"
        )
    assert [(row["iteration"], row["attempt"], row["status"]) for row in attempts if row["iteration"] is not None] == [
        (0, 1, "failed"),
        (0, 2, "completed"),
        (1, 1, "completed"),
    ]
    assert {"each[0] step_retrying", "each[1] step_completed"} <= set(events)
    assert events[-1] == "each step_completed"
    assert_invariants(db)


def test_outputs_that_are_too_large_together_are_a_failure(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution_id, leases = _begin(database, db, tenant, runner, [1, 2, 3])
    large = "x" * 500_000
    runner.report([runner.result(row, completed(large)) for row in leases.values()])
    step = get(database, tenant, execution_id)["steps"]["each"]
    assert (step["status"], step["error"]["code"]) == ("failed", "output_too_large")
    assert_invariants(db)


def test_cancel_while_items_wait_for_children(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "a"}]))
    step = {
        "id": "each",
        "type": "sub_workflow",
        "config": {"workflow": "child"},
        "foreach": {"items": [1, 2, 3]},
    }
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calls", [step])))
    (lease,) = runner.claim()
    leases = runner.report([runner.result(lease, {"o": "expand", "out": [1, 2, 3]})], want=9)
    child = {"o": "child", "workflow": "child", "input": {}}
    runner.report([runner.result(row, child) for row in leases])
    (first, *others) = runner.claim()
    runner.report([runner.result(first, completed("one"))])
    (back,) = [row for row in runner.claim() if row["iteration"] >= 0]
    assert back["resume"]["output"] == {"a": "one"}
    runner.report([runner.result(back, completed(1))])
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.cancel_execution", execution_id=execution_id)
    while db.call("flowgres.cancel_orphan"):
        pass
    assert db.column(
        "select distinct status from flowgres.executions where parent_execution_id is not null order by 1"
    ) == [
        "cancelled",
        "completed",
    ]
    assert [runner.report([runner.result(row, completed())]) for row in others] == [[], []]
    assert_invariants(db)


def test_what_was_done_is_undone_item_by_item(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    step: dict[str, Any] = {
        "id": "hold",
        "foreach": {"items": "{{ input.items }}", "tolerate": 1},
        "retry": 1,
        "compensate": {"type": "log", "config": {"message": "{{ item }}"}, "retry": 1},
    }
    steps = [step, {"id": "pay", "depends_on": ["hold"]}]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("saga", steps)), input={"items": []})
    (lease,) = runner.claim()
    leases = {
        row["iteration"]: row
        for row in runner.report([runner.result(lease, {"o": "expand", "out": list("abcd")})], want=9)
    }
    for number in (2, 0, 3):
        runner.report([runner.result(leases[number], completed())])
    (pay,) = runner.report([runner.result(leases[1], failed())])
    runner.report([runner.result(pay, failed())])
    undone = []
    while leases := {row["iteration"]: row for row in runner.claim()}:
        (lease,) = leases.values()
        assert runner.step_name(lease) == "hold.compensate"
        undone.append(lease["item"])
        # One that cannot be undone does not keep the others.
        said = failed() if lease["item"] == "a" else completed()
        more = runner.report([runner.result(lease, said)])
        while more:
            (lease,) = more
            undone.append(lease["item"])
            more = runner.report([runner.result(lease, failed() if lease["item"] == "a" else completed())])
    assert undone == ["d", "a", "c"]
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["error"]["step"]) == ("failed", "pay")
    assert execution["steps"]["hold.compensate"]["status"] == "completed"
    assert_invariants(db)


def test_foreach_that_another_step_cancelled_is_counted_once(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "each", "foreach": {"items": [1, 2, 3]}},
        {"id": "enough", "cancels": ["each"]},
        {"id": "slow"},
        {"id": "last", "depends_on": ["each", "enough", "slow"], "join": "always"},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("enough", steps)))
    leases = {runner.step_name(row): row for row in runner.claim()}
    items = runner.report([runner.result(leases["each"], {"o": "expand", "out": [1, 2, 3]})], want=9)
    runner.report([runner.result(items[0], completed())])
    runner.report([runner.result(leases["enough"], completed())])
    assert sorted(runner.beat(*items[1:])["lost"]) == sorted(row["queue_id"] for row in items[1:])
    (last,) = runner.report([runner.result(leases["slow"], failed())])
    assert _statuses(database, tenant, execution_id)["execution"] == "running"
    runner.report([runner.result(last, completed())])
    assert _statuses(database, tenant, execution_id) == {
        "execution": "failed",
        "each": "cancelled",
        "enough": "completed",
        "slow": "failed",
        "last": "completed",
    }
    assert_invariants(db)
