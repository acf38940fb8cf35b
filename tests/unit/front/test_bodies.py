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
from flowgres_front.visits import Pace

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


def test_strangers_are_answered_at_a_pace_and_none_waits_longer_than_it_may() -> None:
    pace = Pace(per_second=100, burst=50, most_seconds=1)

    waits = [pace.seconds_to_wait(1000.0) for _ in range(1000)]

    assert waits[:50] == [0] * 50
    assert waits[99] == pytest.approx(0.5)
    assert max(waits) == pytest.approx(1)
    assert pace.seconds_to_wait(1010.0) == 0
