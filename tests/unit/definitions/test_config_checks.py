"""What is wrong with the configuration of a built-in type beyond its description, told before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from flowgres_definitions.validation import validate_document
from tests.support.engine import dag


def told(step: dict[str, Any], section: str = "steps") -> list[tuple[str, str]]:
    document = dag("w", [{"id": "a"}])
    document[section] = [*document.get(section, []), {"id": "subject", **step}]
    return [(problem.path, problem.code) for problem in validate_document(document)]


def llm(schema: Any) -> dict[str, Any]:
    return {"type": "llm", "config": {"provider": "openai", "model": "m", "prompt": "p", "schema": schema}}


@pytest.mark.parametrize(
    "schema",
    [{"type": "colour"}, {"properties": {"a": {"type": "objekt"}}}, {"$ref": "https://x.example/"}, {"pattern": "("}],
    ids=["type", "below", "elsewhere", "pattern"],
)
@pytest.mark.parametrize(("section", "place"), [("steps", "steps[1]"), ("on_failure", "on_failure[0]")])
def test_schema_of_answers_that_is_none_is_told_at_its_place(schema: Any, section: str, place: str) -> None:
    assert told(llm(schema), section) == [(f"{place}.config.schema", "schema_invalid")]


@pytest.mark.parametrize("schema", [{"type": "object"}, "{{ input.schema }}", {"type": "{{ input.type }}"}])
def test_schema_that_is_one_or_that_expressions_make_is_none_of_that(schema: Any) -> None:
    assert told(llm(schema)) == []
