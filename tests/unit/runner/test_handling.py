"""An attempt has its time, and keeps no slot beyond it, whatever the step type does with its cancellation."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from flowgres_runner.execution import handling
from flowgres_runner.steps.base import Completed, Failed, Outcome, StepTask, StepType
from flowgres_runner.steps.offered import OfferedHandler


def task(seconds: float) -> StepTask:
    return StepTask("t", "x", "step", None, 1, {}, seconds, None)


class Stubborn(StepType):
    """Swallows every cancellation until it is allowed to end."""

    type = "stubborn"

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.cancelled = 0

    async def run(self, task: StepTask) -> Outcome:
        while not self.may_end.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.cancelled += 1
        return Completed("late")


class Blocking(StepType):
    """Waits in a thread, where nothing can be cancelled."""

    type = "blocking"

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def run(self, task: StepTask) -> Outcome:
        self.may_end.wait(30)
        return Completed("late")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handling, "LATE_SECONDS", 0.0)


@pytest.fixture(params=[Stubborn, Blocking])
async def handler(request: pytest.FixtureRequest) -> AsyncIterator[OfferedHandler]:
    offered = request.param()
    handler = OfferedHandler(offered)
    await handler.start()
    yield handler
    offered.may_end.set()
    await handler.stop()


async def test_a_type_that_ignores_its_deadline_is_left_behind(handler: OfferedHandler) -> None:
    began = time.monotonic()
    outcome = await handling.run_handler(handler, task(0.05))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "step_timeout"
    assert time.monotonic() - began < 2


async def test_abort_of_a_type_that_swallows_it_ends_all_the_same(handler: OfferedHandler) -> None:
    slot = asyncio.Semaphore(1)

    async def run() -> None:
        async with slot:
            await handling.run_handler(handler, task(60))

    running = asyncio.create_task(run())
    await asyncio.sleep(0.05)
    running.cancel()
    async with asyncio.timeout(2), slot:
        pass
    assert running.cancelled()
