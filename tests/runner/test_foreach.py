"""Steps that run once for each item, with real runners: what an item sees, what it sends, and what comes of many."""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamWriter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.behaviours import Received, answer
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow
from tests.support.peers import Peer
from tests.support.runner import Runner, run_to_end


@pytest.fixture(autouse=True)
def _runner(start_runner: Callable[..., Runner]) -> None:
    start_runner(HTTP_ALLOW_PRIVATE_NETWORKS="true")


def each(config: Any, **more: Any) -> dict[str, Any]:
    foreach = {"items": "{{ input.items }}", **more.pop("foreach", {})}
    return {"id": "each", "foreach": foreach, "config": config, **more}


def test_an_item_is_seen_in_every_part_of_its_step(database: Database, db: Db, tenant: Tenant) -> None:
    step = each(
        {"output": {"name": "{{ item.name | upper }}", "at": "{{ item_index }}"}},
        output="{{ output.name ~ output.at }}",
    )
    after = {"id": "after", "depends_on": ["each"], "config": {"expression": "{{ steps.each.output | join(' ') }}"}}
    execution = run_to_end(database, db, tenant, step, after, items=[{"name": "a"}, {"name": "b"}, {"name": "c"}])
    assert execution["output"] == {"after": "A0 B1 C2"}


@pytest.mark.parametrize(
    ("items", "code"), [("text", "items_not_list"), ({"a": 1}, "items_not_list"), ([0] * 10_001, "too_many_items")]
)
def test_what_is_no_list_or_too_long_is_refused(
    database: Database, db: Db, tenant: Tenant, items: Any, code: str
) -> None:
    execution = run_to_end(database, db, tenant, each({"expression": "{{ item }}"}), items=items)
    assert (execution["status"], execution["error"]["code"]) == ("failed", code)


def test_list_that_is_large_is_worked_on_to_its_end(database: Database, db: Db, tenant: Tenant) -> None:
    # Nothing that the runner's loop would parse.
    items = [{"n": n, "text": "x" * 200} for n in range(1_000)]
    execution = run_to_end(database, db, tenant, each({"expression": "{{ item.n }}"}), items=items)
    assert execution["status"] == "completed", execution["error"]
    assert execution["output"] == {"each": list(range(1_000))}


def test_items_that_are_large_are_fetched_a_few_at_a_time(database: Database, db: Db, tenant: Tenant) -> None:
    items = [{"text": letter * 60_000} for letter in "abcd"]
    step = each({"expression": "{{ item.text[0] ~ (item.text | length) }}"})
    execution = run_to_end(database, db, tenant, step, items=items)
    assert execution["status"] == "completed", execution["error"]
    assert execution["output"] == {"each": [f"{letter}60000" for letter in "abcd"]}


def test_when_decides_once_for_all_items(database: Database, db: Db, tenant: Tenant) -> None:
    step = each({"expression": "{{ item }}"}, when="{{ input.items | length > 5 }}")
    execution = run_to_end(database, db, tenant, step, items=[1, 2])
    assert (execution["status"], execution["steps"]["each"]["status"]) == ("completed", "skipped")


def test_items_that_wait_hold_no_runner(database: Database, db: Db, tenant: Tenant) -> None:
    step = each({"seconds": "{{ item }}"}, type="delay")
    execution = run_to_end(database, db, tenant, step, items=[0.1] * 200)
    assert execution["output"] == {"each": [{"seconds": 0.1}] * 200}


def test_items_may_be_workflows(database: Database, db: Db, tenant: Tenant) -> None:
    import_workflow(db, tenant, dag("double", [{"id": "two", "config": {"expression": "{{ input.n * 2 }}"}}]))
    config = {"workflow": "double", "input": {"n": "{{ item }}"}}
    execution = run_to_end(database, db, tenant, each(config, type="sub_workflow"), items=list(range(30)))
    assert execution["output"] == {"each": [{"two": 2 * n} for n in range(30)]}


class Shop:
    """Refuses each item once, and one of them always."""

    def __init__(self) -> None:
        self.keys: dict[str, list[str]] = {}

    async def __call__(self, peer: Peer, request: Received, writer: StreamWriter) -> None:
        sku = json.loads(request.body)["sku"]
        keys = self.keys.setdefault(sku, [])
        keys.append(request.headers["idempotency-key"])
        status = 404 if sku == "none" else 503 if len(keys) == 1 else 200
        writer.write(answer(json.dumps({"sku": sku}).encode(), status=status))


async def test_each_item_is_tried_again_by_itself_under_its_own_key(database: Database, db: Db, tenant: Tenant) -> None:
    shop = Shop()
    async with Peer(behaviour=shop) as peer:
        step = each(
            {"method": "POST", "url": f"{peer.url}/hold", "json": {"sku": "{{ item }}"}},
            type="http",
            foreach={"tolerate": "50%", "max_parallel": 2},
            output="{{ response.body.sku }}",
            retry={"attempts": 2, "delay": 0.05},
        )
        execution = await asyncio.to_thread(run_to_end, database, db, tenant, step, items=["tea", "none", "cup"])
    assert execution["status"] == "completed", execution["error"]
    assert execution["output"] == {"each": ["tea", None, "cup"]}
    prefix = f"{execution['id']}/each"
    assert shop.keys == {"tea": [f"{prefix}/0"] * 2, "none": [f"{prefix}/1"], "cup": [f"{prefix}/2"] * 2}
