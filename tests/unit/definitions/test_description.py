"""The description of the language: a schema for editors, and the same for all who read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import given, settings
from jsonschema import Draft202012Validator

from flowgres_definitions.description import config_schema, core_step_types, description
from flowgres_definitions.form import form_definition, form_value
from flowgres_definitions.reference import PAGE, reference
from flowgres_definitions.schema import check_value
from flowgres_definitions.schema_faults import find_faults, find_schema_fault
from flowgres_runner.payloads.bodies import READINGS
from flowgres_runner.steps import Completed, StepTask
from flowgres_runner.steps.condition import compare
from flowgres_runner.steps.transform import TransformHandler
from tests.support.parity import ALIKE
from tests.support.schemas import any_schema, any_value, is_valid
from tests.support.wild import nearly_valid


def parts(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything in the description that is an object."""
    if isinstance(value, dict):
        yield path, value
        for key, member in value.items():
            yield from parts(member, f"{path}/{key}")
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from parts(member, f"{path}/{place}")


def test_it_is_a_schema_that_all_readers_know() -> None:
    Draft202012Validator.check_schema(dict(description()))
    assert list(find_faults({key: of for key, of in description().items() if key not in ("$schema", "$id")})) == []


def test_every_member_says_what_it_is_for() -> None:
    silent = [
        f"{path}/{key}"
        for path, schema in parts(dict(description()))
        if path.endswith(("/http", "/settings", "/step", "/input")) or path in ("", "/$defs/retry")
        for key, member in schema.get("properties", {}).items()
        if isinstance(member, dict)
        and "doNotSuggest" not in member
        and "description" not in member
        and "$ref" not in member
    ]
    assert silent == []


def test_words_are_explained_one_by_one_and_types_as_where_they_are_described() -> None:
    root = description()
    for path, schema in parts(dict(root)):
        if "enumDescriptions" in schema:
            assert len(schema["enumDescriptions"]) == len(schema["enum"]), path
            assert all(schema["enumDescriptions"]), path
    for name in ("core_type", "undoing_core_type"):
        types = root["$defs"][name]
        assert types["enumDescriptions"] == [root["$defs"][kind]["description"] for kind in types["enum"]]
    refused = next(one["not"]["enum"] for one in root["$defs"]["undoing_type"]["allOf"] if "enum" in one["not"])
    assert set(root["$defs"]["undoing_core_type"]["enum"]) == core_step_types() - set(refused)


def test_defaults_and_examples_are_what_they_are_examples_of() -> None:
    root = description()
    shown = 0
    for path, schema in parts(dict(root)):
        if path.endswith(("/default", "/properties")) or "/examples/" in path:
            continue
        for value in [*schema.get("examples", []), *([schema["default"]] if "default" in schema else [])]:
            assert check_value(form_value(value, schema, root, (), {}), schema, root) == [], path
            shown += 1
    assert shown > 30


def test_handlers_know_the_words_of_the_description() -> None:
    def words(kind: str, key: str) -> set[str]:
        member = config_schema(kind)["properties"][key]
        return set(member.get("enum") or member["anyOf"][0]["enum"])

    for operator in words("condition", "operator"):
        assert compare({"found": True, "value": "a"}, operator, ["a"] if operator == "in" else "a") in (True, False)
    assert words("http", "response") == set(READINGS)
    operations = config_schema("transform")["properties"]["transforms"]["items"]["properties"]["op"]["anyOf"][0]["enum"]
    for operation in operations:
        edit = {"op": operation, "field": "a", "from": "a", "to": "b", "value": 1}
        assert run_transform({"source": {"a": 1}, "transforms": [edit]}) is not None


def run_transform(config: Any) -> Any:
    task = StepTask("t", "x", "s", None, 1, config, 1.0, None)
    outcome = TransformHandler().run_now(task)
    return outcome.output if isinstance(outcome, Completed) else None


def test_a_configuration_stands_by_itself() -> None:
    for kind in core_step_types():
        assert "$ref" not in str(config_schema(kind))


def test_definitions_of_the_lists_are_judged_as_the_library_does() -> None:
    root = dict(description())
    for definition, _ in ALIKE:
        formed = form_definition(definition, {})
        assert is_valid(formed, root) is (check_value(formed, root, root) == []), definition


@given(nearly_valid())
@settings(max_examples=300, deadline=None)
def test_wild_definitions_are_judged_as_the_library_does(document: Any) -> None:
    if isinstance(document, dict):
        root = dict(description())
        formed = form_definition(document, {})
        assert is_valid(formed, root) is (check_value(formed, root, root) == [])


def test_any_schema_is_read_as_the_library_does() -> None:
    rng = Random(os.urandom(8) if os.environ.get("FLOWGRES_FUZZ") else 1)
    valid = 0
    for _ in range(10_000):
        schema, value = any_schema(rng), any_value(rng)
        assert find_schema_fault(schema) is None
        right = is_valid(value, schema)
        assert right is (check_value(value, schema, schema) == []), (schema, value)
        valid += right
    assert 1_000 < valid < 9_000, "both happen"


def test_the_reference_page_is_what_the_description_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: just reference"
