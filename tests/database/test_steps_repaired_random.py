"""Random acts of several people upon random graphs, while runners work: all ends, and the checker finds nothing."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.database import Database, Db, Row, Tenant, postgrest_request
from tests.support.engine import Hands, assert_invariants, dag, import_workflow, start
from tests.support.races import refusal_code
from tests.support.random_lists import random_graph, random_outcome
from tests.support.repairs import ACTS

REFUSALS = {"execution_ended", "step_ended", "step_not_ready", "step_iterates", "step_not_found", "change_impossible"}
TURNS = 60
EXECUTIONS = 6
LIVE = (
    "select q.execution_id, w.id as step, q.iteration from flowgres.work_queue as q"
    " join flowgres.workflow_steps as w on w.version_id = q.version_id and w.index = q.step_index"
    " where w.type <> 'outputs' order by q.execution_id, q.id"
)
PARKS: list[dict[str, Any]] = [
    {"o": "park", "waits": "wait", "input": {"event": "paid", "key": "1"}, "seconds": 0},
    {"o": "park", "waits": "task", "input": {"queue": "mill", "payload": 1}},
    {"o": "child", "workflow": "child", "input": {}},
]


def _outcome(dice: random.Random, lease: Row, step: dict[str, Any]) -> dict[str, Any]:
    # The hidden step of the outputs only computes: nobody could name it, and no runner says that it waits.
    is_plain = (
        step != {}
        and lease["resume"] is None
        and not (lease["iteration"] == -1 and "foreach" in step)
        and step.get("type") != "stop"
    )
    return dice.choice(PARKS) if is_plain and dice.random() < 0.2 else random_outcome(dice, lease, step)


def _run(hands: Hands, dice: random.Random, steps: dict[str, Any]) -> None:
    """Work as a runner whose steps end in all ways, slowly enough to be interfered with."""
    leases: list[Row] = []
    for _ in range(TURNS):
        leases += hands.claim(dice.randint(1, 4))
        hands.db.call("flowgres.cancel_orphan")
        dice.shuffle(leases)
        batch = [leases.pop() for _ in range(dice.randint(0, len(leases)))]
        ends = [(lease, _outcome(dice, lease, steps.get(hands.step_name(lease), {}))) for lease in batch]
        leases += [lease for lease, said in ends if said["o"] == "started"]
        leases += hands.report([hands.result(lease, said) for lease, said in ends])
    hands.db.call("flowgres.stop_runner", p_runner_id=hands.id)


def _repair(
    database: Database, tenant: Tenant, executions: list[str], names: list[str], dice: random.Random, turns: int
) -> int:
    """Do something to steps, mostly to such as are there; returns how many acts were not refused."""
    done = 0
    with (
        psycopg.connect(database.dsn("authenticator"), row_factory=dict_row) as connection,
        database.connect() as observer,
    ):
        connection.execute("set lock_timeout to '30s'")
        connection.commit()
        for _ in range(turns):
            name = dice.choice(ACTS)
            given: dict[str, Any] = {"execution_id": dice.choice(executions), "step": dice.choice(names)}
            live = observer.all(LIVE)
            if live and dice.random() < 0.8:
                row = dice.choice(live)
                given = {"execution_id": row["execution_id"], "step": row["step"]}
                if row["iteration"] >= 0 and dice.random() < 0.8:
                    given["iteration"] = row["iteration"]
            elif dice.random() < 0.4:
                given["iteration"] = dice.randint(0, 4)
            if name == "update_step":
                given["changes"] = dice.choice(
                    [{"timeout": 3}, {"on_error": "skip"}, {"retry": {"attempts": 2, "delay": 0}}]
                )
            try:
                with postgrest_request(connection, "member", tenant_id=tenant.tenant_id) as api:
                    api.call(f"flowgres_api.{name}", **given)
                    done += 1
            except psycopg.Error as error:
                if refusal_code(error) not in REFUSALS:
                    raise
    return done


def _drain(database: Database, db: Db, tenant: Tenant, dice: random.Random) -> None:
    """Let everything end: what waits for nobody is skipped by hand."""
    with database.connect("runner") as link:
        hands = Hands(link)
        for _ in range(200):
            db.call("flowgres.wake_pending", p_limit=1000)
            while db.call("flowgres.cancel_orphan"):
                pass
            hands.work(lambda *_: {"o": "enough", "out": 1})
            rows = db.all(
                "select q.execution_id, w.id, q.iteration, isfinite(q.due_at) as is_timed from flowgres.work_queue as q"
                " join flowgres.workflow_steps as w on w.version_id = q.version_id and w.index = q.step_index"
                " where q.due_at is not null"
            )
            if not rows and db.value("select count(*) from flowgres.executions where finished_at is null") == 0:
                return
            db.run("update flowgres.work_queue set due_at = flowgres.now() where isfinite(due_at)")
            for row in [row for row in rows if not row["is_timed"]][:5]:
                iteration = {"iteration": row["iteration"]} if row["iteration"] >= 0 else {}
                try:
                    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
                        api.call(
                            "flowgres_api.skip_step", execution_id=row["execution_id"], step=row["id"], **iteration
                        )
                except psycopg.Error as error:
                    if refusal_code(error) not in REFUSALS:
                        raise
    raise AssertionError("the executions do not end")


@pytest.mark.parametrize("seed", range(6))
def test_random_repairs_beside_runners_leave_no_violation(
    seed: int, database: Database, db: Db, tenant: Tenant
) -> None:
    _play(seed, database, db, tenant)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 40))
def test_many_random_repairs_do_not(seed: int, database: Database, db: Db, tenant: Tenant) -> None:
    _play(seed, database, db, tenant)


def _play(seed: int, database: Database, db: Db, tenant: Tenant) -> None:
    dice = random.Random(seed)
    definition = random_graph(dice, name=f"lists{seed}")
    import_workflow(db, tenant, dag("child", [{"id": "inside"}]))
    workflow = import_workflow(db, tenant, definition)
    executions = [start(database, tenant, workflow) for _ in range(EXECUTIONS)]
    steps = {step["id"]: step for step in definition["steps"]}
    names = [
        str(row["id"]) for row in db.all("select distinct id from flowgres.workflow_steps where type <> 'outputs'")
    ]
    assert _repair(database, tenant, executions, names, dice, 10) > 0
    with database.connect("runner") as first, database.connect("runner") as second, ThreadPoolExecutor(4) as pool:
        seeds = [random.Random(dice.random()) for _ in range(4)]
        runs = [pool.submit(_run, Hands(link), seeds[n], steps) for n, link in enumerate((first, second))]
        repairs = [pool.submit(_repair, database, tenant, executions, names, seeds[2 + n], TURNS) for n in range(2)]
        for run in runs:
            run.result(120)
        for repair in repairs:
            repair.result(120)
    db.call("flowgres.rescue_expired_leases", p_limit=1000)
    assert_invariants(db, drained=False)
    _drain(database, db, tenant, dice)
    assert_invariants(db)
