"""`delay`: wait without holding a runner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flowgres_definitions.durations import parse_duration, parse_moment
from flowgres_runner.steps.base import Completed, Handler, Outcome, StepTask, Suspended
from flowgres_runner.steps.failures import as_object, invalid_config


class DelayHandler(Handler):
    """`seconds` or `duration` from now, or `until` a moment (ISO 8601; UTC unless it says otherwise).

    The output names what was waited for: {seconds} or {until}. `now` is the database's clock, because only that one
    decides delays.
    """

    type = "delay"

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def run_now(self, task: StepTask) -> Outcome:
        """Suspend the step; complete it when it comes back."""
        config = as_object(task.config)
        if config.get("until") is not None:
            moment = parse_moment(config["until"])
            if moment is None:
                return invalid_config("until must be a time such as 2026-01-31T08:00:00Z")
            if task.resume is not None:
                return Completed({"until": moment.isoformat()})
            return Suspended(max(0.0, (moment - self._now()).total_seconds()))
        seconds = parse_duration(config.get("seconds", config.get("duration")))
        if seconds is None:
            return invalid_config("a delay needs seconds, or a duration such as 250ms 30s 5m 2h 3d")
        if task.resume is not None:
            return Completed({"seconds": seconds})
        return Suspended(float(seconds))
