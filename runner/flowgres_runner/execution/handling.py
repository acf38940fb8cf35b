"""Running a handler for the time of one attempt."""

from __future__ import annotations

from flowgres_runner.steps.base import Failed, Handler, Outcome, StepError, StepTask
from flowgres_runner.timing import REAL_TIME, Timing

LATE_SECONDS = 0.5
"""Beyond the time of the attempt: handlers have the same deadline, and know more of why."""


async def run_handler(handler: Handler, task: StepTask, timing: Timing = REAL_TIME) -> Outcome:
    """The outcome of an attempt, or a failure when its time is over.

    Handlers end when they are cancelled: what packages bring runs beside this loop (`steps.threads`), and is left to
    itself there.
    """
    if handler.is_bounded:
        return await handler.run(task)
    try:
        async with timing.timeout(task.timeout_seconds + LATE_SECONDS):
            return await handler.run(task)
    except TimeoutError:
        return Failed(StepError("step_timeout", f"the step took longer than {task.timeout_seconds:g} s", "timeout"))
