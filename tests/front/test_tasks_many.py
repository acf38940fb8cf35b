"""Five hundred workers of two tenants that wait for tasks at one front: each gets one, and none is given twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.front.conftest import TenantKeys
from tests.support.database import Database, Tenant
from tests.support.engine import dag, hands, import_workflow
from tests.support.front import Front

POLLERS = 500
PARKED = {"o": "park", "waits": "task", "input": {"queue": "mail"}}


@pytest.mark.slow
async def test_five_hundred_that_wait_each_have_a_task(
    module_database: Database, tenant: TenantKeys, tmp_path: Path
) -> None:
    # Of one tenant no more than 256 may wait.
    tenants = [tenant, TenantKeys(tenant.db)]
    for one in tenants:
        ask = {"id": "ask", "type": "task", "config": {"queue": "mail"}}
        import_workflow(tenant.db, Tenant(one.tenant_id, "", one.admin), dag("mail", [ask]))
    waiting: set[int] = set()
    answers: Counter[int] = Counter()
    limits = httpx.Limits(max_connections=POLLERS)
    with Front(module_database.url("front"), log_path=tmp_path / "front.log") as front:
        async with httpx.AsyncClient(base_url=front.url, limits=limits, timeout=120) as client:

            async def poll(number: int) -> list[str]:
                parameters: dict[str, str | int] = {"worker": f"w{number}", "wait": 60, "lease_seconds": 600}
                headers = {"X-API-Key": tenants[number % 2].member}
                while True:
                    waiting.add(number)
                    answer = await client.get("/tasks/mail", params=parameters, headers=headers)
                    waiting.discard(number)
                    answers[answer.status_code] += 1
                    if answer.status_code == httpx.codes.OK:
                        if found := answer.json():
                            return [task["task_id"] for task in found]
                        continue
                    # As many as come at once are told to come again.
                    assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS, answer.text
                    await asyncio.sleep(0.5)

            pollers = [asyncio.create_task(poll(number)) for number in range(POLLERS)]
            refused = -1
            while refused != answers.total() or len(waiting) < POLLERS:
                assert [poller.exception() for poller in pollers if poller.done()] == []
                refused = answers.total()
                await asyncio.sleep(2)
            with hands(module_database) as runner:

                def give() -> None:
                    for one in tenants:
                        with module_database.as_role("member", tenant_id=one.tenant_id) as api:
                            api.call("flowgres_api.start_executions", workflow="mail", inputs=[{}] * (POLLERS // 2))
                    runner.work(lambda *_: PARKED)

                await asyncio.to_thread(give)
                given = await asyncio.gather(*pollers)
    tasks = [task for had in given for task in had]
    assert (len(tasks), len(set(tasks))) == (POLLERS, POLLERS)
