"""What attempts say of how far they are: events of the execution, at a bounded rate, masked, and in their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flowgres_runner.steps.lines import MAX_PROGRESS_EVENTS, StepProgress
from tests.support.database import Database, Db, Tenant
from tests.support.packages import beside, install_module
from tests.support.runner import Runner, run_to_end

FAR = """
import time
from flowgres_runner.steps import Completed, StepType


class Far(StepType):
    type = "far"

    def run(self, task):
        for n in range(22):
            task.progress(n / 20, f"step {n}")
            time.sleep(0.1)
        return Completed(None)
"""


def test_progress_is_told_by_events_before_the_end(
    database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner], tmp_path: Path
) -> None:
    start_runner(**beside(install_module(tmp_path / "far", "far_steps", FAR, far="Far")))
    execution = run_to_end(database, db, tenant, {"id": "far", "type": "far", "config": {}})
    assert execution["status"] == "completed"
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as viewer:
        events = viewer.all("select type, step, message, details from flowgres_api.execution_events order by seq")
    types = [event["type"] for event in events]
    told = [event for event in events if event["type"] == "step_progress"]
    assert 1 <= len(told) <= 3, "one a second, of twenty that were said"
    assert types == [
        "execution_started",
        "step_started",
        *["step_progress"] * len(told),
        "step_completed",
        "execution_completed",
    ]
    fractions = [event["details"]["progress"] for event in told]
    assert fractions == sorted(fractions)
    assert 0 < fractions[-1] <= 1
    assert told[0]["step"] == "far"
    assert told[0]["message"].startswith("step ")


def test_words_that_postgresql_cannot_store_are_mended() -> None:
    progress = StepProgress()
    progress.say(0.1, "a\0b\ud800c")
    assert progress.take() == (0.1, "a\ufffdb?c")


def test_a_long_attempt_is_told_of_less_often() -> None:
    progress = StepProgress()
    progress._began -= 1000
    progress.say(0.1)
    assert progress.take() == (0.1, "")
    progress._told_at -= 10
    progress.say(0.2)
    assert progress.take() is None, "a fiftieth of a thousand seconds is twenty"
    progress._told_at -= 11
    assert progress.take() == (0.2, "")
    assert progress.take() is None


def test_attempt_tells_a_thousand_times_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("flowgres_runner.steps.lines.time.monotonic", lambda: now[0])
    progress, told = StepProgress(), 0
    # However long it takes: the pauses grow, and there are a thousand of them at most.
    for n in range(200_000):
        now[0] *= 1.05
        now[0] += 1.0
        progress.say((n % 1000) / 1000, str(n))
        told += progress.take() is not None
        if now[0] > 1e300:
            break
    assert told == MAX_PROGRESS_EVENTS
    assert progress.last is not None, "what it says is known all the same"
