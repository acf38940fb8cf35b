"""Upkeep of history: what is behind goes on at the next sweep, and takes nothing else along."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from flowgres_runner.upkeep import timekeeper

MINUTELY = {"create_history", "retire_history", "apply_retentions", "prune", "prune_metrics", "realign_schedules"}


@pytest.mark.parametrize(
    ("behind", "answer"), [("apply_retentions", {"is_due": True, "deleted": 0}), ("prune", timekeeper.PRUNE_LIMIT)]
)
async def test_what_is_behind_does_not_hurry_the_rest(
    monkeypatch: pytest.MonkeyPatch, behind: str, answer: Any
) -> None:
    calls: Counter[str] = Counter()

    class Queries:
        def __getattr__(self, name: str) -> Any:
            async def call(_link: Any, **_arguments: Any) -> Any:
                calls[name] += 1
                if name == behind:
                    return answer
                return {} if name in {"create_history", "retire_history", "apply_retentions"} else 0

            return call

    monkeypatch.setattr(timekeeper, "queries", Queries())
    keeper = timekeeper.Timekeeper(None, on_work=lambda: None)  # type: ignore[arg-type]
    for _ in range(3):
        await keeper.sweep()
    assert calls["rescue_expired_leases"] == 3
    assert {name for name in MINUTELY if calls[name] > 1} == {behind}
    assert all(calls[name] for name in MINUTELY)
    assert calls[behind] % 3 == 0
