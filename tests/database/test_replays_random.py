"""Forks of random graphs at random steps: the engine's own checker is content, and nothing comes out otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow, start
from tests.support.random_lists import random_graph, random_outcome
from tests.support.scale import IS_LONG

MAX_TURNS = 400
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
Json = Any
Say = Callable[[Row, str], Json]


@pytest.fixture(scope="module")
def runner(module_database: Database) -> Iterator[Hands]:
    with module_database.connect("runner") as db:
        db.run("set lock_timeout to '5s'")
        yield Hands(db)


def _play(
    db: Db, runner: Hands, dice: random.Random, say: Say, leases: Sequence[Row] = (), *, turns: int = MAX_TURNS
) -> list[Row]:
    """Run what is there to its end, in a random order, or for so many turns; return what is leased still."""
    leases = list(leases)
    for _ in range(turns):
        leases = leases or runner.claim()
        if not leases:
            db.run("update flowgres.work_queue set due_at = flowgres.now() where isfinite(due_at)")
            leases = runner.claim()
        if not leases:
            break
        dice.shuffle(leases)
        batch = [leases.pop() for _ in range(dice.randint(1, len(leases)))]
        ends = [(lease, say(lease, runner.step_name(lease))) for lease in batch]
        leases += [lease for lease, said in ends if said["o"] == "started"]
        leases += runner.report([runner.result(lease, said) for lease, said in ends])
    return leases


def _fork(database: Database, tenant: Tenant, original: str, step: str) -> str | None:
    try:
        with database.as_role("member", tenant_id=tenant.tenant_id) as db:
            answer = db.call("flowgres_api.replay_execution", execution_id=original, from_step=step)
    except psycopg.Error as error:
        if "step_not_taken" not in str(error):
            raise
        return None
    return str(answer["execution_id"])


def _forget(db: Db) -> None:
    for table in ("executions", "step_executions", "step_items", "attempts", "events", "work_queue"):
        db.run(f"delete from flowgres.{table}")


@given(seed=st.integers(0, 1_000_000))
@settings(FUZZ, max_examples=1_000 if IS_LONG else 25)
def test_forks_of_anything_end(module_database: Database, reference_tenant: Tenant, runner: Hands, seed: int) -> None:
    dice = random.Random(seed)
    definition = random_graph(dice, name="forks")
    steps = {step["id"]: step for step in definition["steps"]}
    with module_database.connect() as db:
        _forget(db)
        original = start(module_database, reference_tenant, import_workflow(db, reference_tenant, definition))

        def say(lease: Row, step: str) -> Json:
            return random_outcome(dice, lease, steps.get(step, {}))

        # Now and then one that is under way.
        leases = _play(db, runner, dice, say, turns=dice.choice([MAX_TURNS, MAX_TURNS, 1, 2, 4]))
        fork = _fork(module_database, reference_tenant, original, dice.choice(sorted(steps)))
        assert_invariants(db, drained=False)
        _play(db, runner, dice, say, leases)
        if fork is not None:
            status = db.value("select status from flowgres.executions where id = %s", fork)
            assert status in ("completed", "failed", "cancelled"), definition
        assert_invariants(db)


def _steady_graph(dice: random.Random) -> Json:
    """A graph in which the order of the ends decides nothing."""
    steps: list[Json] = []
    for number in range(dice.randint(2, 9)):
        parents = dice.sample([step["id"] for step in steps], min(number, dice.choice([0, 1, 1, 2, 3])))
        step: Json = {"id": f"s{number}", "depends_on": parents, "on_error": dice.choice(["continue", "skip"])}
        if parents:
            step["join"] = dice.choice(["default", "default", "all", "always"])
        if dice.random() < 0.3:
            step["foreach"] = {"items": list(range(dice.randint(0, 4))), "tolerate": dice.randint(0, 2)}
        steps.append(step)
    for step in steps:
        children = [one["id"] for one in steps if step["id"] in one["depends_on"]]
        if "foreach" not in step and children and dice.random() < 0.5:
            cut = dice.randint(0, len(children))
            config = {"expression": "{{ true }}", "true_branch": children[:cut], "false_branch": children[cut:]}
            step |= {"type": "condition", "config": config}
    return dag("steady", steps, **({"outputs": {"n": 1}} if dice.random() < 0.3 else {}))


def _outcome(step: Json) -> list[Json]:
    """What a step came to. How many items had failed when a list failed is a matter of their order."""
    return [step["status"], step["output"], step["error"] and step["error"]["code"]]


@given(seed=st.integers(0, 1_000_000))
@settings(FUZZ, max_examples=1_000 if IS_LONG else 25)
def test_fork_without_overrides_ends_as_the_original_did(
    module_database: Database, reference_tenant: Tenant, runner: Hands, seed: int
) -> None:
    dice = random.Random(seed)
    definition = _steady_graph(dice)
    steps = {step["id"]: step for step in definition["steps"]}

    def say(lease: Row, name: str) -> Json:
        step = steps.get(name, {})
        if lease["iteration"] == -1 and "foreach" in step:
            return {"o": "expand", "out": step["foreach"]["items"]}
        # The same for a step each time, whatever came before.
        own = random.Random(f"{seed} {name} {lease['iteration']}")
        if own.random() < 0.25:
            return failed()
        if step.get("type") == "condition":
            branch = own.choice(["true", "false"])
            return completed({"branch": branch}, taken=step["config"][f"{branch}_branch"])
        return completed({"by": name, "item": lease["iteration"]})

    with module_database.connect() as db:
        _forget(db)
        original = start(module_database, reference_tenant, import_workflow(db, reference_tenant, definition))
        _play(db, runner, dice, say)
        fork = _fork(module_database, reference_tenant, original, dice.choice(sorted(steps)))
        _play(db, runner, dice, say)
        if fork is not None:
            before, after = (get(module_database, reference_tenant, id) for id in (original, fork))
            assert (after["status"], after["output"]) == (before["status"], before["output"]), definition
            for name, step in before["steps"].items():
                assert _outcome(after["steps"][name]) == _outcome(step), (name, definition)
        assert_invariants(db)
