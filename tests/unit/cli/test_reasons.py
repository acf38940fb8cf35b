"""Why steps do not move, as lines: few, however many iterations stand."""

from __future__ import annotations

from typing import Any

from flowgres_cli.reasons import FEW_ITERATIONS, lines


def row(step: str, iteration: int | None, reason: str = "waits_for_timer") -> dict[str, Any]:
    return {"step": step, "iteration": iteration, "reason": reason, "since": None, "detail": {}, "command": None}


def test_of_many_iterations_some_are_told_and_how_many_more_there_are() -> None:
    rows = [row("pack", number) for number in range(2000)] + [row("send", None), row("pack", 2000, "waits_for_retry")]
    told = list(lines(rows))
    assert len(told) == FEW_ITERATIONS + 3
    assert [line.split()[0] for line in told[:FEW_ITERATIONS]] == [f"pack[{n}]" for n in range(FEW_ITERATIONS)]
    assert told[FEW_ITERATIONS].split() == [
        "pack",
        "and",
        str(2000 - FEW_ITERATIONS),
        "more",
        "of",
        "its",
        "iterations",
    ]
    assert [line.split()[0] for line in told[-2:]] == ["send", "pack[2000]"]


def test_few_are_told_as_they_are() -> None:
    assert len(list(lines([row("pack", number) for number in range(FEW_ITERATIONS)]))) == FEW_ITERATIONS
