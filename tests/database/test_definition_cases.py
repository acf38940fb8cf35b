"""The cases of kind `dag` and `name`: hostile and control definitions, as far as an import decides them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowgres_definitions.dialects import translate
from tests.support.database import Database
from tests.support.definitions import (
    Author,
    Definition,
    condition,
    from_edges,
    listed_step,
    log_step,
    sub_workflow,
    workflow,
)

LINES = Path(__file__).parents[1].joinpath("cases/cases.jsonl").read_text().splitlines()


def cases(kind: str) -> list[Any]:
    found = [case for case in map(json.loads, LINES) if case["kind"] == kind]
    return [pytest.param(case["input"], case["expectation"], id=case["id"]) for case in found]


@pytest.fixture(scope="module")
def shared_author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


@pytest.fixture
def author(shared_author: Author) -> Author:
    """A new tenant on the shared connection."""
    return Author(shared_author.database, shared_author.db)


def expand(given: dict[str, Any]) -> dict[str, Any]:
    """Write out a generated graph as steps and edges."""
    number = given.get("n", 0)
    ids = [f"s{place}" for place in range(number)]
    match given.get("gen"):
        case "ring":
            edges = [*pairwise(ids), (ids[-1], ids[0])]
        case "chain":
            edges = list(pairwise(ids))
        case "fan":
            edges = [(ids[0], step) for step in ids[1:-1]] + [(step, ids[-1]) for step in ids[1:-1]]
        case _:
            return given
    return {"steps": ids, "edges": [">".join(edge) for edge in edges]}


def definition_of(given: dict[str, Any]) -> Definition:
    """The definition that a case describes."""
    if "condition" in given:
        branches = condition(given["condition"], true=[given["on_true"]], false=[given["on_false"]])
        return workflow(branches, listed_step("x"))
    if "shape" in given:
        steps = (condition("c", true=["x"], false=["y"], depends_on=[]), listed_step("x"), listed_step("y"))
        return workflow(*steps, log_step("join", "x", "y"))
    written = expand(given)
    definition = from_edges(written["edges"], written.get("steps"))
    if "template_in_b" in given:
        definition["steps"][1]["config"]["message"] = given["template_in_b"]
    return definition


GRAPHS = [case for case in cases("dag") if not {"workflows", "depth"} & case.values[0].keys()]


@pytest.mark.parametrize(("given", "expected"), GRAPHS)
def test_graph_is_refused_or_accepted(author: Author, given: dict[str, Any], expected: dict[str, Any]) -> None:
    definition = definition_of(given)
    elapsed_ms = math.inf
    for _ in range(3):
        started = time.monotonic()
        check = author.check(definition)
        # The best of three: what the machine does besides is not what the bound is about.
        elapsed_ms = min(elapsed_ms, (time.monotonic() - started) * 1000)
        if elapsed_ms < expected.get("max_ms", 1000):
            break
    if "also_ok" in given:
        # A repeated edge is merged, so the step runs once.
        assert check["definition"]["steps"][1]["depends_on"] == ["a"]
        return
    assert check["valid"] == (expected["outcome"] == ["completes"]), check["errors"]
    assert elapsed_ms < expected.get("max_ms", 1000)
    if expected.get("names_offender"):
        told = json.dumps(check["errors"])
        assert not definition["steps"] or any(step["id"] in told for step in definition["steps"])
    if "cycle path" in expected["reason"]:
        assert " -> " in next(error for error in check["errors"] if error["code"] == "cycle")["message"]


def test_sub_workflows_nested_too_deep_are_refused_leaf_first(author: Author) -> None:
    author.import_(workflow(log_step("a"), name="level4"))
    for level in (3, 2, 1):
        author.import_(workflow(sub_workflow("call", f"level{level + 1}"), name=f"level{level}"))
    check = author.check(workflow(sub_workflow("call", "level1"), name="level0"))
    (error,) = check["errors"]
    assert (error["code"], error["path"]) == ("sub_workflow_too_deep", "steps[0].config.workflow")
    assert "level4" in error["message"]


def test_sub_workflows_nested_too_deep_are_refused_root_first(author: Author) -> None:
    for level in range(3):
        result = author.import_(workflow(sub_workflow("call", f"level{level + 1}"), name=f"level{level}"))
        assert [warning["code"] for warning in result["warnings"]] == ["workflow_not_found"]
    # level4 does not exist yet, but that it would be the fifth level is known.
    errors = author.errors(workflow(sub_workflow("call", "level4"), name="level3"))
    assert errors == {"steps[0].config.workflow": "sub_workflow_too_deep"}
    assert author.errors(workflow(log_step("a"), name="level3")) == {}


def test_nesting_of_three_levels_is_accepted(author: Author) -> None:
    author.import_(workflow(log_step("a"), name="level3"))
    for level in (2, 1, 0):
        author.import_(workflow(sub_workflow("call", f"level{level + 1}"), name=f"level{level}"))


def test_recursion_is_refused(author: Author) -> None:
    assert author.errors(workflow(sub_workflow("call", "w1"), name="w1")) == {
        "steps[0].config.workflow": "sub_workflow_recursion"
    }
    author.import_(workflow(sub_workflow("call", "b"), name="a"))
    errors = author.errors(workflow(sub_workflow("call", "a"), name="b"))
    assert errors == {"steps[0].config.workflow": "sub_workflow_recursion"}


NAMES = [case for case in cases("name") if "where" in case.values[0]]


def name_of(given: dict[str, Any]) -> str:
    name: str = given["unit"] * given["n"] if given.get("gen") == "text" else given["name"]
    return name


@pytest.mark.parametrize(("given", "expected"), NAMES)
def test_name_is_refused_or_accepted(author: Author, given: dict[str, Any], expected: dict[str, Any]) -> None:
    name = name_of(given)
    for where in given["where"]:
        definition = {
            "step.id": workflow(log_step(name)),
            "workflow.slug": workflow(log_step("a"), name=name),
            "webhook.path": workflow(log_step("a"), triggers=[{"type": "webhook", "path": name}]),
            # A title is a name at the edge alone.
            "workflow.display_name": translate(workflow(log_step("a"), name=name)).document,
        }[where]
        try:
            check = author.check(definition)
        except psycopg.errors.UntranslatableCharacter:
            # JSON with a NUL character is no jsonb: PostgREST answers 400.
            assert "\0" in name
            continue
        assert check["valid"] == (expected["outcome"] == ["accept"]), (where, check["errors"])


def test_names_that_differ_in_case_alone_are_a_conflict(author: Author) -> None:
    author.import_translated(workflow(log_step("a"), name="Report"))
    with pytest.raises(psycopg.Error, match="belongs to the workflow") as caught:
        author.import_translated(workflow(log_step("b"), name="report"))
    assert (caught.value.sqlstate, caught.value.diag.constraint_name) == ("FG409", "workflow_name_taken")
    with pytest.raises(psycopg.Error, match="belongs to the workflow"):
        author.import_translated(workflow(log_step("b"), name="REPORT"))
    assert author.import_translated(workflow(log_step("b"), name="report", title="Report"))["version"] == 2


def test_same_name_in_two_tenants_is_no_conflict(author: Author) -> None:
    author.import_translated(workflow(log_step("a"), name="Report"))
    other = Author(author.database, author.db)
    assert other.import_(workflow(log_step("a"), name="report"))["created"]
