"""Random graphs with lists, whose steps and items end in random ways: the engine's own checker is content each time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.database import Database, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, import_workflow, start

JOINS = ["default", "default", "default", "all", "any", "always", "failed", "at_least"]
MAX_TURNS = 400
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def runner(module_database: Database) -> Iterator[Hands]:
    with module_database.connect("runner") as db:
        db.run("set lock_timeout to '5s'")
        yield Hands(db)


def _graph(dice: random.Random) -> dict[str, Any]:
    count = dice.randint(2, 8)
    steps = [_step(dice, number, count) for number in range(count)]
    more: dict[str, Any] = {"outputs": {"x": "1"}} if dice.random() < 0.5 else {}
    if dice.random() < 0.5:
        more["on_failure"] = [{"id": f"f{n}", "type": "log", "config": {"message": "x"}} for n in range(2)]
    return dag("lists", steps, **more)


def _step(dice: random.Random, number: int, count: int) -> dict[str, Any]:
    parents = dice.sample([f"s{n}" for n in range(number)], min(number, dice.choice([0, 1, 1, 2, 3])))
    step: dict[str, Any] = {
        "id": f"s{number}",
        "depends_on": parents,
        "on_error": dice.choice(["fail", "fail", "continue", "skip"]),
        "retry": {"attempts": dice.choice([1, 2]), "delay": 0, "errors": ["timeout"]},
    }
    join = dice.choice(JOINS)
    if parents:
        rest = dice.choice(["continue", "cancel"])
        step["join"] = {"at_least": dice.randint(1, len(parents)), "rest": rest} if join == "at_least" else join
    if dice.random() < 0.6:
        step["foreach"] = {"items": list(range(dice.randint(0, 7))), "max_parallel": dice.randint(1, 4)}
        if dice.random() < 0.5:
            step["foreach"]["tolerate"] = dice.choice([0, 1, 2, "50%"])
        if dice.random() < 0.5:
            step["foreach"] |= {"at_least": dice.randint(1, 5), "rest": dice.choice(["continue", "cancel"])}
    elif dice.random() < 0.12:
        step |= {"type": "stop", "config": {"status": dice.choice(["completed", "failed", "cancelled"])}}
    if dice.random() < 0.3 and "type" not in step:
        step["compensate"] = {"type": "log", "config": {"message": "x"}}
    if dice.random() < 0.25:
        others = [f"s{n}" for n in range(count) if n != number]
        step["cancels"] = dice.sample(others, min(len(others), dice.randint(1, 3)))
    return step


def _say(dice: random.Random, lease: Row, step: dict[str, Any]) -> dict[str, Any]:
    """What a runner says of a lease."""
    if lease["iteration"] == -1 and "foreach" in step:
        return {"o": "expand", "out": step["foreach"]["items"]} if dice.random() < 0.95 else failed()
    if step.get("type") == "stop":
        return completed({"status": step["config"]["status"]})
    said: list[dict[str, Any]] = [failed(), failed("timeout"), {"o": "suspended", "seconds": 0}, {"o": "started"}]
    return completed(lease["item"]) if dice.random() < 0.6 else dice.choice(said)


def _play(database: Database, tenant: Tenant, runner: Hands, dice: random.Random) -> None:
    definition = _graph(dice)
    steps = {step["id"]: step for step in definition["steps"]}
    with database.connect() as db:
        execution_id = start(database, tenant, import_workflow(db, tenant, definition))
        leases: list[Row] = []
        for _ in range(MAX_TURNS):
            leases = leases or runner.claim()
            if not leases:
                # Their time has come.
                db.run("update flowgres.work_queue set due_at = flowgres.now() where isfinite(due_at)")
                leases = runner.claim()
            if not leases:
                break
            dice.shuffle(leases)
            batch = [leases.pop() for _ in range(dice.randint(1, len(leases)))]
            ends = [(lease, _say(dice, lease, steps.get(runner.step_name(lease), {}))) for lease in batch]
            leases += [lease for lease, said in ends if said["o"] == "started"]
            leases += runner.report([runner.result(lease, said) for lease, said in ends])
        ended = db.one("select status, completed_count from flowgres.executions where id = %s", execution_id)
        assert ended["status"] in ("completed", "failed", "cancelled"), definition
        count = (
            "select count(*) from flowgres.step_executions"
            " where execution_id = %s and iteration = -1 and status = 'completed'"
        )
        assert db.value(count, execution_id) == ended["completed_count"], definition
        assert_invariants(db)
        db.run("delete from flowgres.executions where id = %s", execution_id)
        for table in ("step_executions", "step_items", "attempts", "events"):
            db.run(f"delete from flowgres.{table} where execution_id = %s", execution_id)


@given(seed=st.integers(0, 1_000_000))
@settings(FUZZ, max_examples=60)
def test_random_lists_leave_no_violation(
    module_database: Database, reference_tenant: Tenant, runner: Hands, seed: int
) -> None:
    _play(module_database, reference_tenant, runner, random.Random(seed))


@pytest.mark.slow
@given(seed=st.integers(0, 1_000_000))
@settings(FUZZ, max_examples=800)
def test_hundreds_of_random_lists_do_not(
    module_database: Database, reference_tenant: Tenant, runner: Hands, seed: int
) -> None:
    _play(module_database, reference_tenant, runner, random.Random(seed))
