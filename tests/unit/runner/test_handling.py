"""A handler has its time, and keeps no slot beyond it, whatever it does with its cancellation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import pytest

from flowgres_runner.execution import handling
from flowgres_runner.steps.base import Completed, Failed, Handler, Json, Outcome, StepTask


def task(seconds: float) -> StepTask:
    return StepTask("t", "x", "step", None, 1, {}, seconds, None, "0" * 32)


class Stubborn(Handler):
    """Swallows every cancellation until it is allowed to end."""

    type = "stubborn"
    config_schema: Mapping[str, Json] = {}

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.cancelled = 0

    async def run(self, task: StepTask) -> Outcome:
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        return Completed("late")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handling, "LATE_SECONDS", 0.0)
    monkeypatch.setattr(handling, "LEAVE_SECONDS", 0.1)


async def test_handler_that_ignores_its_deadline_is_left_behind() -> None:
    handler = Stubborn()
    began = time.monotonic()
    outcome = await handling.run_handler(handler, task(0.05))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "step_timeout"
    assert time.monotonic() - began < 2
    assert handler.cancelled == 1
    handler.may_end.set()


async def test_abort_of_a_handler_that_swallows_it_ends_all_the_same() -> None:
    handler = Stubborn()
    slot = asyncio.Semaphore(1)

    async def run() -> None:
        async with slot:
            await handling.run_handler(handler, task(60))

    running = asyncio.create_task(run())
    await asyncio.sleep(0.01)
    running.cancel()
    async with asyncio.timeout(2), slot:
        pass
    assert running.cancelled()
    handler.may_end.set()
