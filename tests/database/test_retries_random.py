"""Random graphs that fail, are cancelled and are retried, also by themselves: nothing that has completed runs twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, import_workflow, start
from tests.support.races import refusal_code
from tests.support.random_lists import random_graph, random_outcome
from tests.support.scale import IS_LONG

MAX_TURNS = 60
REFUSED = {"execution_completed", "execution_compensated", "execution_stopped"}
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def runner(module_database: Database) -> Iterator[Hands]:
    with module_database.connect("runner") as db:
        db.run("set lock_timeout to '5s'")
        yield Hands(db)


def _work(db: Db, runner: Hands, dice: random.Random, steps: dict[str, Any]) -> None:
    """Until nothing is left, or for a few turns."""
    leases: list[Row] = []
    for _ in range(MAX_TURNS if dice.random() < 0.7 else dice.randint(0, 4)):
        leases = leases or runner.claim()
        if not leases:
            db.run("update flowgres.work_queue set due_at = flowgres.now() where isfinite(due_at)")
            leases = runner.claim()
        if not leases:
            return
        dice.shuffle(leases)
        count = dice.randint(1, len(leases))
        batch, leases = leases[:count], leases[count:]
        results = [runner.result(row, random_outcome(dice, row, steps.get(runner.step_name(row), {}))) for row in batch]
        leases += [row for row, said in zip(batch, results, strict=True) if said["o"] == "started"]
        leases += runner.report(results)


def _act(database: Database, tenant: Tenant, function: str, execution_id: str) -> str | None:
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        try:
            member.call(f"flowgres_api.{function}", execution_id=execution_id)
        except psycopg.Error as error:
            return refusal_code(error)
    return None


def _play(database: Database, tenant: Tenant, runner: Hands, dice: random.Random) -> None:
    definition = random_graph(dice, name="retried")
    if dice.random() < 0.5:
        for step in definition["steps"]:
            step.pop("compensate", None)
    definition["settings"] = {"max_retries": dice.choice([0, 0, 1, 3])}
    steps = {step["id"]: step for step in definition["steps"]}
    with database.connect() as db:
        execution_id = start(database, tenant, import_workflow(db, tenant, definition))
        for _ in range(4):
            _work(db, runner, dice, steps)
            if dice.random() < 0.3:
                refused = _act(database, tenant, "cancel_execution", execution_id)
                assert refused in {None, "execution_ended"}
                assert_invariants(db, drained=False)
            status = db.value("select status from flowgres.executions where id = %s", execution_id)
            refused = _act(database, tenant, "retry_execution", execution_id)
            if status not in {"completed", "failed", "cancelled"}:
                assert refused == "execution_not_ended"
                _act(database, tenant, "cancel_execution", execution_id)
            else:
                assert refused is None or refused in REFUSED
            assert_invariants(db, drained=False)
            if refused in REFUSED:
                break
        else:
            _act(database, tenant, "cancel_execution", execution_id)
        twice = db.all(
            "select v.step, count(*) from flowgres.all_events as v"
            " where v.execution_id = %s and v.type = 'step_completed' group by v.step having count(*) > 1",
            execution_id,
        )
        assert_invariants(db, drained=False)
        for table in ("step_executions", "step_items", "attempts", "events", "work_queue"):
            db.run(f"delete from flowgres.{table} where execution_id = %s", execution_id)
        db.run("delete from flowgres.executions where id = %s", execution_id)
        again = {name for name, step in steps.items() if step.get("join") == "always"} | {"f0", "f1"}
        assert {row["step"].split("[")[0] for row in twice} <= again


@given(seed=st.integers(0, 1_000_000))
@settings(FUZZ, max_examples=1500 if IS_LONG else 20)
def test_whatever_is_retried_keeps_what_it_has(
    module_database: Database, reference_tenant: Tenant, runner: Hands, seed: int
) -> None:
    _play(module_database, reference_tenant, runner, random.Random(seed))
