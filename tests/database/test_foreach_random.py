"""Random graphs with lists, whose steps and items end in random ways: the engine's own checker is content each time."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.database import Database, Row, Tenant
from tests.support.engine import Hands, assert_invariants, import_workflow, start
from tests.support.random_lists import random_graph, random_outcome
from tests.support.scale import IS_LONG

MAX_TURNS = 400
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def runner(module_database: Database) -> Iterator[Hands]:
    with module_database.connect("runner") as db:
        db.run("set lock_timeout to '5s'")
        yield Hands(db)


def _play(database: Database, tenant: Tenant, runner: Hands, dice: random.Random) -> None:
    definition = random_graph(dice)
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
            ends = [(lease, random_outcome(dice, lease, steps.get(runner.step_name(lease), {}))) for lease in batch]
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
@settings(FUZZ, max_examples=800 if IS_LONG else 250)
def test_hundreds_of_random_lists_do_not(
    module_database: Database, reference_tenant: Tenant, runner: Hands, seed: int
) -> None:
    _play(module_database, reference_tenant, runner, random.Random(seed))
