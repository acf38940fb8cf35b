"""When two compared executions are said to differ."""

from __future__ import annotations

from typing import Any

import pytest

from flowgres_cli.comparing import differs

Json = Any


def _answer(*differing: str) -> Json:
    equal = {"is_equal": True, "differences": [], "omitted": 0}
    side = {"status": "completed"}
    steps = [{"step": "a", "differs": list(differing)}, {"step": "b", "differs": []}]
    return {"a": side, "b": side, "input": equal, "output": equal, "steps": steps}


def test_how_long_a_step_took_is_no_difference() -> None:
    assert not differs(_answer())
    assert not differs(_answer("duration"))


@pytest.mark.parametrize("what", ["status", "output", "error", "branch"])
def test_anything_else_of_a_step_is_one(what: str) -> None:
    assert differs(_answer(what))
    assert differs(_answer(what, "duration"))
