"""`dialect: braces`: `{step.field}` is read as our expression, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest

from flowgres_definitions.dialects import translate
from flowgres_definitions.validation import validate_document
from tests.support.definitions import log_step, workflow


def braces(*steps: dict[str, Any], **members: Any) -> dict[str, Any]:
    return workflow(*steps, dialect="braces", **members)


def read(text: str) -> str:
    """What becomes of a text in a definition with a step `rate`."""
    document = translate(braces(log_step("rate"), log_step("tell", config={"message": text}))).document
    message: str = document["steps"][1]["config"]["message"]
    return message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{rate.score}", "{{ steps.rate.output.score }}"),
        ("{rate}", "{{ steps.rate.output }}"),
        ("a {rate.items.0.name} and {rate.items[1]}",
         "a {{ steps.rate.output.items[0].name }} and {{ steps.rate.output.items[1] }}"),
        ("{trigger.type}", "{{ trigger.payload.type }}"),
        ("{trigger}", "{{ trigger.payload }}"),
        ("{input.x}", "{{ input.x }}"),
        ("{secrets.KEY}", "{{ secrets.KEY }}"),
        ("{nobody.x}", "{{ steps.nobody.output.x }}"),
        ("{nobody}", "{nobody}"),
        ('{"a": 1} { rate.x } {} {1.2}', '{"a": 1} { rate.x } {} {1.2}'),
        ("{{ steps.rate.output.x }}: {rate.y}", "{{ steps.rate.output.x }}: {{ steps.rate.output.y }}"),
        ("{{ {'a': rate.x} }}", "{{ {'a': rate.x} }}"),
    ],
)  # fmt: skip
def test_reference_in_a_text(written: str, meant: str) -> None:
    assert read(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{rate.score} > 3", "{{ steps.rate.output.score > 3 }}"),
        ("'{rate.label}' == 'high' and {rate.x}", "{{ steps.rate.output.label == 'high' and steps.rate.output.x }}"),
        ("{{ steps.rate.output.x }}", "{{ steps.rate.output.x }}"),
        ("no reference", "no reference"),
    ],
)
def test_question_is_one_expression(written: str, meant: str) -> None:
    step = {"name": "c", "task_type": "conditional", "condition": written, "when": written}
    document = translate(braces(log_step("rate"), step)).document
    assert document["steps"][1]["config"]["expression"] == meant
    assert document["steps"][1]["when"] == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{rate.x}", "steps.rate.output.x"),
        ("rate.x", "steps.rate.output.x"),
        ("trigger.x", "trigger.payload.x"),
        ("order.amount", "order.amount"),
        ("{amount}", "amount"),
    ],
)
def test_field_of_a_comparison_is_a_path(written: str, meant: str) -> None:
    step = {"name": "c", "task_type": "conditional", "condition": {"field": written, "operator": "exists"}}
    assert translate(braces(log_step("rate"), step)).document["steps"][1]["config"]["field"] == meant


def test_all_sections_are_read_and_the_source_stays() -> None:
    document = braces(log_step("a"), on_failure=[log_step("b", config={"message": "{a.x}"})], outputs={"x": "{a.x}"})
    translation = translate(document)
    assert translation.document["on_failure"][0]["config"] == {"message": "{{ steps.a.output.x }}"}
    assert translation.document["outputs"] == {"x": "{{ steps.a.output.x }}"}
    assert "dialect" not in translation.document
    assert (translation.source["dialect"], translation.source["outputs"]) == ("braces", {"x": "{a.x}"})


def test_without_the_dialect_braces_are_text() -> None:
    assert translate(workflow(log_step("a", config={"message": "{a.x}"}))).document["steps"][0]["config"] == {
        "message": "{a.x}"
    }


@pytest.mark.parametrize("depends", ["trigger", ["trigger"], ["trigger", "ghost"]])
def test_first_step_that_is_the_trigger_is_left_out(depends: Any) -> None:
    document = braces(
        {"name": "trigger", "task_type": "trigger"},
        log_step("a", depends_on=depends, config={"message": "{trigger.x}"}),
    )
    translation = translate(document)
    assert [step["id"] for step in translation.document["steps"]] == ["a"]
    found = [(problem.path, problem.code) for problem in validate_document(document)]
    assert found == ([("steps[1].depends_on[1]", "unknown_step")] if "ghost" in depends else [])


def test_object_under_on_true_is_the_output_when_it_is_true() -> None:
    step = {
        "id": "c",
        "type": "conditional",
        "condition": "{{ input.x }}",
        "on_true": {"a": "is {{ input.a }}!", "n": 1},
    }
    document = workflow(step | {"on_false": {"a": "{{ input.b }}", "of": ["}}", None, True]}})
    assert translate(document).document["steps"][0] == {
        "id": "c",
        "type": "condition",
        "config": {"expression": "{{ input.x }}"},
        "output": '{{ {"a": ("is " ~ ( input.a ) ~ "!"), "n": 1} if output.result else'
        ' {"a": ( input.b ), "of": ["\\x7d\\x7d", none, true]} }}',
    }
    assert validate_document(document) == []


def test_branch_with_steps_beside_one_with_an_output() -> None:
    step = {"id": "c", "type": "conditional", "condition": "{{ input.x }}", "on_true": "a", "on_false": {"b": 1}}
    ours = translate(workflow(step, log_step("a"))).document["steps"][0]
    assert ours["config"] == {"expression": "{{ input.x }}", "true_branch": "a"}
    assert ours["output"] == '{{ output if output.result else {"b": 1} }}'


def test_expression_under_on_true_that_is_broken_is_told_where_it_stands() -> None:
    step = {"id": "c", "type": "conditional", "condition": "{{ input.x }}", "on_false": {"b": "{{ 1 + }}"}}
    found = [(problem.path, problem.code) for problem in validate_document(workflow(step))]
    assert found == [("steps[0].on_false.b", "expression_syntax")]
