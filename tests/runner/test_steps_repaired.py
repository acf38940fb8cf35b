"""Steps that a real runner has, and people repair: it stops, and what it is given next is what they said."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, get, import_workflow, start
from tests.support.peers import Peer
from tests.support.repairs import act
from tests.support.runner import Runner, wait_for


async def until(condition: Any, what: str) -> None:
    await asyncio.to_thread(wait_for, condition, timeout_seconds=30, what=what)


def _hanging(peer: Peer) -> list[dict[str, Any]]:
    after = {"id": "after", "depends_on": ["ask"], "config": {"expression": "{{ steps.ask.output.n + 1 }}"}}
    return [{"id": "ask", "type": "http", "config": {"url": f"{peer.url}/hang"}, "timeout": 600}, after]


async def test_runner_stops_what_somebody_has_completed_by_hand(
    database: Database, tenant: Tenant, db: Db, runner: Runner
) -> None:
    async with Peer() as peer:
        execution = start(database, tenant, import_workflow(db, tenant, dag("w", _hanging(peer))))
        await until(lambda: peer.requests, "the request")
        act(database, tenant, "complete_step", execution, "ask", output={"n": 6})
        await until(lambda: get(database, tenant, execution)["status"] == "completed", "the end")
        await until(lambda: "result_discarded" in runner.log, "the abort")
    assert get(database, tenant, execution)["output"] == {"after": 7}
    assert_invariants(db)


async def test_runner_keeps_to_the_time_of_this_execution(
    database: Database, tenant: Tenant, db: Db, runner: Runner
) -> None:
    async with Peer() as peer:
        execution = start(database, tenant, import_workflow(db, tenant, dag("w", _hanging(peer))))
        await until(lambda: peer.requests, "the request")
        act(database, tenant, "update_step", execution, "ask", changes={"timeout": 0.5, "retry": {"attempts": 1}})
        act(database, tenant, "retry_step", execution, "ask")
        await until(lambda: get(database, tenant, execution)["status"] == "failed", "the end of the time")
        error = get(database, tenant, execution)["error"]
    assert (error["class"], "0.5 s" in error["message"]) == ("timeout", True)
    assert len(peer.requests) == 2
    assert_invariants(db)
