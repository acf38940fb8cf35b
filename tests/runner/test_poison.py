"""Results that SQL itself refuses, against the real functions."""

from __future__ import annotations

import asyncio
import uuid

from flowgres_runner import queries
from flowgres_runner.connection import Link
from flowgres_runner.delivery import Delivery
from flowgres_runner.results import Result, batch_text, encode_outcome
from flowgres_runner.steps.base import Completed
from tests.support.database import Database, Db
from tests.support.engine import import_workflow

STEPS = [{"id": "a", "type": "transform", "config": {"expression": "{{ input.n }}"}}]


async def test_result_that_sql_refuses_fails_alone(database: Database, db: Db) -> None:
    tenant = database.make_tenant()
    import_workflow(db, tenant, {"name": "one", "steps": STEPS})
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_executions", workflow="one", inputs=[{"n": n} for n in range(20)])
    runner_id = str(uuid.uuid4())
    link = Link(database.dsn("runner"), application_name="test")
    try:
        await queries.register_runner(
            link, runner_id=runner_id, info={"name": "x", "version": "0", "protocol": 1, "environment": "development"}
        )
        rows = await queries.claim(link, runner_id=runner_id, want=20, after_tenant_id=None)
        results = [encode_outcome(row, Completed(1), milliseconds=1, max_bytes=100).result for row in rows]
        poison = results[13]
        # Past every check of ours: text that PostgreSQL parses as JSON and cannot store.
        results[13] = Result(poison.claimed, poison.text.replace('"out":1', r'"out":"\u0000"'))
        assert results[13].text != poison.text

        async def send(batch: list[Result], want: int) -> list[queries.ClaimedStep]:
            return await queries.complete_and_claim(
                link, runner_id=runner_id, results=batch_text(batch), want=want, after_tenant_id=None
            )

        parked: list[Result] = []
        await asyncio.wait_for(Delivery(send, parked.append).deliver(results, 0), timeout=10)
    finally:
        await link.close()
    assert parked == []
    ends = db.all("select status, count(*) as n from flowgres.executions group by 1 order by 1")
    assert ends == [{"status": "completed", "n": 19}, {"status": "failed", "n": 1}]
    error = db.value("select error from flowgres.step_executions where status = 'failed'")
    assert error["code"] == "result_refused"
    assert db.value("select attempts from flowgres.step_executions where status = 'failed'") == 1
