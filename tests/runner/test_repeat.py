"""Steps that run round after round, with real runners: what a round sees and sends, and when the rounds end."""

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


def repeated(until: str, config: Any, **more: Any) -> dict[str, Any]:
    return {"id": "r", "repeat": {"until": until, **more.pop("repeat", {})}, "config": config, **more}


def test_round_and_previous_are_seen_in_every_part(database: Database, db: Db, tenant: Tenant) -> None:
    step = repeated(
        "{{ output.total >= 10 and round > 1 and previous is not none }}",
        {"output": {"n": "{{ round }}", "before": "{{ previous.total if previous else 0 }}"}},
        output={"total": "{{ output.before + output.n }}", "was": "{{ previous }}"},
    )
    execution = run_to_end(database, db, tenant, step)
    r = execution["steps"]["r"]
    assert (r["status"], r["round"], r["attempts"]) == ("completed", 4, 4)
    assert r["output"]["total"] == 10
    assert r["output"]["was"]["total"] == 6


@pytest.mark.parametrize(
    ("until", "code"),
    [
        ("{{ output }}", "expression_not_boolean"),
        ("{{ none }}", "expression_not_boolean"),
        ("{{ output.nope > 1 }}", "expression_undefined"),
        ("{{ false }}", "repeat_exhausted"),
    ],
)
def test_until_that_never_is_true_fails_the_step(
    database: Database, db: Db, tenant: Tenant, until: str, code: str
) -> None:
    execution = run_to_end(
        database, db, tenant, repeated(until, {"expression": "{{ round }}"}, repeat={"max_times": 3})
    )
    assert (execution["status"], execution["error"]["code"]) == ("failed", code)


def test_when_is_asked_in_the_first_round_only(database: Database, db: Db, tenant: Tenant) -> None:
    first = {"id": "first", "config": {"expression": "{{ 1 }}"}}
    step = repeated("{{ round == 3 }}", {"expression": "{{ round }}"}, depends_on=["first"], when="{{ input.go }}")
    execution = run_to_end(database, db, tenant, first, step, go=True)
    assert execution["output"] == {"r": 3}
    execution = run_to_end(database, db, tenant, first, step, go=False)
    assert execution["steps"]["r"]["status"] == "skipped"


class Pages:
    """Four pages of three rows, each refused once."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def __call__(self, peer: Peer, request: Received, writer: StreamWriter) -> None:
        key = request.headers["idempotency-key"]
        self.keys.append(key)
        number = int(request.query["page"])
        body = {"rows": [number * 10 + n for n in range(3)], "next": number + 1 if number < 4 else None}
        status = 200 if self.keys.count(key) == 2 else 503
        writer.write(answer(json.dumps(body).encode(), status=status))


async def test_pages_are_gathered_under_a_key_for_each(database: Database, db: Db, tenant: Tenant) -> None:
    pages = Pages()
    async with Peer(behaviour=pages) as peer:
        step = repeated(
            "{{ response.body.next is none }}",
            {"url": f"{peer.url}/rows", "query": {"page": "{{ previous.next if previous else 1 }}"}},
            type="http",
            output={
                "rows": "{{ (previous.rows if previous else []) + response.body.rows }}",
                "next": "{{ response.body.next }}",
            },
            retry={"attempts": 2, "delay": 0.05},
        )
        execution = await asyncio.to_thread(run_to_end, database, db, tenant, step)
    assert execution["status"] == "completed", execution["error"]
    assert execution["output"]["r"] == {"rows": [10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42], "next": None}
    assert pages.keys == [f"{execution['id']}/r/r{number}" for number in (1, 2, 3, 4) for _ in range(2)]
    assert execution["steps"]["r"]["attempts"] == 8


def test_large_outputs_go_from_round_to_round(database: Database, db: Db, tenant: Tenant) -> None:
    # More than the loop of a runner would parse.
    step = repeated(
        "{{ round == 4 and previous.text | length == 150000 }}",
        {"output": {"text": "{{ (previous.text if previous else '') ~ input.text }}"}},
    )
    execution = run_to_end(database, db, tenant, step, text="x" * 50_000)
    assert (execution["status"], execution["steps"]["r"]["round"]) == ("completed", 4)
    assert len(execution["output"]["r"]["text"]) == 200_000


def test_each_round_runs_a_sub_workflow(database: Database, db: Db, tenant: Tenant) -> None:
    child = import_workflow(db, tenant, dag("child", [{"id": "c", "config": {"expression": "{{ input.n * 2 }}"}}]))
    step = repeated("{{ output.c >= 6 }}", {"workflow": child, "input": {"n": "{{ round }}"}}, type="sub_workflow")
    execution = run_to_end(database, db, tenant, step)
    assert (execution["status"], execution["output"]) == ("completed", {"r": {"c": 6}})
    assert db.value("select count(*) from flowgres.executions where parent_execution_id is not null") == 3


def test_rounds_wait_between(database: Database, db: Db, tenant: Tenant) -> None:
    step = repeated("{{ round == 3 }}", {"seconds": 0.05}, type="delay", repeat={"delay": "150ms"})
    execution = run_to_end(database, db, tenant, step)
    seconds = db.value(
        "select extract(epoch from finished_at - started_at) from flowgres.executions where id = %s", execution["id"]
    )
    assert execution["steps"]["r"]["round"] == 3
    assert float(seconds) >= 0.45


def test_every_item_has_its_rounds(database: Database, db: Db, tenant: Tenant) -> None:
    step = repeated(
        "{{ round >= item }}",
        {"expression": "{{ (previous or []) + [item * 10 + round] }}"},
        foreach={"items": "{{ input.items }}"},
    )
    execution = run_to_end(database, db, tenant, step, items=[1, 3, 2])
    assert execution["output"] == {"r": [[11], [31, 32, 33], [21, 22]]}


@pytest.mark.parametrize(
    "value", ["{{ 1e23 }}", "{{ 1.5e300 }}", "{{ [5.0, 1 / 3] }}", "{{ {'b': 1, 'aa': 2} | list }}"]
)
def test_output_that_does_not_change_is_what_was_before(database: Database, db: Db, tenant: Tenant, value: str) -> None:
    step = repeated("{{ round > 1 and output == previous }}", {"expression": value}, repeat={"max_times": 3})
    assert run_to_end(database, db, tenant, step)["steps"]["r"]["round"] == 2


async def test_answer_that_does_not_change_has_the_order_that_it_had_before(
    database: Database, db: Db, tenant: Tenant
) -> None:
    async def same(peer: Peer, request: Received, writer: StreamWriter) -> None:
        writer.write(answer(b'{"zz": 1, "a": 2, "bbb": 3}'))

    async with Peer(behaviour=same) as peer:
        step = repeated(
            "{{ round > 1 and output.body | list == previous.body | list }}",
            {"url": peer.url},
            type="http",
            repeat={"max_times": 3},
        )
        execution = await asyncio.to_thread(run_to_end, database, db, tenant, step)
    assert execution["steps"]["r"]["round"] == 2, execution["error"]
