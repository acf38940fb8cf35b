"""Every example, run from end to end on PostgreSQL, PostgREST and a runner, compared with what its README says."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio import StreamWriter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.behaviours import Received, answer
from tests.support.database import Database
from tests.support.front import Front
from tests.support.peers import Peer
from tests.support.runner import Runner, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
TERMINAL = ("completed", "failed", "cancelled")
TIMEOUT_SECONDS = 60

# What has to be there first; everything else is a workflow.yaml of its own.
DEFINITIONS = {"nested": ["store.yaml", "region.yaml", "workflow.yaml"]}
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/workflow.yaml"))


@dataclass(frozen=True, slots=True)
class Stack:
    """One tenant on a whole stack: `api` is PostgREST, `front` the front, both called with its key."""

    api: Api
    front: Api

    def import_file(self, path: Path) -> dict[str, Any]:
        """Upload a definition as it is."""
        kind = "application/json" if path.suffix == ".json" else "application/yaml"
        sent = self.front.request("POST", "/workflows", content=path.read_bytes(), headers={"Content-Type": kind})
        assert sent.status_code in (200, 201), sent.text
        imported: dict[str, Any] = sent.json()
        return imported

    def run(self, workflow: str, given: dict[str, Any]) -> dict[str, Any]:
        """Start an execution and return it when it has ended."""
        started = self.api.rpc("start_execution", workflow=workflow, input=given)
        assert started.status_code == 201, started.text
        execution: dict[str, Any] = {}

        def has_ended() -> bool:
            found = self.api.rpc("get_execution", execution_id=started.json()["execution_id"])
            assert found.status_code == 200, found.text
            execution.update(found.json())
            return execution["status"] in TERMINAL

        wait_for(has_ended, timeout_seconds=TIMEOUT_SECONDS, what=f"the end of {workflow}")
        return execution

    def messages(self, execution: dict[str, Any]) -> list[str]:
        """What an execution wrote into its events."""
        rows = self.api.get(
            "/execution_events", params={"execution_id": f"eq.{execution['id']}", "type": "eq.log"}
        ).json()
        return [row["message"] for row in rows]


@pytest.fixture(scope="module")
def stack(module_database: Database, module_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with module_database.connect() as db:
        key = db.call("flowgres.register_tenant", p_name="Examples")["api_key"]
    folder = tmp_path_factory.mktemp("stack")
    runner = Runner(module_database, log_path=folder / "runner.log")
    try:
        runner.start()
        with Front(module_database.url("front"), log_path=folder / "front.log") as front:
            yield Stack(api=module_api.as_key(key), front=Api(front.url).as_key(key))
    finally:
        runner.stop()


class Shop:
    """Stock and payment of an order, and a health page; the first charge fails, as charges do."""

    def __init__(self, *, available: bool = True, is_up: bool = True) -> None:
        self.available = available
        self.is_up = is_up
        self.charge_keys: list[str] = []

    async def __call__(self, peer: Peer, request: Received, writer: StreamWriter) -> None:
        """Answer one request."""
        if request.path == "/stock/check":
            assert json.loads(request.body) == {"skus": ["tea", "cup"]}
            writer.write(answer(json.dumps({"available": self.available}).encode()))
        elif request.path == "/charges":
            self.charge_keys.append(request.headers["idempotency-key"])
            if len(self.charge_keys) == 1:
                writer.write(answer(b"{}", status=503))
            else:
                order = json.loads(request.body)["order"]
                writer.write(answer(json.dumps({"id": f"ch_{order}"}).encode(), status=201))
        else:
            writer.write(answer(b"ok", status=200 if self.is_up else 500, content_type="text/plain"))


async def run_example(stack: Stack, name: str, shop: Shop, **changes: Any) -> dict[str, Any]:
    """Import an example and run it with its input, with local services in place of those that it names."""
    folder = EXAMPLES / name
    async with Peer(behaviour=shop) as peer:
        text = (folder / "input.json").read_text().replace("http://127.0.0.1:9000", peer.url)

        def run() -> dict[str, Any]:
            for file in DEFINITIONS.get(name, ["workflow.yaml"]):
                stack.import_file(folder / file)
            return stack.run(name, {**json.loads(text), **changes})

        return await asyncio.to_thread(run)


def check(execution: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare an execution with an expected.json: its status, its output, and what is named of its steps."""
    steps = {step["step"]: step for step in execution["steps"]}
    assert execution["status"] == expected["status"], execution["error"]
    if "output" in expected:
        assert execution["output"] == expected["output"]
    for name, wanted in expected["steps"].items():
        assert {key: steps[name][key] for key in wanted} == wanted, name
    assert set(steps) == set(expected["steps"])


@pytest.mark.parametrize("name", NAMES)
async def test_an_example_does_what_it_says(stack: Stack, name: str) -> None:
    execution = await run_example(stack, name, Shop())

    check(execution, json.loads((EXAMPLES / name / "expected.json").read_text()))


async def test_the_documented_json_is_accepted_as_it_is(stack: Stack) -> None:
    given = json.loads((EXAMPLES / "order_pipeline" / "input.json").read_text())

    imported = await asyncio.to_thread(stack.import_file, EXAMPLES / "order_pipeline" / "workflow.json")
    execution = await asyncio.to_thread(stack.run, imported["name"], given)

    assert (imported["name"], imported["title"]) == ("order-pipeline", "Order Pipeline")
    expected = json.loads((EXAMPLES / "order_pipeline" / "expected.json").read_text())
    del expected["output"]  # this form declares no outputs
    check(execution, expected)
    assert stack.messages(execution) == ["Order #1001 needs a look"]
    secrets = stack.api.get("/secrets").json()
    assert [row["name"] for row in secrets] == ["ORDER_PIPELINE_WEBHOOK_SECRET"]


@pytest.mark.parametrize(("amount", "branch"), [(250, "true"), (50, "false")])
async def test_the_document_as_it_is_printed_runs_to_its_end(stack: Stack, amount: int, branch: str) -> None:
    printed = Path(__file__).parents[1] / "cases" / "documents" / "a_order_pipeline.json"

    imported = await asyncio.to_thread(stack.import_file, printed)
    execution = await asyncio.to_thread(stack.run, imported["name"], {"order_id": "1001", "amount": amount})

    assert imported["name"] == "order-pipeline"
    assert {warning["code"] for warning in imported["warnings"]} == {"unknown_branch_target", "trigger_not_active"}
    steps = {step["step"]: step["output"] for step in execution["steps"]}
    assert execution["status"] == "completed"
    assert steps == {"validate": "Order #1001", "check_amount": {"result": amount > 100, "branch": branch}}


@pytest.mark.parametrize(
    ("country", "way", "carrier"), [("DE", "case 1", "Post"), ("AT", "case 2", "Rail"), ("US", "default", "Air")]
)
async def test_every_way_of_a_switch_is_taken(stack: Stack, country: str, way: str, carrier: str) -> None:
    execution = await run_example(stack, "shipping_route", Shop(), country=country, value=100)

    assert execution["status"] == "completed"
    label = {"order": "1001", "way": way, "carrier": carrier, "duty": 7 if country == "US" else 0}
    assert execution["output"] == {"label": label}


async def test_a_small_order_takes_the_other_branch(stack: Stack) -> None:
    execution = await run_example(stack, "order_pipeline", Shop(), amount=100)

    assert execution["output"] == {"label": "Order #1001", "route": "standard"}


async def test_the_repeated_charge_has_the_same_key(stack: Stack) -> None:
    shop = Shop()

    execution = await run_example(stack, "order_processing", shop)

    assert shop.charge_keys == [f"{execution['id']}/charge"] * 2
    assert stack.messages(execution) == ["order 1001: charged 20.5 as ch_1001"]


async def test_an_order_out_of_stock_is_not_charged(stack: Stack) -> None:
    shop = Shop(available=False)

    execution = await run_example(stack, "order_processing", shop)

    assert execution["status"] == "completed"
    assert execution["output"] == {"order_id": "1001", "confirmed": False, "total": 20.5, "charge_id": None}
    assert shop.charge_keys == []
    assert stack.messages(execution) == ["order 1001: out of stock"]


async def test_a_service_that_is_down_is_an_answer(stack: Stack) -> None:
    execution = await run_example(stack, "service_health", Shop(is_up=False))

    steps = {step["step"]: step for step in execution["steps"]}
    assert execution["status"] == "completed"
    assert execution["output"] == {"service": "shop", "is_up": False}
    assert (steps["probe"]["status"], steps["probe"]["attempts"]) == ("failed", 2)
    assert (steps["notify_up"]["status"], steps["notify_down"]["status"]) == ("skipped", "completed")


async def test_the_report_needs_no_input(stack: Stack) -> None:
    folder = EXAMPLES / "parallel_report"
    await asyncio.to_thread(stack.import_file, folder / "workflow.yaml")

    execution = await asyncio.to_thread(stack.run, "parallel_report", {})
    missed = await asyncio.to_thread(stack.run, "parallel_report", {"target": 2000})

    assert execution["output"]["headline"] == "North: target met"
    assert missed["output"]["headline"] == "North: target missed"
    assert stack.messages(missed) == ["North is 759.5 short"]


async def test_children_know_their_parents_on_three_levels(stack: Stack) -> None:
    execution = await run_example(stack, "nested", Shop())

    def children(parent: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = stack.api.get(
            "/executions", params={"parent_execution_id": f"eq.{parent}", "order": "id"}
        ).json()
        return rows

    regions = children(execution["id"])
    stores = [store for region in regions for store in children(region["id"])]
    assert [row["workflow_name"] for row in regions] == ["nested_region"] * 2
    assert [row["workflow_name"] for row in stores] == ["nested_store"] * 4
    assert {row["status"] for row in regions + stores} == {"completed"}


@pytest.mark.parametrize("name", NAMES)
def test_a_readme_shows_what_comes_back_and_the_command(name: str) -> None:
    folder = EXAMPLES / name
    text = (folder / "README.md").read_text()
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]

    assert json.loads((folder / "expected.json").read_text())["output"] in shown
    assert f"flowgres import examples/{name}" in text
    assert f"flowgres run {name}" in text
    for path in re.findall(r"examples/[\w./-]+", text):
        assert (EXAMPLES.parent / path).exists(), path


def test_the_list_of_examples_is_complete() -> None:
    listed = set(re.findall(r"^\| \[(\w+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE))

    assert listed == set(NAMES)
