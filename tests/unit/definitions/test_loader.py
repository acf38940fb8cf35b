"""Strict YAML and JSON: values, refusals, positions, limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgres_definitions.document import Loaded
from flowgres_definitions.loader import load_definition, load_json, load_yaml
from flowgres_definitions.problems import DefinitionError, Problem


def value_of(scalar: str) -> Any:
    return load_yaml(f"a: {scalar}\n").document["a"]


def problem_of(load: Callable[..., Loaded], text: str | bytes) -> Problem | None:
    """What a loader refuses a text with; any other exception fails the test."""
    try:
        load(text)
    except DefinitionError as error:
        return error.problem
    return None


def failure(text: str | bytes, source: str = "") -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        load_definition(text, source=source)
    return caught.value


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("12:30", "12:30"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("+3", 3),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e", "1e"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("2026-01-01", "2026-01-01"),
        ('"1"', "1"),
        ("'true'", "true"),
        ("|\n  x\n", "x\n"),
        ("=", "="),
        ("<<", "<<"),
        ("9007199254740993", 9007199254740993),
        ("{{x: 1}: 2}", None),
    ],
)
def test_scalar_follows_the_core_rules_of_yaml_1_2(scalar: str, value: Any) -> None:
    if scalar.startswith("{{"):
        assert failure(f"a: {scalar}").code == "key_not_text"
        return
    found = value_of(scalar)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a: 1\na: 2\n", "duplicate_key", 2, 1),
        ("a:\n  - b: 1\n    b: 2\n", "duplicate_key", 3, 5),
        ("a: 1\nb: *x\n", "yaml_alias", 2, 4),
        ("a: &x 1\nb: *x\n", "yaml_anchor", 1, 4),
        ("a: &x {b: 1}\n", "yaml_anchor", 1, 4),
        ("a:\n  - &x b\n", "yaml_anchor", 2, 5),
        ("&x a: 1\n", "yaml_anchor", 1, 1),
        ("a:\n  b: {{ input.x }}\n", "expression_unquoted", 2, 6),
        ("a: {{ input.x }} and more\n", "expression_unquoted", 1, 4),
        ("a: {{ input.x | join(', ') }}: b\n", "expression_unquoted", 1, 4),
        ("a:\n  - {{ steps['a'].output }}\n", "expression_unquoted", 2, 5),
        ("a: [1, {{ input.x }}]\n", "expression_unquoted", 1, 8),
        ("a: {b: {{input.x}}, c: 1}\n", "expression_unquoted", 1, 8),
        ("a: {% if x %}\n", "expression_unquoted", 1, 4),
        ("? {b: 1}\n: c\n", "key_not_text", 1, 3),
        ("a:\n  <<: {b: 1}\n", "yaml_merge", 2, 3),
        ("a: !!str 1\n", "yaml_tag", 1, 4),
        ("a: !x 1\n", "yaml_tag", 1, 4),
        ("1: a\n", "key_not_text", 1, 1),
        ("null: a\n", "key_not_text", 1, 1),
        ("? [a]\n: b\n", "key_not_text", 1, 3),
        ("a: .inf\n", "number_invalid", 1, 4),
        ("a: 1e999\n", "number_invalid", 1, 4),
        (f"a: {'9' * 400}\n", "number_invalid", 1, 4),
        ('a: "\\0"\n', "invalid_character", 1, 4),
        ("a: 1\n---\nb: 2\n", "multiple_documents", 2, 1),
        ("a: [1\n", "yaml_syntax", 2, 1),
        ("a: \x07\n", "yaml_syntax", 1, 4),
        ("- a\n", "definition_not_object", 1, 1),
        ("", "definition_not_object", 1, 1),
        ("# nothing\n", "definition_not_object", 1, 1),
        ("a: " + "[" * 70 + "]" * 70, "definition_too_deep", 1, 67),
        ('{"a": 1, "a": 2}', "duplicate_key", 1, 10),
        ('{"a": NaN}', "number_invalid", 1, 7),
        ('{"a":\n  -Infinity}', "number_invalid", 2, 3),
        ('{"a": 1e999}', "number_invalid", 1, 7),
        ('{"a": "\\ud800"}', "invalid_character", 1, 7),
        ('{"a": "\\u0000"}', "invalid_character", 1, 7),
        ('{"a":' + "[" * 70, "definition_too_deep", 1, 69),
    ],
)
def test_refusal_says_where(text: str, code: str, line: int, column: int) -> None:
    error = failure(text, source="w.yaml")

    assert (error.code, error.line, error.column) == (code, line, column)
    assert str(error).startswith(f"w.yaml:{line}:{column}: ")


def test_json_file_is_not_read_as_yaml() -> None:
    assert failure("{a: 1}", source="w.json").code == "json_syntax"
    assert load_definition("{a: 1}", source="w.yaml").document == {"a": 1}


@pytest.mark.parametrize("load", [load_yaml, load_json])
def test_positions_of_members_are_those_of_their_keys(load: Any) -> None:
    text = '{"name": "w",\n "steps": [\n  {"id": "a",\n   "type": "log"}]}'

    positions = load(text).positions

    assert positions[("name",)] == (1, 2)
    assert positions[("steps", 0)] == (3, 3)
    assert positions[("steps", 0, "type")] == (4, 4)


def test_byte_order_mark_is_ignored() -> None:
    assert load_definition(b"\xef\xbb\xbfname: w\n").document == {"name": "w"}
    assert load_definition("\ufeffname: w\n").positions[("name",)] == (1, 1)


def test_bytes_that_are_no_utf8_are_refused_with_their_place() -> None:
    error = failure("name: w\ntitle: caf\u00e9\n".encode("latin-1"))

    assert (error.code, error.line, error.column) == ("invalid_encoding", 2, 11)


def test_numbers_survive() -> None:
    assert load_json('{"n": 9007199254740993, "f": 0.1, "e": -0.0}').document == {
        "n": 9007199254740993,
        "f": 0.1,
        "e": -0.0,
    }


_MEGABYTE = 1 << 20
_HOSTILE = {
    "flow lists": "[" * _MEGABYTE,
    "flow mappings": "{" * _MEGABYTE,
    "block lists": "- " * (_MEGABYTE // 2),
    "complex keys": "? " * (_MEGABYTE // 2),
    "anchors": "&a " * (_MEGABYTE // 3),
    "quotes": 'a: "' + '\\"' * (_MEGABYTE // 2 - 4),
    "open json text": '{"a": "' + '\\"' * (_MEGABYTE // 2 - 8),
    "single quotes": "a: " + "'" * (_MEGABYTE - 4),
    "colons": "a:" * (_MEGABYTE // 2),
    "small values": "a: [" + "1," * (_MEGABYTE // 2 - 4) + "]",
    "small json values": '{"a": [' + "1," * (_MEGABYTE // 2 - 8) + "1]}",
    "keys": "".join(f"k{n}: 1\n" for n in range(90_000)),
    "indents": "\n".join(" " * n + "a:" for n in range(1400)),
    "commas": "[" + "," * (_MEGABYTE - 2),
    "digits": '{"a": ' + "9" * (_MEGABYTE - 8) + "}",
    "too large": "#" * (_MEGABYTE + 1),
    "too large in bytes": "\u00e9" * (_MEGABYTE // 2 + 1),
}


@pytest.mark.parametrize("text", _HOSTILE.values(), ids=_HOSTILE)
def test_hostile_text_ends_in_time(text: str) -> None:
    started = time.process_time()
    problem = problem_of(load_definition, text)
    assert problem is None or len(problem.message) < 1000
    assert time.process_time() - started < 3


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.sampled_from(list("ab:-?[]{},'\"\\|>&*!#%@` \n\t0.1e~<\ud800\0\u00e9\u2028"))))
def test_any_text_is_read_or_refused(text: str) -> None:
    for load in (load_definition, load_yaml, load_json):
        problem = problem_of(load, text)
        assert problem is None or problem.line >= 1


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    problem = problem_of(load_definition, data)
    assert problem is None or problem.message
