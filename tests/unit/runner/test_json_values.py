"""JSON in jsonb's own form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgres_runner.errors import OutputError
from flowgres_runner.json_values import canonical_json, encode_json, encode_output


def test_keys_come_in_the_order_of_jsonb() -> None:
    value = {"b": 1, "aa": 2, "a": {"é": 1, "zz": 2}}
    assert list(canonical_json(value)) == ["a", "b", "aa"]  # type: ignore[arg-type]
    assert list(canonical_json(value)["a"]) == ["zz", "é"]  # type: ignore[index,call-overload,arg-type]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e16, "10000000000000000"),
        (1.2345678901234567e20, "123456789012345670000"),
        (1e15, "1000000000000000.0"),
        (-0.0, "0.0"),
        (0.1, "0.1"),
        (True, "true"),
        (None, "null"),
        ((1, 2), "[1,2]"),
    ],
)
def test_values_read_back_from_jsonb_are_the_same(value: Any, text: str) -> None:
    assert encode_output(value, max_bytes=1000)[1] == text


@pytest.mark.parametrize(
    "value",
    [
        "a\0b",
        "\ud800",
        {"a": "\udfff"},
        {"\0": 1},
        float("nan"),
        float("inf"),
        {1: 2},
        {"a", "b"},
        b"x",
        pytest.param(10**5000, id="long number"),
    ],
)
def test_values_that_postgresql_cannot_store_are_refused(value: Any) -> None:
    with pytest.raises(OutputError) as caught:
        encode_output(value, max_bytes=1 << 20)
    assert caught.value.code == "output_not_storable"


def test_depth_is_limited() -> None:
    value: Any = 1
    for _ in range(64):
        value = [value]
    assert encode_output(value, max_bytes=1000)
    with pytest.raises(OutputError):
        encode_output([value], max_bytes=1000)
    for _ in range(20_000):
        value = [value]
    with pytest.raises(OutputError):
        encode_output(value, max_bytes=1 << 20)


def test_size_is_counted_in_bytes() -> None:
    assert encode_output("é" * 49, max_bytes=100)
    with pytest.raises(OutputError) as caught:
        encode_output("é" * 50, max_bytes=100)
    assert caught.value.code == "output_too_large"


SLOW = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.floats(), inner) | st.tuples(inner)
        ),
        max_leaves=20,
    )
)
def test_encoder_that_is_kept_does_what_a_new_one_does(value: Any) -> None:
    try:
        expected = SLOW.encode(value)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error).split(":")[0]):
            encode_json(value)
        return
    assert encode_json(value) == expected


def test_encoder_refuses_circles_depth_and_other_types_again_and_again() -> None:
    circle: list[Any] = []
    circle.append({"a": circle})
    deep: Any = 1
    for _ in range(200_000):
        deep = [deep]
    for _ in range(2):
        with pytest.raises(ValueError, match="Circular"):
            encode_json(circle)
        with pytest.raises(RecursionError):
            encode_json(deep)
        with pytest.raises(TypeError, match="set is not JSON serializable"):
            encode_json([{1}])
        assert encode_json([[1], [1]]) == "[[1],[1]]"


def test_depth_is_bounded_by_what_the_tenant_may() -> None:
    assert encode_output([[1]], max_bytes=100, max_depth=2) == ([[1]], "[[1]]")
    with pytest.raises(OutputError, match="deeper than 1 levels"):
        encode_output([[1]], max_bytes=100, max_depth=1)
