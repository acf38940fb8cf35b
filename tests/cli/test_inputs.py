"""-d and -f."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from flowgres_cli.errors import UsageProblemError
from flowgres_cli.inputs import read_input


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
    assert read_input(None, fields, lambda: declared) == {
        "amount": 12.5,
        "order_id": "007",
        "tags": ["a"],
        "other": "5",
    }


def test_json_field_is_parsed_whatever_is_declared() -> None:
    def ask() -> Mapping[str, Any]:
        raise AssertionError("nobody needs the declarations")

    assert read_input('{"a": 1}', ("b:=[1, 2]", "a:=null"), ask) == {"a": None, "b": [1, 2]}


def test_value_may_hold_equal_signs() -> None:
    assert read_input(None, ("q=a=b=c",), _nothing_declared) == {"q": "a=b=c"}


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
