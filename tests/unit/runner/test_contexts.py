"""The cache of what expressions see."""

from __future__ import annotations

from typing import Any

from flowgres_runner.execution.contexts import ContextCache


def given(**steps: Any) -> dict[str, Any]:
    return {"input": {"n": 1}, "execution": {"id": "x"}, "steps": steps}


def test_start_by_api_has_the_input_as_its_payload() -> None:
    entry = ContextCache().store("x", 1, {"input": {"n": 1}, "trigger": {"type": "api"}, "steps": {}}, 9)
    assert entry.trigger == {"type": "api", "payload": {"n": 1}}


def test_only_steps_that_have_ended_are_known() -> None:
    cache = ContextCache()
    state = {"output": None, "error": None, "attempts": 1}
    entry = cache.store("x", 1, given(a={**state, "status": "completed"}, b={**state, "status": "running"}), 90)
    assert entry.knows(["a"])
    assert not entry.knows(["a", "b"])
    cache.record("x", 1, "b", output=2, status="completed", attempts=1, weight=1)
    assert entry.knows(["a", "b"])


def test_another_generation_begins_from_nothing() -> None:
    cache = ContextCache()
    cache.store("x", 1, given(), 90)
    assert cache.find("x", 2) is None
    cache.record("x", 2, "a", output=1, status="completed", attempts=1, weight=1)
    entry = cache.find("x", 1)
    assert entry is not None
    assert entry.steps == {}


def test_oldest_goes_first_by_number_and_by_bytes() -> None:
    cache = ContextCache(max_executions=2)
    for name in "abc":
        cache.store(name, 1, given(), 90)
    assert [cache.find(name, 1) is not None for name in "abc"] == [False, True, True]
    cache = ContextCache(max_bytes=1_000)
    cache.store("a", 1, given(), 90)
    cache.store("b", 1, given(), 90)
    cache.record("b", 1, "s", output="x" * 2_000, status="completed", attempts=1, weight=2_000)
    assert cache.find("a", 1) is None
    assert cache.find("b", 1) is not None
