"""-d and -f."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgres_cli.errors import UsageProblemError
from flowgres_cli.inputs import merge_fields, read_input


def _nothing_declared() -> Mapping[str, Any]:
    return {}


def test_no_input_is_an_empty_object() -> None:
    assert read_input(None, (), _nothing_declared) == {}


def test_text_without_fields_travels_as_it_is() -> None:
    assert read_input('{"n": 1.10, "big": 12345678901234567890123}', (), _nothing_declared) == (
        '{"n": 1.10, "big": 12345678901234567890123}'
    )


def test_file_is_read_and_a_byte_order_mark_dropped(write: Callable[..., Path]) -> None:
    path = write("in.json", b'\xef\xbb\xbf{"a": 1}')
    assert read_input(f"@{path}", (), _nothing_declared) == '{"a": 1}'


def test_fields_are_text_unless_declared_otherwise() -> None:
    declared = {"amount": {"type": "number"}, "order_id": {"type": "string"}, "tags": {"type": "array"}}
    fields = ("amount=12.5", "order_id=007", 'tags=["a"]', "other=5")
    assert json.loads(read_input(None, fields, lambda: declared)) == {
        "amount": 12.5,
        "order_id": "007",
        "tags": ["a"],
        "other": "5",
    }


def test_json_field_is_parsed_whatever_is_declared() -> None:
    def ask() -> Mapping[str, Any]:
        raise AssertionError("nobody needs the declarations")

    assert json.loads(read_input('{"a": 1}', ("b:=[1, 2]", "a:=null"), ask)) == {"a": None, "b": [1, 2]}


def test_value_may_hold_equal_signs() -> None:
    assert json.loads(read_input(None, ("q=a=b=c",), _nothing_declared)) == {"q": "a=b=c"}


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.decimals(allow_nan=False, allow_infinity=False, places=30) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


def _text(value: Any, indent: str) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, list):
        return f"[{','.join(indent + _text(one, indent) for one in value)}]"
    if isinstance(value, dict):
        return (
            f"{{{','.join(f'{indent}{json.dumps(k)}{indent}:{_text(v, indent)}{indent}' for k, v in value.items())}}}"
        )
    return json.dumps(value)


@given(
    before=st.dictionaries(TEXTS, VALUES, max_size=4),
    new=VALUES,
    indent=st.sampled_from(["", " ", "\n\t"]),
)
def test_a_field_changes_no_digit_of_the_others(before: dict[str, Any], new: Any, indent: str) -> None:
    merged = merge_fields(_text(before, indent), (f"new:={_text(new, indent)}",), _nothing_declared)
    got = json.loads(merged, parse_float=Decimal, parse_int=Decimal)
    assert list(got.items()) == list((before | {"new": new}).items())


@pytest.mark.parametrize(
    ("data", "fields", "where", "message"),
    [
        ('{"a": }', (), "-d:1:7", "no JSON"),
        ("[1]", (), "-d", "no JSON object"),
        ('{"a": NaN}', (), "-d", "NaN"),
        ('{"a": ' + "[" * 100_000, (), "-d", "levels deep"),
        ('{"a": ' + "9" * 10_000 + "}", ("b=1",), "-d", "too many digits"),
        ('{"a": 1e999}', (), "-d", "too large"),
        ('{"a": 1, "a": 2}', (), "-d", "given twice"),
        ('{"a": "\\u0000"}', (), "-d", "NUL"),
        (None, ("a:=Infinity",), "-f a", "Infinity"),
        (None, ("amount=NaN",), "-f amount", "no number"),
        ("@no-such-file", (), "no-such-file", "No such file"),
        (None, ("novalue",), "-f", "no field"),
        (None, ("=x",), "-f", "no field"),
        (None, ("a:=[",), "-f a:1:2", "no JSON"),
        (None, ("amount=lots",), "-f amount", "no number"),
    ],
)
def test_bad_input_says_where(data: str | None, fields: tuple[str, ...], where: str, message: str) -> None:
    with pytest.raises(UsageProblemError) as caught:
        read_input(data, fields, lambda: {"amount": {"type": "number"}})
    assert caught.value.where == where
    assert message in caught.value.message


def test_file_that_is_no_text_is_refused(write: Callable[..., Path]) -> None:
    path = write("in.json", b'{"a": "\xff"}')
    with pytest.raises(UsageProblemError, match="no UTF-8"):
        read_input(f"@{path}", (), _nothing_declared)
