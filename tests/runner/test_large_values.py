"""Values that are too large for the event loop: through contexts, conditions, children and answers, unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, get, import_workflow, start
from tests.support.peers import Peer
from tests.support.runner import wait_for

LARGE = [{"name": "Zoë 🙂", "score": 1.5, "big": 10**20, "id": n, "nothing": None} for n in range(3_000)]


async def finished(database: Database, tenant: Tenant, execution_id: str) -> dict[str, Any]:
    await asyncio.to_thread(
        wait_for, lambda: get(database, tenant, execution_id)["status"] in ("completed", "failed"), timeout_seconds=90
    )
    return get(database, tenant, execution_id)


@pytest.mark.usefixtures("runner")
async def test_large_input_is_what_expressions_see(database: Database, db: Db, tenant: Tenant) -> None:
    steps = [
        {"id": "count", "config": {"output": {"n": "{{ input.rows | length }}", "last": "{{ input.rows[2999] }}"}}},
        {
            "id": "check",
            "type": "condition",
            "depends_on": ["count"],
            "config": {"field": "rows.7.name", "operator": "eq", "value": "Zoë 🙂", "true_branch": ["after"]},
        },
        {"id": "after", "depends_on": ["check"], "config": {"output": {"payload": "{{ trigger.payload.rows[1].id }}"}}},
    ]
    import_workflow(db, tenant, dag("large", steps))
    end = await finished(database, tenant, start(database, tenant, "large", input={"rows": LARGE}))
    assert end["status"] == "completed", end
    assert end["steps"]["count"]["output"] == {"n": 3000, "last": LARGE[2999]}
    assert end["steps"]["after"]["output"] == {"payload": 1}


@pytest.mark.usefixtures("runner")
async def test_large_answer_is_stored_and_seen_by_the_next_steps(database: Database, db: Db, tenant: Tenant) -> None:
    async with Peer() as peer:
        steps = [
            {"id": "get", "type": "http", "config": {"url": f"{peer.url}/fat?mb=0.5"}},
            {
                "id": "next",
                "depends_on": ["get"],
                "config": {
                    "output": {"n": "{{ steps.get.output.body | length }}", "s": "{{ steps.get.output.status }}"}
                },
            },
            {
                "id": "check",
                "type": "condition",
                "depends_on": ["next"],
                "config": {"field": "steps.get.output.body.5.name", "operator": "eq", "value": "Ann Example"},
            },
        ]
        import_workflow(db, tenant, dag("fetch", steps))
        end = await finished(database, tenant, start(database, tenant, "fetch"))
        assert end["status"] == "completed", end
        assert end["steps"]["next"]["output"] == {"n": len(end["steps"]["get"]["output"]["body"]), "s": 200}
        assert end["steps"]["check"]["output"]["result"] is True


@pytest.mark.usefixtures("runner")
async def test_large_output_of_a_child_is_its_parents(database: Database, db: Db, tenant: Tenant) -> None:
    async with Peer() as peer:
        child = dag("child", [{"id": "get", "type": "http", "config": {"url": f"{peer.url}/fat?mb=0.2"}}])
        import_workflow(db, tenant, child | {"outputs": {"all": "{{ steps.get.output.body }}"}})
        steps = [
            {"id": "run", "type": "sub_workflow", "config": {"workflow": "child"}},
            {"id": "n", "depends_on": ["run"], "config": {"expression": "{{ steps.run.output.all | length }}"}},
        ]
        import_workflow(db, tenant, dag("parent", steps))
        end = await finished(database, tenant, start(database, tenant, "parent"))
        assert end["status"] == "completed", end
        assert end["steps"]["n"]["output"] == len(end["steps"]["run"]["output"]["all"])


@pytest.mark.usefixtures("runner")
@pytest.mark.parametrize(
    ("reading", "content_type", "body", "expected"),
    [
        ("json", "text/plain", '{"a": 1}', {"a": 1}),
        ("json", "application/octet-stream", "[" + "1," * 50_000 + "1]", None),
        ("text", "application/json", '{"a": 1}', '{"a": 1}'),
        ("bytes", "text/plain", "abc", "YWJj"),
        ("json", "text/html", "<html>", "response_not_json"),
    ],
)
async def test_step_says_how_its_answer_is_read(
    database: Database, db: Db, tenant: Tenant, reading: str, content_type: str, body: str, expected: Any
) -> None:
    async with Peer() as peer:
        config = {
            "method": "POST",
            "url": f"{peer.url}/raw",
            "query": {"type": content_type},
            "body": "{{ input.body }}",
            "response": reading,
        }
        import_workflow(db, tenant, dag("read", [{"id": "get", "type": "http", "config": config}]))
        end = await finished(database, tenant, start(database, tenant, "read", input={"body": body}))
    step = end["steps"]["get"]
    if expected == "response_not_json":
        assert step["error"]["code"] == expected
    elif expected is None:
        assert step["output"]["body"] == [1] * 50_001
    else:
        assert step["output"]["body"] == expected
