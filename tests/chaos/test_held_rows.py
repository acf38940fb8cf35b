"""Rows that somebody holds (a console, a report): whoever has nothing to do with them does not notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.chaos import Crew, chaos_random, tell, wait_for_drain
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow
from tests.support.runner import wait_for

pytestmark = pytest.mark.chaos

COUNT = 300
STEPS: list[dict[str, Any]] = [
    {"id": "first", "type": "delay", "config": {"seconds": 1}},
    {"id": "left", "depends_on": ["first"]},
    {"id": "right", "depends_on": ["first"]},
    {"id": "pause", "type": "delay", "config": {"seconds": 1}, "depends_on": ["left", "right"]},
    {"id": "last", "depends_on": ["pause"]},
]
HOLD = (
    "select from flowgres.executions where id = any(%s::uuid[]) order by id for update",
    "select from flowgres.work_queue where execution_id = any(%s::uuid[])"
    " order by execution_id, id for update skip locked",
)
OPEN = "select id::text from flowgres.executions where finished_at is null order by id"


def _start(database: Database, db: Db, tenant: Tenant) -> list[str]:
    workflow = import_workflow(db, tenant, dag("held", STEPS))
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_executions", workflow=workflow, inputs=[{"n": n} for n in range(COUNT)])
    return [str(id) for id in db.column(OPEN)]


@contextmanager
def _in_pieces(database: Database, executions: list[str]) -> Iterator[list[float]]:
    """Hold a few executions and their queue rows now and then, for a moment each; yields how long each time was."""
    chance = chaos_random()
    over = threading.Event()
    held: list[float] = []

    def hold() -> None:
        with database.connect() as other:
            while not over.is_set():
                some = chance.sample(executions, 20)
                began = time.monotonic()
                with other.connection.transaction():
                    try:
                        other.run("set local lock_timeout to '2s'")
                        for query in HOLD:
                            other.connection.execute(query, [some])
                    except psycopg.errors.LockNotAvailable:
                        continue
                    over.wait(chance.uniform(0.05, 0.5))
                held.append(time.monotonic() - began)
                over.wait(0.02)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield held
    finally:
        over.set()
        thread.join()


def test_others_end_while_one_execution_is_held(database: Database, db: Db, tenant: Tenant, crew: Crew) -> None:
    executions = _start(database, db, tenant)
    with database.connect() as other, other.connection.transaction():
        other.run("select from flowgres.executions where id = %s for update", executions[COUNT // 2])
        crew.start()
        crew.start()
        began = time.monotonic()
        wait_for(lambda: db.column(OPEN) == [executions[COUNT // 2]], timeout_seconds=30, what="all the others")
        seconds = time.monotonic() - began
        tell(f"{COUNT - 1} executions with two delays of a second ended beside one that was held: {seconds:.1f} s")
    wait_for_drain(db, timeout_seconds=30)
    assert db.all("select * from flowgres.check_invariants(p_is_drained => true)") == []
    assert db.column("select distinct status from flowgres.executions") == ["completed"]
    assert db.column("select distinct attempts from flowgres.step_executions where status = 'completed'") == [1]


def test_rows_held_again_and_again_cost_nothing_but_their_time(
    database: Database, db: Db, tenant: Tenant, crew: Crew
) -> None:
    executions = _start(database, db, tenant)
    with _in_pieces(database, executions) as held:
        crew.start()
        crew.start()
        wait_for(lambda: db.column(OPEN) == [], timeout_seconds=90, what="the last end")
    tell(f"20 executions were held {len(held)} times, {sum(held):.1f} s in all")
    assert db.all("select * from flowgres.check_invariants(p_is_drained => true)") == []
    assert db.column("select distinct status from flowgres.executions") == ["completed"]
    assert db.column("select distinct attempts from flowgres.step_executions where status = 'completed'") == [1]
