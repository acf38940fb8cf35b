"""Pauses, resumes, cancels and changes beside runners: whatever their order, the engine keeps what it promises."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.control import HTTP
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, failed, hands, import_workflow
from tests.support.races import caller, natural, refusal_code

ROUNDS = 40
EXPECTED = {"execution_ended", "workflow_paused", "tenant_paused", "execution_started"}


def _import(db: Db, tenant: Tenant) -> str:
    work: list[dict[str, Any]] = [{"id": "work", **HTTP}, {"id": "done", "depends_on": ["work"]}]
    # Some go on by themselves after a failure, and some of those are paused then.
    import_workflow(db, tenant, dag("leaf", work, settings={"max_retries": 1}))
    steps = [
        {"id": "begin", **HTTP},
        {"id": "left", "depends_on": ["begin"], **HTTP},
        {"id": "call_leaf", "type": "sub_workflow", "depends_on": ["begin"], "config": {"workflow": "leaf"}},
        {"id": "end", "depends_on": ["left", "call_leaf"]},
    ]
    return import_workflow(db, tenant, dag("root", steps, settings={"max_retries": 2}))


def _act(database: Database, tenant: Tenant, ids: list[str], seed: int) -> list[str]:
    """Some acts of a person; returns the codes of refusals."""
    chance = random.Random(seed)
    codes: list[str] = []
    with caller(database, tenant) as (_, request):
        for _ in range(ROUNDS):
            verb = chance.choice(["pause", "resume", "pause", "resume", "cancel", "update", "pause_all", "resume_all"])
            try:
                if verb.endswith("_all"):
                    request(verb.replace("all", "workflow"), workflow=chance.choice(["root", "leaf"]))
                elif verb == "update":
                    changes = Jsonb({"priority": chance.randrange(10), "extend_seconds": 1})
                    request("update_execution", execution_id=chance.choice(ids), changes=changes)
                elif verb != "cancel" or chance.random() < 0.2:
                    request(f"{verb}_execution", execution_id=chance.choice(ids))
            except psycopg.Error as error:
                codes.append(refusal_code(error))
    return codes


def _run(database: Database, seed: int) -> None:
    """A runner that reports one by one, and sweeps in between."""
    chance = random.Random(seed)
    with hands(database) as runner:
        for _ in range(ROUNDS):
            runner.work(
                lambda lease, step: failed() if chance.random() < 0.05 else natural(lease, step), one_by_one=True
            )
            runner.db.run("select flowgres.settle_pauses(5)")
            runner.db.run("select flowgres.cancel_orphan()")
            runner.db.run("select flowgres.wake_pending(10)")


@pytest.mark.parametrize("seed", range(3))
def test_random_acts_beside_runners(database: Database, db: Db, tenant: Tenant, clock: Clock, seed: int) -> None:
    root = _import(db, tenant)
    with caller(database, tenant) as (_, request):
        ids = [str(request("start_execution", workflow=root)["execution_id"]) for _ in range(12)]
    with ThreadPoolExecutor(4) as pool:
        acts = [pool.submit(_act, database, tenant, ids, seed * 10 + i) for i in range(2)]
        works = [pool.submit(_run, database, seed * 10 + i) for i in range(2)]
        while not all(work.done() for work in works):
            clock.advance(seconds=1)
            wait(works, timeout=0.2)
        for work in works:
            work.result()
        for act in acts:
            assert set(act.result()) <= EXPECTED, act.result()
    assert_invariants(db, drained=False)
    with caller(database, tenant) as (_, request):
        for workflow in ("root", "leaf"):
            request("resume_workflow", workflow=workflow)
        while db.value("select count(*) from flowgres.pauses"):
            db.run("select flowgres.settle_pauses(100)")
            db.run("update flowgres.pauses set due_at = flowgres.now()")
        for row in db.all("select id from flowgres.executions where status = 'paused' order by id"):
            request("resume_execution", execution_id=str(row["id"]))
    assert db.value("select count(*) from flowgres.work_queue where held") == 0
    with hands(database) as runner:
        for _ in range(5):
            clock.advance(seconds=60)
            runner.work(natural)
            while runner.db.value("select flowgres.cancel_orphan()"):
                pass
            runner.db.run("select flowgres.wake_pending(100)")
    assert_invariants(db)
