"""What a model answered, as a value, and what a schema says of it. Runs apart: a schema is a stranger's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_definitions.problems import format_path
from flowgres_definitions.schema import check_value
from flowgres_definitions.schema_faults import find_schema_fault
from flowgres_definitions.strict_json import read_json
from flowgres_runner.errors import OutputError
from flowgres_runner.json_values import Json
from flowgres_runner.llm.stubs import example_of

_MAX_PROBLEMS = 10


def check_answer(text: str | None, schema: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """The value of an answer and what is wrong with it; without a text, an example. Raises OutputError."""
    fault = find_schema_fault(schema)
    if fault is not None:
        fault = fault.replace("config_schema", "config.schema", 1)
        raise OutputError(fault, code="config_invalid", error_class="validation")
    if text is None:
        value = example_of(schema, schema)
    else:
        try:
            value = read_json(_unfenced(text))
        except (ValueError, RecursionError):
            return None, ["it is no JSON"]
    found = check_value(value, schema, schema)
    problems = [f"{format_path(path) or 'the answer'}: {problem.message}" for path, problem in found[:_MAX_PROBLEMS]]
    return value, problems


def _unfenced(text: str) -> str:
    """What stands within ``` and ```: models like to put it there, whatever they were told."""
    stripped = text.strip()
    if not (stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped):
        return stripped
    return stripped[stripped.index("\n") : -3].strip()
