"""The cases about documents: YAML, JSON, names, graphs, cron."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from flowgres_definitions.cron import check_cron
from flowgres_definitions.loader import load_definition, load_json
from flowgres_definitions.problems import DefinitionError, Problem
from flowgres_definitions.validation import validate_document
from tests.cases import Case, load_cases


def step(name: Any, depends_on: list[str] | None = None, expression: str = "1") -> dict[str, Any]:
    return {
        "id": name,
        "type": "transform",
        "config": {"expression": expression},
        **({} if depends_on is None else {"depends_on": depends_on}),
    }


def check(text: str) -> list[Problem]:
    try:
        loaded = load_definition(text, source="w.yaml")
    except DefinitionError as error:
        return [error.problem]
    return validate_document(loaded.document, loaded.positions)


@pytest.mark.parametrize("case", load_cases("yaml"), ids=str)
def test_yaml(case: Case) -> None:
    started = time.process_time()
    problems = check(case.input["yaml"])
    elapsed_ms = (time.process_time() - started) * 1000

    assert ("reject_import" if problems else "accept") in case.outcomes
    assert elapsed_ms < case.expectation.get("max_ms", 1000)
    if case.expectation.get("line_number_in_message"):
        assert all(problem.line and problem.column for problem in problems)
    assert all("Traceback" not in problem.message for problem in problems)


@pytest.mark.parametrize("case", load_cases("json"), ids=str)
def test_json(case: Case) -> None:
    text = base64.b64decode(case.input["bytes_b64"]) if "bytes_b64" in case.input else case.input["json_text"]
    started = time.process_time()
    try:
        loaded = load_json(text)
    except DefinitionError:
        outcome = "reject_4xx"
    else:
        outcome = "preserved"
        assert loaded.document.get("n", 9007199254740993) == 9007199254740993
    assert outcome in case.outcomes
    assert time.process_time() - started < 3


@pytest.mark.parametrize("case", load_cases("cron"), ids=str)
def test_cron(case: Case) -> None:
    started = time.process_time()
    problems = check_cron(case.input["cron"], case.input.get("tz", "UTC"))

    # Those that must fire are at least accepted here; when they fire is the scheduler's to show.
    assert ("reject_import" in case.outcomes) == bool(problems)
    assert (time.process_time() - started) * 1000 < case.expectation.get("max_ms", 200)


@pytest.mark.parametrize("case", [case for case in load_cases("name") if "names" not in case.input], ids=str)
def test_name(case: Case) -> None:
    name = case.input.get("name", case.input.get("text"))
    places = case.input["where"]
    found = []
    if "step.id" in places:
        found.append(validate_document({"name": "w", "steps": [step(name)]}))
    if {"workflow.slug", "workflow.display_name"} & set(places):
        found.append(validate_document({"name": name, "steps": [step("a")]}))
    if "webhook.path" in places:
        trigger = {"type": "webhook", "path": name, "scheme": "none"}
        found.append(validate_document({"name": "w", "triggers": [trigger], "steps": [step("a")]}))

    for problems in found:
        assert ("reject_4xx" if problems else "accept") in case.outcomes


def graph_of(given: dict[str, Any]) -> dict[str, Any]:
    edges = [tuple(edge.split(">")) for edge in given["edges"]]
    ids = given.get("steps") or list(dict.fromkeys(name for edge in edges for name in edge))
    parents: dict[str, list[str]] = {name: [] for name in ids}
    for parent, child in edges:
        parents[child].append(parent)
    steps = [step(name, parents[name]) for name in ids]
    if "template_in_b" in given:
        steps[1]["config"]["expression"] = given["template_in_b"]
    return {"name": "w", "steps": steps}


@pytest.mark.parametrize("case", [case for case in load_cases("dag") if "edges" in case.input], ids=str)
def test_graph(case: Case) -> None:
    document = graph_of(case.input)
    started = time.process_time()
    problems = validate_document(document)

    outcome = "reject_import" if problems else "completes"
    merged = case.input.get("also_ok") is not None and not problems
    assert outcome in case.outcomes or merged
    assert (time.process_time() - started) * 1000 < case.expectation.get("max_ms", 1000)
    if case.expectation.get("names_offender") and case.input["edges"] and problems:
        names = {name for edge in case.input["edges"] for name in edge.split(">")}
        assert any(
            f'"{name}"' in problem.message or repr(name) in problem.message or f"{name} -> " in problem.message
            for problem in problems
            for name in names
        )


@pytest.mark.parametrize("case", [case for case in load_cases("dag") if "on_true" in case.input], ids=str)
def test_branches(case: Case) -> None:
    config = {
        "expression": "{{ true }}",
        "true_branch": [case.input["on_true"]],
        "false_branch": [case.input["on_false"]],
    }
    steps = [{"id": case.input["condition"], "type": "condition", "config": config}, step("x")]

    problems = validate_document({"name": "w", "steps": steps})

    assert ("reject_import" if problems else "completes") in case.outcomes
    assert any(case.input["on_true"] in problem.message for problem in problems)
