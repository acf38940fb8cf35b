"""Any JSON value goes through a whole-value expression unchanged."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgres_runner.evaluator import EvaluatorPool, Rendered, RenderJob

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT
)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_TEXT, inner, max_size=5), max_leaves=30
)


@pytest.fixture(scope="module")
def loop_and_pool() -> Iterator[tuple[asyncio.AbstractEventLoop, EvaluatorPool]]:
    with asyncio.Runner() as runner:
        pool = EvaluatorPool()
        runner.run(pool.start())
        yield runner.get_loop(), pool
        runner.run(pool.close())


def identical(left: Any, right: Any) -> bool:
    """Equal with equal types, and -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(identical(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(identical, left, right))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


@settings(max_examples=200, deadline=None)
@given(value=_JSON)
def test_whole_value_expression_keeps_any_json(
    loop_and_pool: tuple[asyncio.AbstractEventLoop, EvaluatorPool], value: Any
) -> None:
    loop, pool = loop_and_pool
    job = RenderJob(key="v", template={"out": "{{ input.v }}"}, context={"input": {"v": value}})

    (answer,) = loop.run_until_complete(pool.render([job]))

    assert isinstance(answer, Rendered)
    assert identical(answer.value["out"], value)
