"""Every example, run from end to end on PostgreSQL, PostgREST and a runner, compared with what its README says."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.peers import Peer
from tests.support.runner import wait_for
from tests.support.shop import Shop
from tests.support.stack import Stack, check
from tests.support.webhooks import signed

EXAMPLES = Path(__file__).parents[2] / "examples"

# What has to be there first; everything else is a workflow.yaml of its own.
DEFINITIONS = {
    "nested": ["store.yaml", "region.yaml"],
    "newsletter": ["letter.yaml"],
}
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/workflow.yaml"))
SERVED = "welcome_letter"  # by workers, run by test_worker_examples.py
REACHING = {"shipped_parcel", "token_orders", "bank_balance", "invoice_upload"}  # run by test_reaching_examples.py
PATTERNS = "patterns"  # many workflows in one folder, run by test_patterns.py


async def run_example(
    stack: Stack, name: str, shop: Shop, *, file: str = "workflow.yaml", **changes: Any
) -> dict[str, Any]:
    """Import an example and run it with its input, with local services in place of those that it names."""
    folder = EXAMPLES / name
    async with Peer(behaviour=shop) as peer:
        text = (folder / "input.json").read_text().replace("http://127.0.0.1:9000", peer.url)

        def run() -> dict[str, Any]:
            if (folder / "schema.sql").exists():
                with stack.database.connect() as db:
                    db.run((folder / "schema.sql").read_text())
            for needed in DEFINITIONS.get(name, []):
                stack.import_file(folder / needed)
            return stack.run(stack.import_file(folder / file)["name"], {**json.loads(text), **changes})

        return await asyncio.to_thread(run)


@pytest.mark.parametrize("name", sorted({*NAMES} - {SERVED} - REACHING))
async def test_an_example_does_what_it_says(stack: Stack, name: str) -> None:
    execution = await run_example(stack, name, Shop())

    check(execution, json.loads((EXAMPLES / name / "expected.json").read_text()))


async def test_an_order_that_was_packed_before_waits_for_nothing(stack: Stack) -> None:
    sent = stack.api.rpc("send_signal", name="packed", key="8", payload={"boxes": 2})
    assert (sent.status_code, sent.json()) == (200, 0)
    execution = await run_example(stack, "packed_order", Shop(), order_id="8")
    assert execution["output"] == {"parcel": {"order": "8", "boxes": 2}}


async def test_an_order_in_the_words_of_a_task_engine_does_the_same(stack: Stack) -> None:
    execution = await run_example(stack, "order_processing", Shop(), file="workflow.json")

    expected = json.loads((EXAMPLES / "order_processing" / "expected.json").read_text())
    assert (execution["status"], execution["output"]) == ("completed", expected["output"])
    attempts = {step["step"]: step["attempts"] for step in execution["steps"]}
    assert attempts["charge"] == 2


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


async def test_a_delivery_to_the_documented_webhook_runs_to_its_end(stack: Stack) -> None:
    body = (EXAMPLES / "order_pipeline" / "input.json").read_bytes()
    imported = await asyncio.to_thread(stack.import_file, EXAMPLES / "order_pipeline" / "workflow.json")
    (webhook,) = imported["webhooks"]
    headers = signed("github", body, secret="my-secret") | {"Content-Type": "application/json"}

    answer = await asyncio.to_thread(stack.front.request, "POST", webhook["path"], content=body, headers=headers)

    assert answer.status_code == 202, answer.text
    execution = await asyncio.to_thread(stack.wait, answer.json()["execution_id"])
    assert execution["status"] == "completed"
    assert stack.messages(execution) == ["Order #1001 needs a look"]


@pytest.mark.parametrize(("amount", "branch"), [(250, "true"), (50, "false")])
async def test_the_document_as_it_is_printed_runs_to_its_end(stack: Stack, amount: int, branch: str) -> None:
    printed = Path(__file__).parents[1] / "cases" / "documents" / "a_order_pipeline.json"

    imported = await asyncio.to_thread(stack.import_file, printed)
    execution = await asyncio.to_thread(stack.run, imported["name"], {"order_id": "1001", "amount": amount})

    assert imported["name"] == "order-pipeline"
    assert {warning["code"] for warning in imported["warnings"]} == {"unknown_branch_target"}
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


async def test_a_trip_without_a_car_is_undone(stack: Stack) -> None:
    execution = await run_example(stack, "trip_booking", Shop(), cars=[])

    told = re.findall(r"```\n(cancelled.*?)\n```", (EXAMPLES / "trip_booking" / "README.md").read_text(), re.DOTALL)[0]
    assert (execution["status"], execution["error"]["step"], execution["output"]) == ("failed", "car", None)
    assert stack.messages(execution) == told.split("\n")
    assert [step["step"] for step in execution["steps"] if step["section"] != "steps"] == [
        "flight.compensate",
        "hotel.compensate",
        "tell",
    ]


async def test_a_job_that_is_late_is_given_up(stack: Stack) -> None:
    execution = await run_example(stack, "deadline", Shop(), job_seconds=3600, most_seconds=0.2)

    statuses = {step["step"]: step["status"] for step in execution["steps"]}
    assert (execution["status"], execution["error"]["message"]) == ("failed", "not done within 0.2 s")
    assert statuses == {
        "job": "cancelled",
        "done": "cancelled",
        "clock": "completed",
        "give_up": "completed",
        "clean_up": "completed",
    }


async def test_other_quotes_may_be_the_first(stack: Stack) -> None:
    execution = await run_example(stack, "fastest_quotes", Shop(), seconds={"post": 3600, "rail": 0.1, "air": 0.2})

    assert execution["output"] == {"best": {"carrier": "Rail", "price": 9}}


async def test_a_letter_is_sent_by_itself_and_none_without_news(stack: Stack) -> None:
    execution = await run_example(stack, "newsletter", Shop())
    nothing = await run_example(stack, "newsletter", Shop(), news=[])

    (letter,) = (step for step in execution["steps"] if step["step"] == "letter")
    sent: dict[str, Any] = {}

    def is_sent() -> bool:
        sent.update(stack.api.rpc("get_execution", execution_id=letter["output"]["execution_id"]).json())
        return bool(sent["status"] == "completed")

    await asyncio.to_thread(wait_for, is_sent, what="the letter")
    assert stack.messages(sent) == ["a letter to ada"]
    assert (nothing["status"], nothing["output"]) == ("completed", {"sent": False})


async def test_one_price_too_many_is_missing(stack: Stack) -> None:
    execution = await run_example(stack, "price_list", Shop(), articles=[{"name": "rope"}])

    readme = (EXAMPLES / "price_list" / "README.md").read_text()
    told = re.findall(r"```\n(1 of 1 iterations .*?)\n```", readme)[0]
    assert (execution["status"], execution["error"]["step"]) == ("failed", "price")
    assert execution["error"]["message"].startswith(told)


def run_shown(stack: Stack, name: str, *more: str) -> list[Any]:
    """What the calls of a README's `sh` block answer; the first starts the execution, with `more` to its command."""
    readme = (EXAMPLES / name / "README.md").read_text()
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)).splitlines()
    started = re.fullmatch(r"ID=\$\((.*)\)", commands[0])
    assert started
    execution_id = stack.flowgres(" ".join((started[1], *more)), folder=EXAMPLES.parent).strip()
    answers: list[Any] = []
    for command in commands[1:]:
        line = command.replace("$ID", execution_id)
        address = re.fullmatch(r'curl -H "X-API-Key: \$KEY" "\$API(/.*)"', line)
        answers.append(stack.api.get(address[1]).json() if address else stack.flowgres(line, folder=EXAMPLES.parent))
    return answers


async def test_the_commands_for_rounds_work(stack: Stack) -> None:
    await run_example(stack, "all_pages", Shop())

    async with Peer(behaviour=Shop()) as peer:
        given = ("-f", f"url={peer.url}/tags", "-f", "per_page=3")
        log, steps, attempts = await asyncio.to_thread(run_shown, stack, "all_pages", *given)

    assert log.count("step_repeated") == 2
    assert steps == [{"status": "completed", "round": 3, "attempts": 3}]
    assert [(row["round"], row["attempt"], row["status"]) for row in attempts] == [
        (number, number, "completed") for number in (1, 2, 3)
    ]


async def test_the_commands_for_schedules_work(stack: Stack) -> None:
    await run_example(stack, "morning_report", Shop())
    readme = (EXAMPLES / "morning_report" / "README.md").read_text()
    commands = re.findall(r"^flowgres schedules (\w+).*$", readme, re.MULTILINE)
    lines = re.findall(r"^flowgres schedules .*$", readme, re.MULTILINE)

    answers = [await asyncio.to_thread(stack.flowgres, line, folder=EXAMPLES.parent) for line in lines]

    said = {command: json.loads(answer) for command, answer in zip(commands, answers, strict=True)}
    assert [row["workflow_name"] for row in said["list"]] == ["morning_report"]
    assert len(said["preview"]["slots"]) == 10
    assert said["trigger"]["status"] == "queued"
    assert (said["backfill"]["slots"], said["backfill"]["started"]) == (5, 5)


async def test_changes_that_come_close_together_are_one_execution(stack: Stack) -> None:
    await run_example(stack, "search_index", Shop())

    def start(change: str) -> dict[str, Any]:
        answer = stack.api.rpc("start_execution", workflow="search_index", input={"product": "mug", "change": change})
        started: dict[str, Any] = answer.json()
        return started

    first, second = start("price"), start("stock")
    assert (first["created"], second["created"]) == (True, False)
    ended: dict[str, Any] = {}

    def has_ended() -> bool:
        ended.update(stack.api.rpc("get_execution", execution_id=first["execution_id"]).json())
        return bool(ended["status"] == "completed")

    await asyncio.to_thread(wait_for, has_ended, what="the execution that both stand for")
    assert ended["output"] == {"indexed": {"product": "mug", "last_change": "stock"}}


async def test_the_commands_for_events_work(stack: Stack) -> None:
    await run_example(stack, "paid_order", Shop())
    readme = (EXAMPLES / "paid_order" / "README.md").read_text()
    lines = re.findall(r"^flowgres events .*$", readme, re.MULTILINE)

    answers = [json.loads(await asyncio.to_thread(stack.flowgres, line, folder=EXAMPLES.parent)) for line in lines]

    assert [row["workflow_name"] for row in answers[0]] == ["paid_order"]
    assert [answer["started"] for answer in answers[1:]] == [1, 0, 0]
    assert answers[2]["executions"] == answers[1]["executions"]


async def test_the_commands_for_notifications_work(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "hook.key").write_text("a key that is long enough")
    readme = (EXAMPLES / "told_failures" / "README.md").read_text()
    said: dict[str, list[Any]] = {}

    def tell() -> None:
        for line in re.findall(r"^flowgres .*$", readme, re.MULTILINE):
            called = line.replace("hook.key", str(tmp_path / "hook.key"))
            if " deliveries " in line:
                wait_for(lambda c=called: json.loads(stack.flowgres(c, folder=EXAMPLES.parent)), what="the delivery")  # type: ignore[misc]
            answer = stack.flowgres(called, folder=EXAMPLES.parent)
            if " notifications " in line:
                said.setdefault(" ".join(line.split()[1:3]), []).append(json.loads(answer))

    await asyncio.to_thread(tell)
    (listed,), (delivered,) = said["notifications list"], said["notifications deliveries"]
    assert [(row["name"], row["events"], row["is_defined"]) for row in listed] == [
        ("told_failures.1", ["failed"], True)
    ]
    assert [(row["event"], row["url"]) for row in delivered] == [("failed", "http://127.0.0.1:9000/hook")]
    (made,), (deleted,) = said["notifications set"], said["notifications delete"]
    assert (made["events"], made["workflow_name"], deleted["deleted"]) == (["failed", "cancelled"], None, True)


async def test_the_commands_for_single_iterations_work(stack: Stack) -> None:
    await run_example(stack, "price_list", Shop())
    readme = (EXAMPLES / "price_list" / "README.md").read_text()
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", readme, re.DOTALL)]

    execution, log, errors, rows, attempts, failed = await asyncio.to_thread(run_shown, stack, "price_list")
    assert json.loads(execution)["status"] == "completed"
    lines = [line.split(maxsplit=3)[1:] for line in log.splitlines()]
    assert ["info", "label[0]", "tea 5.25"] in lines
    (error,) = (line.split(maxsplit=3)[1:] for line in errors.splitlines())
    assert error[:2] == ["error", "price[2]"]
    assert rows == shown[1]
    assert [(row["attempt"], row["status"]) for row in attempts] == [(1, "failed")]
    assert [(row["step"], row["iteration"], row["error"]["code"]) for row in failed] == [
        ("price", 2, "expression_undefined")
    ]


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

    assert listed == {*NAMES, *(path.parent.name for path in EXAMPLES.glob("*/machine.yaml")), PATTERNS}
