"""No definition, however wild, gets anything but problems for an answer."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given, settings

from flowgres_definitions.checks import check_definition
from flowgres_definitions.loader import load_definition
from flowgres_definitions.problems import DefinitionError
from flowgres_definitions.validation import validate_document
from tests.support.wild import VALUES, nearly_valid


def assert_answered(document: Any) -> None:
    problems = validate_document(document)
    assert all(problem.code and problem.message and problem.path is not None for problem in problems)
    assert isinstance([problem.as_json() for problem in problems], list)
    if isinstance(document, dict):
        check_definition(document)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_any_json_is_answered(document: Any) -> None:
    assert_answered(document)


@given(nearly_valid())
@settings(max_examples=500, deadline=None)
def test_nearly_valid_definitions_are_answered(document: Any) -> None:
    assert_answered(document)


@given(nearly_valid())
@settings(max_examples=100, deadline=None)
def test_what_is_read_is_what_was_written(document: Any) -> None:
    for text in (json.dumps(document), yaml.safe_dump(document, allow_unicode=True)):
        try:
            loaded = load_definition(text)
        except DefinitionError:
            continue
        assert loaded.document == document
