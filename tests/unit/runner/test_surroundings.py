"""What whoever makes a runner may put in the place of the world: time, network, handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

from flowgres_cli.testing.clock import VirtualClock
from flowgres_runner.execution import handling
from flowgres_runner.execution.versions import compile_version
from flowgres_runner.http import Client, Failure, Identity, Request, Target
from flowgres_runner.http.transport import Answer
from flowgres_runner.steps.base import Completed, Failed, Handler, Outcome, StepTask, StepType
from flowgres_runner.steps.foreach import ForeachHandler
from flowgres_runner.steps.offered import OfferedHandler

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
LIMITS = {"max_output_bytes": 1000, "max_json_depth": 8, "step_timeout_seconds": 30, "max_delay_seconds": 60}
seen: ContextVar[str] = ContextVar("seen", default="nothing")


class _Late(Handler):
    type = "late"
    rules = None  # no definition describes it
    waits = True

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    async def run(self, task: StepTask) -> Outcome:
        await self._clock.sleep(3600)
        return Completed("late")


class _LateTransport:
    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    async def send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        identity: Identity | None = None,
    ) -> Answer:
        await self._clock.sleep(3600)
        raise AssertionError("it is too late")

    async def close(self) -> None:
        """Nothing is open."""


def task(seconds: float) -> StepTask:
    return StepTask("t", "x", "step", None, 1, {}, seconds, None)


async def _after(clock: VirtualClock, seconds: float) -> None:
    for _ in range(10):
        await asyncio.sleep(0)
    clock.move_to(START + timedelta(seconds=seconds))


async def test_attempt_ends_by_the_time_that_was_given() -> None:
    clock = VirtualClock(START)
    running = asyncio.create_task(handling.run_handler(_Late(clock), task(60), clock))
    await _after(clock, 60 + handling.LATE_SECONDS)
    outcome = await running
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "step_timeout"


async def test_request_ends_and_is_measured_by_the_time_that_was_given() -> None:
    clock = VirtualClock(START)
    async with Client(transport=_LateTransport(clock), timing=clock) as client:
        request = Request("GET", "https://a.example/")
        asking = asyncio.create_task(client.request(request, timeout_seconds=30))
        await _after(clock, 30)
        answer = await asking
    assert isinstance(answer, Failure)
    assert (answer.code, answer.duration_ms) == ("http_timeout", 30_000)


def _step(index: int, **members: Any) -> dict[str, Any]:
    return {
        "index": index,
        "id": f"s{index}",
        "type": "late",
        "config": {},
        "chain": None,
        "section": "steps",
        **members,
    }


def test_handler_of_a_step_is_chosen_and_the_list_of_its_items_is_not() -> None:
    late, other, foreach = _Late(VirtualClock(START)), _Late(VirtualClock(START)), ForeachHandler()
    raw = {
        "version_id": "v",
        "workflow_name": "w",
        "version": 1,
        "tenant_slug": "acme",
        "limits": LIMITS,
        "steps": [_step(0), _step(1), _step(2, items="{{ input.items }}")],
    }
    asked: list[tuple[str, str]] = []

    def choose(version: Mapping[str, Any], step: Mapping[str, Any], handler: Handler) -> Handler:
        asked.append((version["tenant_slug"], step["id"]))
        return handler if step["id"] == "s0" else other

    steps = compile_version(raw, {"late": late, "foreach": foreach}, choose).steps
    assert (steps[0].handler, steps[1].handler) == (late, other)
    assert steps[2].pure is foreach
    assert steps[2].each is not None
    assert steps[2].each.handler is other
    assert asked == [("acme", "s0"), ("acme", "s1"), ("acme", "s2")]


class _Looking(StepType):
    type = "looking"

    def run(self, task: StepTask) -> Outcome:
        return Completed(seen.get())


async def test_thread_of_a_step_type_has_the_context_of_its_attempt() -> None:
    handler = OfferedHandler(_Looking())
    await handler.start()
    seen.set("the attempt")
    assert await handler.run(task(5)) == Completed("the attempt")
    await handler.stop()
