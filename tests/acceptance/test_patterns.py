"""The workflow patterns of examples/patterns: each file is run on a whole stack, and the README tells what is true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.runner import wait_for
from tests.support.stack import Stack, check

PATTERNS = Path(__file__).parents[2] / "examples" / "patterns"
TASK = "task.yaml"  # what several patterns call
EXPECTED: dict[str, list[dict[str, Any]]] = json.loads((PATTERNS / "expected.json").read_text())
RUNS = [pytest.param(file, run, id=f"{file}-{at}") for file, runs in EXPECTED.items() for at, run in enumerate(runs)]

# As the revised view of 2006 (BPM-06-22) names and numbers them.
NAMES = """
Sequence · Parallel Split · Synchronization · Exclusive Choice · Simple Merge · Multi-Choice ·
Structured Synchronizing Merge · Multi-Merge · Structured Discriminator · Arbitrary Cycles · Implicit Termination ·
Multiple Instances without Synchronization · Multiple Instances with a priori Design-Time Knowledge ·
Multiple Instances with a priori Run-Time Knowledge · Multiple Instances without a priori Run-Time Knowledge ·
Deferred Choice · Interleaved Parallel Routing · Milestone · Cancel Activity · Cancel Case · Structured Loop ·
Recursion · Transient Trigger · Persistent Trigger · Cancel Region · Cancel Multiple Instance Activity ·
Complete Multiple Instance Activity · Blocking Discriminator · Cancelling Discriminator · Structured Partial Join ·
Blocking Partial Join · Cancelling Partial Join · Generalized AND-Join ·
Static Partial Join for Multiple Instances · Cancelling Partial Join for Multiple Instances ·
Dynamic Partial Join for Multiple Instances · Acyclic Synchronizing Merge · General Synchronizing Merge ·
Critical Section · Interleaved Routing · Thread Merge · Thread Split · Explicit Termination
"""
HOW = ("full", "partly", "no")
ENDED = ("completed", "failed", "skipped", "cancelled")


def rows() -> Iterator[list[str]]:
    """The table of the README: number, name, what it means, full, partly or no, and how."""
    for line in (PATTERNS / "README.md").read_text().splitlines():
        if re.match(r"\| \d+ \|", line):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def files() -> set[str]:
    return {path.name for path in PATTERNS.glob("*.yaml")}


@pytest.fixture(scope="module")
def imported(stack: Stack) -> dict[str, str]:
    """All patterns on the server: the names of their workflows by file."""
    return {name: stack.import_file(PATTERNS / name)["name"] for name in sorted(files(), key=lambda name: name != TASK)}


def children(stack: Stack, execution_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.api.get(
        "/executions", params={"parent_execution_id": f"eq.{execution_id}", "order": "created_at"}
    ).json()
    return found


def iterations(stack: Stack, execution_id: str, step: str) -> list[dict[str, Any]]:
    """The rows of what a step with `foreach` has begun, in the order of its items."""
    chosen = {"execution_id": f"eq.{execution_id}", "step": f"eq.{step}", "iteration": "not.is.null"}
    found: list[dict[str, Any]] = stack.api.get("/step_executions", params={**chosen, "order": "iteration"}).json()
    return found


def instances(stack: Stack, execution_id: str, step: str) -> list[str]:
    """How each of these stands."""
    return [row["status"] for row in iterations(stack, execution_id, step)]


@pytest.mark.parametrize(("file", "expected"), RUNS)
def test_a_pattern_does_what_it_says(
    stack: Stack, imported: dict[str, str], file: str, expected: dict[str, Any]
) -> None:
    execution = stack.run(imported[file], expected["input"])

    steps = {step: {"status": status} for step, status in expected["steps"].items()}
    check(execution, {**expected, "steps": steps})


@pytest.mark.parametrize(
    ("file", "seconds"),
    [
        ("17_interleaved_parallel_routing.yaml", {"pick": 0, "pack": 0, "invoice": 0}),
        ("39_critical_section.yaml", {"deposit": 0, "insurance": 0}),
        ("40_interleaved_routing.yaml", {"oil": 0, "brakes": 0, "lights": 0}),
    ],
)
def test_what_excludes_each_other_runs_once_and_one_by_one(
    stack: Stack, imported: dict[str, str], file: str, seconds: dict[str, float]
) -> None:
    execution = stack.run(imported[file], {"seconds": seconds})

    tasks = children(stack, execution["id"])
    assert sorted(task["output"]["name"] for task in tasks) == sorted(seconds)
    for before, after in pairwise(tasks):
        assert datetime.fromisoformat(before["finished_at"]) <= datetime.fromisoformat(after["created_at"])


@pytest.mark.parametrize("slow", ["pick", "pack", "invoice"])
def test_interleaved_tasks_keep_their_partial_order(stack: Stack, imported: dict[str, str], slow: str) -> None:
    seconds = {"pick": 0, "pack": 0, "invoice": 0, slow: 0.2}

    execution = stack.run(imported["17_interleaved_parallel_routing.yaml"], {"seconds": seconds})

    order = [task["output"]["name"] for task in children(stack, execution["id"])]
    assert order.index("pick") < order.index("pack")


@pytest.mark.parametrize(
    ("file", "step", "late"),
    [("09_structured_discriminator.yaml", "treat", "pulse"), ("30_structured_partial_join.yaml", "print", "eve")],
)
def test_what_follows_a_partial_join_does_not_wait_for_the_rest(
    stack: Stack, imported: dict[str, str], file: str, step: str, late: str
) -> None:
    execution_id = stack.start(imported[file], {"seconds": 3600})

    def has_run() -> bool:
        steps = {one["step"]: one["status"] for one in stack.get(execution_id)["steps"]}
        return steps[step] == "completed" and steps[late] not in ENDED

    wait_for(has_run, what=f"{step}, while {late} still waits")
    assert stack.get(execution_id)["status"] not in ENDED
    assert stack.api.rpc("cancel_execution", execution_id=execution_id).status_code == 200


def test_a_withdrawn_case_takes_its_sub_workflow_along(stack: Stack, imported: dict[str, str]) -> None:
    execution = stack.run(imported["20_cancel_case.yaml"], {})

    wait_for(lambda: all(child["status"] == "cancelled" for child in children(stack, execution["id"])), what="the stop")


def test_a_case_is_withdrawn_from_outside_as_well(stack: Stack, imported: dict[str, str]) -> None:
    execution_id = stack.start(imported["20_cancel_case.yaml"], {"is_insured": True})
    wait_for(lambda: children(stack, execution_id), what="the sub-workflow")

    assert stack.api.rpc("cancel_execution", execution_id=execution_id).status_code == 200

    wait_for(lambda: stack.get(execution_id)["status"] == "cancelled", what="the cancel")
    wait_for(lambda: children(stack, execution_id)[0]["status"] == "cancelled", what="the cancel of the sub-workflow")


def test_nobody_waits_for_instances_without_synchronization(stack: Stack, imported: dict[str, str]) -> None:
    execution_id = stack.start(imported["12_multiple_instances_without_synchronization.yaml"], {"seconds": 3600})

    def has_run() -> bool:
        steps = {one["step"]: one["status"] for one in stack.get(execution_id)["steps"]}
        return steps["archive"] == "completed" and instances(stack, execution_id, "notify") == ["waiting"] * 3

    wait_for(has_run, what="archive, while all notices are still under way")
    assert stack.get(execution_id)["status"] not in ENDED
    assert stack.api.rpc("cancel_execution", execution_id=execution_id).status_code == 200


@pytest.mark.parametrize(
    ("file", "step", "after"),
    [
        ("13_multiple_instances_design_time.yaml", "sign", "issue"),
        ("14_multiple_instances_run_time.yaml", "check", "diagnose"),
    ],
)
def test_what_follows_instances_waits_for_all_of_them(
    stack: Stack, imported: dict[str, str], file: str, step: str, after: str
) -> None:
    execution = stack.run(imported[file], {})

    rows = iterations(stack, execution["id"], step)
    begun = next(one["started_at"] for one in execution["steps"] if one["step"] == after)
    assert [row["status"] for row in rows] == ["completed"] * 3
    assert max(datetime.fromisoformat(row["finished_at"]) for row in rows) <= datetime.fromisoformat(begun)


def test_instances_that_are_left_are_withdrawn_and_no_others(stack: Stack, imported: dict[str, str]) -> None:
    cancelled = stack.run(imported["26_cancel_multiple_instance_activity.yaml"], {"recall_seconds": 1.5})
    completed = stack.run(imported["27_complete_multiple_instance_activity.yaml"], {"enough_seconds": 1.5})
    enough = stack.run(imported["35_cancelling_partial_join_multiple_instances.yaml"], {})

    # The fourth one of the first had not begun.
    assert instances(stack, cancelled["id"], "test") == ["completed", "cancelled", "cancelled"]
    assert instances(stack, completed["id"], "test") == ["completed", "cancelled", "cancelled"]
    assert instances(stack, enough["id"], "examine") == ["completed", "cancelled", "completed"]

    def are_withdrawn() -> bool:
        tasks = {task["input"]["name"]: task["status"] for task in children(stack, cancelled["id"])}
        return tasks == {"sample 0": "completed", "sample 1": "cancelled", "sample 2": "cancelled"}

    wait_for(are_withdrawn, what="the sub-workflows of the instances")


def test_what_follows_enough_instances_does_not_wait_for_the_rest(stack: Stack, imported: dict[str, str]) -> None:
    execution_id = stack.start(imported["34_static_partial_join_multiple_instances.yaml"], {"seconds": [0, 3600, 0]})

    def packed() -> list[Any]:
        return [one["output"] for one in stack.get(execution_id)["steps"] if one["step"] == "pack"]

    wait_for(lambda: packed() == [{"examined": ["sample 0", "sample 2"]}], what="pack, after two samples")
    assert instances(stack, execution_id, "examine") == ["completed", "waiting", "completed"]
    assert stack.get(execution_id)["status"] not in ENDED
    assert stack.api.rpc("cancel_execution", execution_id=execution_id).status_code == 200


def test_the_table_has_all_patterns_by_number_and_name() -> None:
    names = [name.strip() for name in NAMES.split("·")]

    assert len(names) == 43
    assert [(int(row[0]), row[1]) for row in rows()] == list(enumerate(names, start=1))
    assert {row[3] for row in rows()} == set(HOW)


def test_the_table_links_to_every_file_and_to_no_other() -> None:
    linked: set[str] = set()
    for number, _, _, how, text in rows():
        found = re.findall(r"\]\(([^)]+)\)", text)
        linked |= set(found)
        assert bool(found) == (how != "no"), number
        if how == "full":
            assert found[0].startswith(f"{int(number):02}_"), number

    elsewhere = {target for target in linked if target.startswith("../")}
    assert all((PATTERNS / target).exists() for target in elsewhere)
    assert linked - elsewhere == files() - {TASK}
    assert set(EXPECTED) == files() - {TASK}


def test_the_readme_counts_right() -> None:
    text = (PATTERNS / "README.md").read_text()
    counted = [sum(row[3] == how for row in rows()) for how in HOW]

    assert "Of the 43 patterns {} are there in full, {} partly, {} not.".format(*counted) in " ".join(text.split())


def test_the_commands_of_the_readme_name_what_is_there() -> None:
    text = (PATTERNS / "README.md").read_text()
    known = {re.findall(r"^name: (\w+)$", (PATTERNS / name).read_text(), re.MULTILINE)[0] for name in files()}

    for path in re.findall(r"examples/[\w./-]+", text):
        assert (PATTERNS.parents[1] / path).exists(), path
    assert set(re.findall(r"flowgres run (\w+)", text)) <= known


@pytest.mark.parametrize("file", sorted(files() - {TASK}))
def test_a_file_begins_with_its_pattern(file: str) -> None:
    text = (PATTERNS / file).read_text()
    number = int(file[:2])
    name = next(row[1] for row in rows() if int(row[0]) == number)

    assert text.startswith(f"# WCP-{number} {name}")
    assert f"\nname: pattern_{file[3:].removesuffix('.yaml')}\n" in text
    assert 3 <= len(re.findall(r"^  - (?:\{id|id):", text, re.MULTILINE)) <= 8
