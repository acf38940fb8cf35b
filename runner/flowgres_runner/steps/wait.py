"""`wait`: wait for a signal, an event, or the first of several."""

from __future__ import annotations

from typing import cast

from flowgres_runner.steps.base import Completed, Failed, Json, Outcome, Parked, StepError, StepTask
from flowgres_runner.steps.failures import as_object
from flowgres_runner.steps.parking import ParkingHandler


class WaitHandler(ParkingHandler):
    """A `signal` or an `event`, or `first_of` several of them and a timeout.

    Output: {signal | event, payload, received_at}, of `first_of` with `index`, and {index, timed_out: true} when it was
    the timeout. What is waited for is found by the database alone.
    """

    type = "wait"

    def _park(self, task: StepTask) -> Parked | Failed:
        """Say what is waited for; the shortest timeout of `first_of` bounds it."""
        config = as_object(task.config)
        listed = config.get("first_of")
        if not isinstance(listed, list):
            return Parked("wait", {"for": [config]})
        seconds = {
            place: float(cast("float", item["timeout"]))
            for place, item in enumerate(listed)
            if isinstance(item, dict) and "timeout" in item
        }
        awaited: list[Json] = [
            {**item, "index": place}
            for place, item in enumerate(listed)
            if isinstance(item, dict) and place not in seconds
        ]
        if not seconds:
            return Parked("wait", {"for": awaited})
        first = min(seconds, key=lambda place: (seconds[place], place))
        return Parked("wait", {"for": awaited}, seconds[first], kept={"index": first})

    def _woken(self, task: StepTask, resume: dict[str, Json]) -> Outcome:
        """Give what came."""
        if "payload" not in resume:
            # Kept for a week; a step that could not go on for longer finds nothing.
            message = "what woke the step is not kept any more"
            return Failed(StepError("signal_expired", message, "internal", retryable=False))
        return Completed({name: value for name, value in resume.items() if name != "status"})

    def _timed_out(self, task: StepTask, resume: dict[str, Json]) -> Outcome:
        """A timeout that is one of `first_of` is no failure."""
        if "index" in resume:
            return Completed({"index": resume["index"], "timed_out": True})
        return super()._timed_out(task, resume)
