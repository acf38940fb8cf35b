"""JSON that is taken, and JSON that other readers would take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from flowgres_definitions.strict_json import JsonError, check_syntax, read_json
from tests.support.wild import VALUES


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "json_syntax"),
        ("{", "json_syntax"),
        ("[1,]", "json_syntax"),
        ("{'a': 1}", "json_syntax"),
        ("1 2", "json_syntax"),
        ('"\t"', "json_syntax"),
        ("NaN", "number_invalid"),
        ("[-Infinity]", "number_invalid"),
        ("1e999", "number_invalid"),
        ("9" * 5_000, "number_invalid"),
        ("9" * 250 + "e99", "number_invalid"),
        ("[" + "9" * 310 + ".0]", "number_invalid"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate_key"),
        ("[" * 65 + "]" * 65, "json_too_deep"),
        ("[" * 100_000, "json_too_deep"),
        ('["\\u0000"]', "invalid_character"),
        ('{"\\ud800": 1}', "invalid_character"),
        ('["\ud800"]', "invalid_character"),
    ],
)
def test_refused_with_a_code(text: str, code: str) -> None:
    with pytest.raises(JsonError) as caught:
        read_json(text)
    assert caught.value.code == code


def test_syntax_errors_have_a_place() -> None:
    for check in (read_json, check_syntax):
        with pytest.raises(JsonError) as caught:
            check('{"a": 1,\n "b": }')
        assert (caught.value.line, caught.value.column) == (2, 7)


def test_integers_are_exact() -> None:
    assert read_json(f"[9223372036854775807, {10**400 + 1}, -0, 5.0]") == [9223372036854775807, 10**400 + 1, 0, 5.0]
    assert read_json("[" * 64 + "]" * 64) is not None


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(value: Any) -> None:
    assert read_json(json.dumps(value)) == value
