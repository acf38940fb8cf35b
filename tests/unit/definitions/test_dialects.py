"""The words of other systems are read as ours, and every value remembers where its author wrote it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from flowgres_definitions.description import description
from flowgres_definitions.dialects import slugify, translate
from flowgres_definitions.loader import load_yaml
from flowgres_definitions.validation import validate_document
from tests.support.definitions import condition, listed_step, log_step, workflow

DOCUMENTED = json.loads((Path(__file__).parents[2] / "cases" / "documents" / "a_order_pipeline.json").read_text())


def ours(document: dict[str, Any]) -> dict[str, Any]:
    return translate(document).document


def test_display_name_is_kept_as_title() -> None:
    document = ours(workflow(log_step("a"), name="Order Pipeline"))
    assert (document["name"], document["title"]) == ("order-pipeline", "Order Pipeline")


def test_header_is_lifted() -> None:
    header = {"name": "w", "version": 3, "metadata": {"team": "a"}}
    assert ours({"workflow": header, "steps": []}) == {**header, "steps": []}


def test_json_of_the_first_predecessor_is_read_without_its_secret() -> None:
    found = translate(DOCUMENTED)

    assert found.document["triggers"] == [{"type": "webhook", "secret": "ORDER_PIPELINE_WEBHOOK_SECRET"}]
    assert not found.document.keys() & {"trigger_type", "webhook_secret"}
    assert found.secret is not None
    assert found.secret.value == DOCUMENTED["webhook_secret"]
    assert found.secret.value not in json.dumps([found.document, found.source])
    assert found.secret.value not in repr(found)
    assert ours(found.source) == found.document, "what is kept can be imported again"
    config = next(step for step in found.document["steps"] if step["type"] == "condition")["config"]
    assert (config["true_branch"], config["false_branch"]) == ([], [])
    assert [problem.code for _, problem in found.warnings] == ["unknown_branch_target"] * 2


def test_branch_that_leads_nowhere_is_a_mistake_in_our_words() -> None:
    document = workflow(condition("c", true=["ghost", "x", "wraith"], false=["x"]), listed_step("x"))
    assert ours(document)["steps"][0]["config"]["true_branch"] == ["ghost", "x", "wraith"]
    shorthand = translate(document | {"trigger_type": "manual"})
    assert shorthand.document["steps"][0]["config"]["true_branch"] == ["x"]
    assert [path[-2:] for path, _ in shorthand.warnings] == [("true_branch", 0), ("true_branch", 2)]


def test_type_of_a_trigger_may_be_said_twice_but_not_contradicted() -> None:
    written = workflow(log_step("a"), trigger_type="webhook", triggers=[{"type": "webhook", "secret": "KEY"}])
    assert ours(written)["triggers"] == [{"type": "webhook", "secret": "KEY"}]
    assert "trigger_type" not in ours(written)
    assert ours(written | {"trigger_type": "cron"})["trigger_type"] == "cron"


def test_cron_shorthand_is_a_trigger() -> None:
    document = ours(workflow(log_step("a"), trigger_type="cron", cron_expression="0 6 * * 1-5"))
    assert document["triggers"] == [{"type": "cron", "cron": "0 6 * * 1-5"}]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (
            {"task_type": "http_request", "name": "a", "url": "http://x", "method": "post", "timeout_seconds": 5},
            {"id": "a", "type": "http", "config": {"url": "http://x", "method": "post"}, "timeout": 5},
        ),
        (
            {"name": "a", "type": "data_transform", "config": {"expression": "{{ trigger.body.x }}"}, "max_retries": 2},
            {
                "id": "a",
                "type": "transform",
                "config": {"expression": "{{ trigger.payload.x }}"},
                "retry": {"attempts": 3},
            },
        ),
        (
            {"id": "a", "type": "trigger"},
            {"id": "a", "type": "transform", "config": {"expression": "{{ trigger.payload }}"}},
        ),
        (
            {
                "id": "a",
                "type": "conditional",
                "condition": {"field": "x", "operator": "eq", "value": 1},
                "on_true": [],
            },
            {"id": "a", "type": "condition", "config": {"field": "x", "operator": "eq", "value": 1, "true_branch": []}},
        ),
        (
            {"id": "a", "type": "conditional", "condition": {"field": "trigger.body.x", "operator": "exists"}},
            {"id": "a", "type": "condition", "config": {"field": "trigger.payload.x", "operator": "exists"}},
        ),
        (
            {"id": "a", "type": "conditional", "condition": "{{ input.x }}", "on_true": "b", "on_false": ["x"]},
            {
                "id": "a",
                "type": "condition",
                "config": {"expression": "{{ input.x }}", "true_branch": "b", "false_branch": ["x"]},
            },
        ),
        (
            {"id": "a", "type": "log", "message": "x", "config": {"level": "WARN"}},
            {"id": "a", "type": "log", "config": {"level": "warning", "message": "x"}},
        ),
        (
            {"id": "a", "type": "sub_workflow", "config": {"workflow_name": "child", "input_mapping": {"x": 1}}},
            {"id": "a", "type": "sub_workflow", "config": {"workflow": "child", "input": {"x": 1}}},
        ),
        (
            {"id": "a", "name": "Say it", "type": "log", "step_order": 3, "message": "x", "foo": 1},
            {"id": "a", "description": "Say it", "type": "log", "foo": 1, "config": {"message": "x"}},
        ),
    ],
)
def test_words_of_a_step(written: dict[str, Any], meant: dict[str, Any]) -> None:
    assert ours(workflow(written))["steps"] == [meant]


def test_step_order_sorts_when_every_step_has_one() -> None:
    steps = (listed_step("b", step_order=2), listed_step("a", step_order=1))
    assert [step["id"] for step in ours(workflow(*steps))["steps"]] == ["a", "b"]
    steps = (listed_step("b", step_order=2), listed_step("a"))
    assert [step["id"] for step in ours(workflow(*steps))["steps"]] == ["b", "a"]


def test_our_words_stay_as_they_are() -> None:
    document = workflow(condition("c", true=["x"], false=[]), listed_step("x"), defaults={"timeout": "5s"})
    assert ours(document) == document


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("- {id: b, type: log, step_order: 2}\n- {id: a, type: log, step_order: 1}", "steps[1].config.message", 4),
        ("- id: a\n  type: log\n  message: x\n  max_retries: 200", "steps[0].max_retries", 6),
        ("- id: a\n  type: log\n  config: {message: x}\n  retry: 200", "steps[0].retry", 6),
        ("- id: a\n  type: delay\n  duration: soon", "steps[0].duration", 5),
        ("- id: a\n  type: http\n  url: https://x\n  expected_status: 999", "steps[0].expected_status", 6),
        ("- id: a\n  type: log\n  message: x\n  depends_on: z", "steps[0].depends_on", 6),
        ("- {id: a, type: log}\n- {id: b, type: log, depends_on: [a, a, z]}", "steps[1].depends_on[2]", 4),
        ("- id: c\n  type: conditional\n  condition:\n    field: x\n    operator: y", "steps[0].condition.operator", 7),
    ],
)  # fmt: skip
def test_problems_are_told_where_the_author_wrote(text: str, path: str, line: int) -> None:
    loaded = load_yaml(f"name: w\nsteps:\n{text}\n")
    found = [(problem.path, problem.line) for problem in validate_document(loaded.document, loaded.positions)]
    assert (path, line) in found


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Order Pipeline", "order-pipeline"),
        ("Zürich – Ünïcode 👍", "zurich-unicode"),
        ("3 day plan", "w-3-day-plan"),
        ("Straße", "strasse"),
        ("A" * 80, "a" * 63),
        ("日本語", "w-77710aedc7"),
    ],
)
def test_title_becomes_a_name(title: str, name: str) -> None:
    assert slugify(title) == name


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"trigger_type": "webhook"}, ("trigger_type",)),
        ({"trigger_type": "webhook", "webhook_secret": "x"}, ("trigger_type",)),
        ({"webhook_secret": "x"}, ("webhook_secret",)),
        ({"cron_expression": "@daily"}, ("cron_expression",)),
        ({"trigger_type": "cron", "cron_expression": "@daily"}, ("trigger_type",)),
        ({"triggers": [{"type": "webhook"}]}, ("triggers", 0)),
    ],
)
def test_what_is_told_of_a_trigger_is_told_where_it_was_written(members: dict[str, Any], path: tuple[Any, ...]) -> None:
    assert translate(workflow(log_step("a"), **members)).origin(("triggers", 0)) == path


def test_words_that_are_left_over_are_not_sent_to_the_door_they_came_through() -> None:
    found = validate_document(workflow(log_step("a", timeout=1, timeout_seconds=2), trigger_type="webhok"))
    assert {(problem.path, problem.code, problem.hint) for problem in found} == {
        ("trigger_type", "unknown_key", 'Here it is "triggers": write that.'),
        ("steps[0].timeout_seconds", "unknown_key", 'Here it is "timeout": write that.'),
    }


def test_page_has_every_word_that_is_read() -> None:
    page = (Path(__file__).parents[3] / "runner" / "flowgres_definitions" / "DIALECTS.md").read_text()
    told = {word.lower() for word in re.findall(r"\w+", page)}
    words: set[str] = set()

    def collect(value: Any) -> None:
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            if key == "x-aliases":
                words.update(member)
            elif isinstance(member, dict | list):
                collect(member)

    collect(description())
    assert "task_type" in words
    assert words <= told
