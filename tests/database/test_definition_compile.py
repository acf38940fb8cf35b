"""From a definition to the rows that executions run on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.database import Database
from tests.support.definitions import Author, Definition, condition, listed_step, log_step, workflow


@pytest.fixture(scope="module")
def shared_author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


@pytest.fixture
def author(shared_author: Author) -> Author:
    return Author(shared_author.database, shared_author.db)


def compile_(author: Author, *steps: Any, **members: Any) -> tuple[dict[str, Definition], Definition]:
    """Import a workflow; its compiled steps by id, and the row of its version."""
    version_id = author.import_(workflow(*steps, **members))["version_id"]
    return author.steps(version_id), author.version(version_id)


def test_edges_are_stored_in_both_directions(author: Author) -> None:
    steps, version = compile_(author, log_step("a"), log_step("b", "a"), log_step("c", "a"), log_step("d", "b", "c"))
    assert [(step["dependencies"], step["children"]) for step in steps.values()] == [
        ([], [1, 2]),
        ([0], [3]),
        ([0], [3]),
        ([1, 2], []),
    ]
    assert (version["root_indexes"], version["sink_indexes"], version["step_count"]) == ([0], [3], 4)
    assert version["hidden_step_count"] == 0


def test_condition_has_branches_and_its_targets_gates(author: Author) -> None:
    steps, _ = compile_(author, condition("c", true=["x"], false=["y"]), *(listed_step(step) for step in "xyz"))
    assert steps["c"]["branches"] == {"true": [1], "false": [2]}
    assert {step: row["gates"] for step, row in steps.items()} == {"c": [], "x": [0], "y": [0], "z": []}
    assert steps["z"]["dependencies"] == [1, 2]
    assert steps["x"]["branches"] is None


def test_switch_has_a_branch_for_each_case_and_one_for_all_others(author: Author) -> None:
    cases = [{"equals": 1, "next": "x"}, {"equals": [2], "next": ["y", "x"]}]
    switch = {"id": "s", "type": "switch", "config": {"value": "{{ input.n }}", "cases": cases, "default": ["y"]}}
    steps, _ = compile_(author, switch, *(listed_step(step) for step in "xyz"))
    assert steps["s"]["branches"] == {"case 1": [1], "case 2": [1, 2], "default": [2]}
    assert {step: row["gates"] for step, row in steps.items()} == {"s": [], "x": [0], "y": [0], "z": []}
    assert steps["z"]["dependencies"] == [1, 2]
    del switch["config"]["default"]  # type: ignore[attr-defined]
    steps, _ = compile_(author, switch, *(listed_step(step) for step in "xyz"))
    assert steps["s"]["branches"]["default"] == []
    assert steps["z"]["dependencies"] == [0, 1, 2], "what follows joins the switch, too: its default leads straight on"


def test_outputs_are_a_hidden_last_step(author: Author) -> None:
    outputs = {"total": "{{ steps.a.output.total }}", "late": "{{ steps.c.status }}"}
    steps, version = compile_(author, log_step("a"), log_step("b", "a"), log_step("c", "a"), outputs=outputs)
    hidden = steps["$outputs"]
    assert (hidden["index"], hidden["type"], hidden["join_rule"], hidden["capability"]) == (3, "outputs", "end", "core")
    assert (hidden["dependencies"], hidden["reference_indexes"], hidden["config"]) == ([1, 2], [0, 2], outputs)
    assert steps["b"]["children"] == [3]
    assert (version["sink_indexes"], version["step_count"], version["hidden_step_count"]) == ([3], 3, 1)


def test_step_knows_what_its_expressions_name(author: Author) -> None:
    http = {
        "id": "c",
        "type": "http",
        "depends_on": ["b"],
        "when": "{{ steps.a.status == 'completed' }}",
        "config": {"url": "https://x", "headers": {"A": "{{ secrets.KEY }}", "B": "{{ steps['b'].output }}"}},
    }
    steps, _ = compile_(author, log_step("z"), log_step("a"), log_step("b", "a"), http)
    assert (steps["c"]["reference_indexes"], steps["c"]["secret_names"]) == ([1, 2], ["KEY"])
    assert steps["c"]["when_expression"] == "{{ steps.a.status == 'completed' }}"


def test_retry_and_timeout_have_defaults(author: Author) -> None:
    steps, _ = compile_(author, log_step("a"), log_step("b", timeout="5s", retry={"attempts": 1, "errors": [503]}))
    retry = (
        "max_attempts",
        "retry_delay_seconds",
        "retry_factor",
        "retry_max_delay_seconds",
        "retry_jitter",
        "retry_errors",
    )
    assert [steps["a"][key] for key in retry] == [3, 1, 2, 300, True, ["timeout", "connect", "429", "5xx"]]
    assert [steps["b"][key] for key in retry] == [1, 1, 2, 300, True, ["503"]]
    assert (steps["a"]["timeout_seconds"], steps["b"]["timeout_seconds"]) == (None, 5)


def test_failure_is_handled_by_a_child_that_joins_on_it(author: Author) -> None:
    steps, _ = compile_(
        author,
        log_step("a"),
        log_step("b", "a", join="failed"),
        log_step("c", "a", join="always", on_error="skip"),
        log_step("d", "c"),
    )
    assert [step["failure_handled"] for step in steps.values()] == [True, False, False, False]
    assert [step["join_rule"] for step in steps.values()] == ["default", "failed", "always", "default"]
    assert steps["c"]["on_error"] == "skip"


def test_custom_type_is_its_own_capability(author: Author) -> None:
    author.db.run("insert into flowgres.step_types (type) values ('paint') on conflict do nothing")
    steps, _ = compile_(author, {"id": "a", "type": "paint"}, listed_step("b"))
    assert [(step["capability"], step["config"]) for step in steps.values()] == [
        ("paint", {}),
        ("core", {"message": "x"}),
    ]


def test_settings_are_columns_of_the_version(author: Author) -> None:
    settings = {"timeout": "2h", "priority": 1, "correlation_id": "$.order_id"}
    inputs = {"order_id": {"type": "string"}}
    _, version = compile_(author, log_step("a"), settings=settings, inputs=inputs, version="1.10")
    assert (version["timeout_seconds"], version["priority"], version["version_label"]) == (7200, 1, "1.10")
    assert (version["correlation_path"], version["inputs"]) == ('$."order_id"', inputs)
    _, plain = compile_(author, log_step("a"), name="plain")
    assert (plain["timeout_seconds"], plain["priority"], plain["correlation_path"]) == (300, 5, None)


def test_output_template_is_kept(author: Author) -> None:
    template = {"score": "{{ response.body.score }}"}
    steps, _ = compile_(author, {"id": "a", "type": "http", "config": {"url": "https://x"}, "output": template})
    assert steps["a"]["output_template"] == template


@pytest.mark.parametrize(
    ("part", "sees"),
    [
        ({"when": "{{ instance.state == 'paid' }}"}, True),
        ({"when": "{{ input.x and\ninstance.state == 'paid' }}"}, True),
        ({"when": "{{ input.x and\tinstance.state == 'paid' }}"}, True),
        ({"config": {"message": "{{ instance }}"}}, True),
        ({"config": {"message": ["{{ (instance or input.x)['state'] }}"]}}, True),
        ({"output": "{{ output ~ instance.state }}"}, True),
        ({"config": {"message": "{{ steps.a.output.instance }} {{ input.instances }}"}}, False),
        ({"config": {"message": {"instance": "{{ input.x }}"}}}, False),
        ({}, False),
    ],
)
def test_step_that_names_the_instance_is_known_and_never_run_ahead(
    author: Author, part: dict[str, Any], sees: bool
) -> None:
    version_id = author.import_(workflow(log_step("a"), log_step("b", "a") | part))["version_id"]
    steps = author.db.call("flowgres.get_version", p_version_id=version_id)["steps"]
    assert [step["sees_instance"] for step in steps] == [False, sees]
    assert steps[0]["next"] == (None if sees else 1)
