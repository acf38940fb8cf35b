"""Running a handler for the time of one attempt, whatever it does with the cancellation that ends it."""

from __future__ import annotations

import asyncio

from flowgres_process.logs import get_logger
from flowgres_runner.steps.base import Failed, Handler, Outcome, StepError, StepTask

log = get_logger(__name__)

LATE_SECONDS = 0.5
"""Beyond the time of the attempt: handlers have the same deadline, and know more of why."""
LEAVE_SECONDS = 2.0
"""For a handler that was cancelled, to leave; after that nobody waits for it."""

_left: set[asyncio.Task[Outcome]] = set()
"""Handlers that did not leave. They end when they like, and nobody looks at what they return."""


async def run_handler(handler: Handler, task: StepTask) -> Outcome:
    """The outcome of an attempt, or a failure when its time is over."""
    running = asyncio.ensure_future(handler.run(task))
    try:
        await asyncio.wait({running}, timeout=task.timeout_seconds + LATE_SECONDS)
    except asyncio.CancelledError:
        await _see_off(running, handler, task)
        raise
    if not running.done():
        await _see_off(running, handler, task)
        message = f"the step took longer than {task.timeout_seconds:g} s"
        return Failed(StepError("step_timeout", message, "timeout"))
    return running.result()


async def _see_off(running: asyncio.Task[Outcome], handler: Handler, task: StepTask) -> None:
    """Cancel a handler. One that stays keeps no slot: it is let go, and that is logged."""
    running.cancel()
    await asyncio.wait({running}, timeout=LEAVE_SECONDS)
    if running.done():
        if not running.cancelled():
            running.exception()  # looked at, so that nobody complains about it
        return
    log.error(
        "handler_not_cancelled",
        execution_id=task.execution_id,
        step=task.step_id,
        type=handler.type,
        seconds=LEAVE_SECONDS,
    )
    _left.add(running)
    running.add_done_callback(_forget)


def _forget(running: asyncio.Task[Outcome]) -> None:
    _left.discard(running)
    if not running.cancelled():
        running.exception()
