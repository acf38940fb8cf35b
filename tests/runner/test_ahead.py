"""Chains of pure steps, which a runner runs ahead: the same results, events and faults as step by step."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, get, import_workflow, start
from tests.support.runner import Runner, wait_for


def _chain(length: int, **last: Any) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [{"id": "s0", "config": {"expression": "{{ input.n }}"}}]
    for i in range(1, length):
        expression = f"{{{{ steps.s{i - 1}.output + 1 }}}}"
        steps.append({"id": f"s{i}", "depends_on": [f"s{i - 1}"], "config": {"expression": expression}})
    steps[-1].update(last)
    return steps


def _finish(database: Database, tenant: Tenant, execution_id: str) -> dict[str, Any]:
    wait_for(lambda: get(database, tenant, execution_id)["status"] in ("completed", "failed"), what="the end")
    return get(database, tenant, execution_id)


def test_long_chain_counts_up(database: Database, db: Db, tenant: Tenant, runner: Runner) -> None:
    name = import_workflow(db, tenant, dag("long", _chain(40)))
    execution = _finish(database, tenant, start(database, tenant, name, input={"n": 1}))
    assert execution["output"] == {"s39": 40}
    assert {step["attempts"] for step in execution["steps"].values()} == {1}
    assert_invariants(db)


def test_expression_that_fails_ahead_fails_its_own_step(
    database: Database, db: Db, tenant: Tenant, runner: Runner
) -> None:
    broken = {"config": {"expression": "{{ steps.s1.output.nothing }}"}}
    name = import_workflow(db, tenant, dag("broken", _chain(3, **broken)))
    execution = _finish(database, tenant, start(database, tenant, name, input={"n": 1}))
    assert execution["status"] == "failed"
    assert execution["error"]["step"] == "s2"
    assert [step["status"] for step in execution["steps"].values()] == ["completed", "completed", "failed"]
    assert_invariants(db)


def test_false_when_ahead_skips_its_step(database: Database, db: Db, tenant: Tenant, runner: Runner) -> None:
    name = import_workflow(db, tenant, dag("skipping", _chain(3, when="{{ input.n > 5 }}")))
    execution = _finish(database, tenant, start(database, tenant, name, input={"n": 1}))
    assert [step["status"] for step in execution["steps"].values()] == ["completed", "completed", "skipped"]
    assert_invariants(db)
