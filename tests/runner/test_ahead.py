"""Chains of pure steps, which a runner runs ahead: the same results, events and faults as step by step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
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


def test_values_ahead_are_those_that_the_database_would_give_back(
    database: Database, db: Db, tenant: Tenant, runner: Runner
) -> None:
    """`far` is after a delay, so it reads from the database what `near` is shown while it is run ahead."""
    text = "{{ steps.a.output | string }}"
    steps = [
        {"id": "a", "config": {"expression": "{{ input }}"}},
        {"id": "near", "depends_on": ["a"], "config": {"expression": text}},
        {"id": "pause", "type": "delay", "depends_on": ["near"], "config": {"seconds": 0.01}},
        {"id": "far", "depends_on": ["pause"], "config": {"expression": text}},
    ]
    name = import_workflow(db, tenant, dag("values", steps))
    given = {"long key": [1.5, 1e16, -0.0, 1e-7], "é": None, "k": {"b": True, "a": "\u2028"}}
    execution = _finish(database, tenant, start(database, tenant, name, input=given))
    outputs = {step: state["output"] for step, state in execution["steps"].items()}
    assert outputs["near"] == outputs["far"]
    assert '"long key": [1.5, 10000000000000000,' in outputs["near"]


def test_output_too_large_ahead_fails_its_own_step(
    database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner]
) -> None:
    start_runner(MAX_OUTPUT_BYTES="2000")
    steps = _chain(4)
    steps[2]["config"] = {"expression": "{{ 'x' * 3000 }}"}
    steps[3]["config"] = {"expression": "{{ steps.s2.output | length }}"}
    name = import_workflow(db, tenant, dag("large", steps))
    execution = _finish(database, tenant, start(database, tenant, name, input={"n": 1}))
    assert execution["error"]["code"] == "output_too_large"
    assert execution["error"]["step"] == "s2"
    assert [step["status"] for step in execution["steps"].values()][:3] == ["completed", "completed", "failed"]
    assert_invariants(db)


def test_bomb_ahead_fails_its_own_step_and_keeps_those_before(
    database: Database, db: Db, tenant: Tenant, runner: Runner
) -> None:
    steps = _chain(4)
    # One long call in C, which no signal interrupts: it takes its evaluator with it.
    steps[2]["config"] = {"expression": "{{ [[1] * 1000000] * 1000000 == [[1] * 1000000] * 1000000 }}"}
    guilty = import_workflow(db, tenant, dag("guilty", steps))
    innocent = import_workflow(db, tenant, dag("innocent", _chain(4)))
    started = [start(database, tenant, name, input={"n": 1}) for name in (innocent, guilty, innocent)]
    first, execution, last = [_finish(database, tenant, execution_id) for execution_id in started]
    assert first["output"] == last["output"] == {"s3": 4}
    assert execution["error"]["code"] == "expression_limit"
    assert [step["status"] for step in execution["steps"].values()][:3] == ["completed", "completed", "failed"]
    assert {step["attempts"] for step in execution["steps"].values()} <= {0, 1}
    assert_invariants(db)


def test_kinds_of_steps_take_turns_in_a_chain(database: Database, db: Db, tenant: Tenant, runner: Runner) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "constant", "config": {"expression": 2}},
        {"id": "member", "config": {"output": {"v": "{{ steps.constant.output + input.n }}"}}},
        {"id": "line", "type": "log", "config": {"message": "{{ steps.member.output.v }}"}},
        {"id": "edits", "config": {"transforms": [{"op": "set", "field": "m", "value": "{{ steps.line.output }}"}]}},
        {"id": "shaped", "config": {"expression": "{{ steps.edits.output }}"}, "output": "{{ output.m.message }}!"},
        {
            "id": "last",
            "when": "{{ input.n == 1 }}",
            "config": {"expression": "{{ steps.shaped.output ~ steps.member.output.v }}"},
        },
    ]
    for before, after in pairwise(steps):
        after["depends_on"] = [before["id"]]
    name = import_workflow(db, tenant, dag("kinds", steps))
    execution = _finish(database, tenant, start(database, tenant, name, input={"n": 1}))
    assert execution["output"] == {"last": "3!3"}
    assert_invariants(db)
