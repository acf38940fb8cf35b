"""`delay`: wait without holding a runner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import cast

from flowgres_definitions.durations import parse_moment
from flowgres_runner.steps.base import Completed, Handler, Outcome, StepTask, Suspended
from flowgres_runner.steps.failures import as_object


class DelayHandler(Handler):
    """`seconds` or `duration` from now, or `until` a moment (ISO 8601; UTC unless it says otherwise).

    The output names what was waited for: {seconds} or {until}. `now` is the database's clock, because only that one
    decides delays.
    """

    type = "delay"

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def _run_now(self, task: StepTask) -> Outcome:
        """Suspend the step; complete it when it comes back."""
        config = as_object(task.config)
        moment = parse_moment(config.get("until"))
        if moment is not None:
            if task.resume is not None:
                return Completed({"until": moment.isoformat()})
            return Suspended(max(0.0, (moment - self._now()).total_seconds()))
        seconds = config["seconds"] if "seconds" in config else config["duration"]
        if task.resume is not None:
            return Completed({"seconds": seconds})
        return Suspended(float(cast("float", seconds)))
