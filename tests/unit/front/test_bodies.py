"""JSON of strangers: what it costs before it is refused."""

from __future__ import annotations

import json
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgres_front.bodies import BodyLimits, count_values, parse_json
from flowgres_front.problems import Problem

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def values_in(value: Any) -> int:
    """How many values a document has, itself included."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(values_in, members))


def calls_of(raw: bytes) -> int:
    """How many Python functions are called until a body is refused."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        parse_json(raw, BodyLimits(bytes=1 << 20))
    except Problem:
        pass
    finally:
        sys.setprofile(None)
    return count


@given(JSON)
def test_no_document_has_more_values_than_were_counted(value: Any) -> None:
    assert count_values(json.dumps(value)) >= values_in(value)


@given(st.text())
def test_what_stands_in_a_text_is_not_counted(text: str) -> None:
    assert count_values(json.dumps({"value": text})) == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda n: b"[" + b",".join([b"{}"] * n) + b"]",
        lambda n: b"[" + b",".join([b'{"a":1}'] * n) + b"]",
        lambda n: b"[" + b",".join([b'""'] * n) + b"]",
        lambda n: b"[" + b",".join([b"1.5"] * n) + b"]",
        lambda n: b"[" * n,
        lambda n: b'{"a":' * n,
        lambda n: b'"' * n,
        lambda n: b"{" + b",".join(b'"%d":1' % at for at in range(n)) + b"}",
    ],
)
def test_no_shape_of_json_costs_a_call_of_python_for_each_of_its_values(make: Any) -> None:
    assert calls_of(make(50_000)) <= calls_of(make(100)) + 10
