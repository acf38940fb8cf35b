"""Results of an execution that somebody else holds: nobody waits for them, and they arrive in the end."""

from __future__ import annotations

import asyncio

import pytest

from flowgres_runner.execution.chains import AnyResult, ChainResult
from flowgres_runner.execution.compiled import PlainChain
from flowgres_runner.steps.base import Completed
from tests.runner.lanes import result, running
from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, import_workflow

DONE = "select count(*) from flowgres.executions where finished_at is not null"
WHOLE = PlainChain((0,), is_whole=True, opened_count=0, wanted=())
HOLD = "select from flowgres.executions where id = %s::uuid for no key update"
HOLD_ROW = "select from flowgres.work_queue where execution_id = %s::uuid for update"


@pytest.mark.parametrize("hold", [HOLD, HOLD_ROW], ids=["execution", "row"])
@pytest.mark.parametrize("held", [13, 77], ids=["as a chain", "as an object"])
async def test_99_results_get_through_at_once_and_the_held_one_after_its_release(
    database: Database, db: Db, tenant: Tenant, hold: str, held: int
) -> None:
    name = import_workflow(db, tenant, dag("one", [{"id": "a"}]))
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_executions", workflow=name, inputs=[{"n": n} for n in range(100)])
    async with running(database) as lane:
        rows = [await lane.take() for _ in range(100)]
        with database.connect() as other:
            other.connection.autocommit = False
            other.run(hold, rows[held].execution_id)
            results: list[AnyResult] = [result(row, Completed(1)) for row in rows[50:]]
            # In either form.
            results += [ChainResult(row, WHOLE, "[[1.0,1]]") for row in rows[:50]]
            lane.put(results)
            async with asyncio.timeout(5):
                while db.value(DONE) < 99:
                    await asyncio.sleep(0.01)
                # The answer has arrived, too.
                while len(lane.leases) > 1:
                    await asyncio.sleep(0.01)
            # Its lease is kept: no reconciling gives it back, and a runner that stops does not count it as done.
            assert [claimed.queue_id for claimed in lane.leases.all()] == [rows[held].queue_id]
            assert not lane.loop.is_done
            before = lane.loop.round_trips
            await asyncio.sleep(1)
            # 5, 10, 20 ... 640 ms, each up to a fifth shorter, and the looks for work that belong to none of them.
            tries = [call for call in lane.calls if call.startswith("complete")]
            assert len(tries) <= 12
            assert lane.loop.round_trips - before <= 40, "no busy loop"
            assert db.value(DONE) == 99
            other.connection.commit()
        async with asyncio.timeout(5):
            while db.value(DONE) < 100:
                await asyncio.sleep(0.01)
        await lane.holds_nothing()
    assert_invariants(db)


async def test_many_results_of_one_held_execution_come_back_together(
    database: Database, db: Db, tenant: Tenant
) -> None:
    name = import_workflow(db, tenant, dag("fan", [{"id": f"s{number}"} for number in range(40)]))
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_execution", workflow=name)
    async with running(database) as lane:
        rows = [await lane.take() for _ in range(40)]
        with database.connect() as other:
            other.connection.autocommit = False
            other.run(HOLD, rows[0].execution_id)
            for row in rows:
                lane.report(row)
                await asyncio.sleep(0.01)
            assert db.value("select count(*) from flowgres.step_executions where finished_at is not null") == 0
            # None is lost, and between two tries all of them wait together.
            assert len(lane.leases) == 40
            async with asyncio.timeout(5):
                while len(lane.outbox) < 40:
                    await asyncio.sleep(0.001)
            assert len([call for call in lane.calls if call.startswith("complete")]) <= 12
            other.connection.commit()
        async with asyncio.timeout(5):
            while db.value(DONE) < 1:
                await asyncio.sleep(0.01)
    assert_invariants(db)
