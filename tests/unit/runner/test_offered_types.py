"""Step types of packages, one attempt at a time: what they may do, and what they cannot break."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from flowgres_runner.http import Client
from flowgres_runner.steps import (
    Completed,
    ConfigInvalidError,
    Failed,
    Outcome,
    StepError,
    StepTask,
    StepType,
)
from flowgres_runner.steps.base import MAX_LOG_LINES
from tests.support.offered import make_task, served, typed

BLOCKED_SECONDS = 2.5


@contextmanager
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


class Either:
    """The same behaviour as `async def run` and as `def run`."""

    def __init__(self, behave: Any) -> None:
        async def run_async(task: StepTask) -> Outcome:
            return behave(task)  # type: ignore[no-any-return]

        self.kinds = [typed(run_async), typed(behave)]


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize(
    ("error", "code", "error_class", "retryable", "message"),
    [
        (ValueError("bad luck"), "step_error", "step_error", None, "ValueError: bad luck"),
        (KeyError(), "step_error", "step_error", None, "KeyError"),
        (SystemExit(3), "step_error", "step_error", None, "SystemExit: 3"),
        (asyncio.CancelledError(), "step_error", "step_error", None, "CancelledError"),
        (StepError("sold_out", "none left", retryable=False), "sold_out", "step_error", False, "none left"),
        (StepError("busy", "later", "429", 7.0, {"n": 1}), "busy", "429", None, "later"),
        (ConfigInvalidError("no such colour"), "config_invalid", "validation", None, "no such colour"),
    ],
)
async def test_what_a_type_raises_is_told_as_its_own(
    kind: int,
    error: BaseException,
    code: str,
    error_class: str,
    retryable: bool | None,
    message: str,
    client: Client,
) -> None:
    def behave(task: StepTask) -> Outcome:
        raise error

    async with served(Either(behave).kinds[kind]) as handler:
        outcome = await handler.run(make_task(client))
        assert isinstance(outcome, Failed)
        told = outcome.error
        assert (told.code, told.error_class, told.retryable) == (code, error_class, retryable)
        assert told.message.startswith(message)
        # Its thread and its loop go on.
        assert isinstance(await handler.run(make_task(client)), Failed)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("returned", [None, "text", {"output": 1}, Completed, Failed("text")])  # type: ignore[arg-type]
async def test_what_is_no_outcome_is_named(kind: int, returned: Any, client: Client) -> None:
    async with served(Either(lambda task: returned).kinds[kind]) as handler:
        outcome = await handler.run(make_task(client))
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.retryable) == ("outcome_invalid", False)


async def test_traceback_in_the_log_holds_no_secret(client: Client) -> None:
    def behave(task: StepTask) -> Outcome:
        raise ValueError(f"refused {task.config}")

    with logged() as entries:
        async with served(typed(behave)) as handler:
            await handler.run(make_task(client, secrets=("hunter2222",), key="hunter2222"))
    (entry,) = [entry for entry in entries if entry["event"] == "step_type_raised"]
    assert "hunter2222" not in repr(entry)
    assert "ValueError: refused" in entry["traceback"]


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({}, 'config.text: "text" is missing'),
        ({"text": 5}, "config.text: expected text, found number"),
        ({"text": "a", "tekst": 1}, 'config.tekst: the key "tekst" is not known here'),
        ({"text": "a", "size": 9}, "config.size: the number is out of range (At most 5.)"),
    ],
)
async def test_rendered_configuration_is_what_the_schema_says(
    config: dict[str, Any], where: str, client: Client
) -> None:
    class Strict(StepType):
        type = "strict"
        config_schema: Mapping[str, Any] = {
            "type": "object",
            "properties": {"text": {"type": "string"}, "size": {"type": "integer", "maximum": 5}},
            "required": ["text"],
            "additionalProperties": False,
        }

        def run(self, task: StepTask) -> Outcome:
            raise AssertionError("it is not run")

    async with served(Strict()) as handler:
        outcome = await handler.run(make_task(client, **config))
    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.error_class) == ("config_invalid", "validation")
    assert outcome.error.message.startswith(where)
    details: Any = outcome.error.details
    assert details[0]["path"] in where


@pytest.mark.parametrize(
    "rule",
    [{"type": "string", "pattern": "^tok_"}, {"enum": ["a"]}, {"const": "a"}, {"maxLength": 3}, {"type": "integer"}],
)
async def test_no_error_of_a_configuration_quotes_a_value(rule: dict[str, Any], client: Client) -> None:
    class Guarded(StepType):
        type = "guarded"
        config_schema: Mapping[str, Any] = {"type": "object", "properties": {"token": rule}}

        def run(self, task: StepTask) -> Outcome:
            raise AssertionError("it is not run")

    secret = "sk-live-" + "0123456789" * 8
    async with served(Guarded()) as handler:
        outcome = await handler.run(make_task(client, token=secret))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "config_invalid"
    # Cut, it would be masked nowhere.
    assert secret[:12] not in repr(outcome)


async def test_blocking_runs_delay_neither_the_loop_nor_each_other(client: Client) -> None:
    def behave(task: StepTask) -> Outcome:
        time.sleep(0.3)
        return Completed(threading.current_thread().name)

    async with served(typed(behave)) as handler:
        began = time.monotonic()
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        outcomes = await asyncio.gather(*(handler.run(make_task(client)) for _ in range(10)))
        ticking.cancel()
    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert time.monotonic() - began < 2
    assert ticks > 10


async def test_threads_of_one_type_are_bounded(client: Client) -> None:
    alive = most = 0
    lock = threading.Lock()

    class Heavy(StepType):
        type = "heavy"
        max_threads = 3

        def run(self, task: StepTask) -> Outcome:
            nonlocal alive, most
            with lock:
                alive += 1
                most = max(most, alive)
            time.sleep(0.05)
            with lock:
                alive -= 1
            return Completed(None)

    async with served(Heavy()) as handler:
        await asyncio.gather(*(handler.run(make_task(client)) for _ in range(12)))
    assert most == 3


async def test_async_run_that_blocks_is_named_and_holds_up_nothing_else(client: Client) -> None:
    async def run(task: StepTask) -> Outcome:
        time.sleep(BLOCKED_SECONDS)
        return Completed(None)

    async def run_other(task: StepTask) -> Outcome:
        await asyncio.sleep(0.01)
        return Completed("other")

    with logged() as entries:
        async with served(typed(run)) as handler, served(typed(run_other)) as other:
            blocked = asyncio.create_task(handler.run(make_task(client)))
            began = time.monotonic()
            while not blocked.done():
                handler.look_after()
                await asyncio.wait_for(other.run(make_task(client)), 1)
            assert time.monotonic() - began < BLOCKED_SECONDS + 1
            deadline = time.monotonic() + 2
            while not any(entry["event"] == "step_type_unblocked" for entry in entries):
                assert time.monotonic() < deadline
                handler.look_after()
                await asyncio.sleep(0.01)
    (entry,) = [entry for entry in entries if entry["event"] == "step_type_blocked"]
    assert entry["type"] == "subject"
    assert entry["executions"] == ["x"]
    assert any("test_offered_types.py" in place for place in entry["at"])


@pytest.mark.parametrize("is_async", [True, False])
async def test_cancel_is_seen_by_the_attempt(is_async: bool, client: Client) -> None:
    seen = threading.Event()

    async def run_async(task: StepTask) -> Outcome:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            assert task.is_cancelled
            seen.set()
            raise
        return Completed(None)

    def run(task: StepTask) -> Outcome:
        while not task.is_cancelled:
            time.sleep(0.01)
        seen.set()
        return Completed(None)

    async with served(typed(run_async if is_async else run)) as handler:
        running = asyncio.create_task(handler.run(make_task(client)))
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asyncio.to_thread(seen.wait, 5)


async def test_log_is_bounded(client: Client) -> None:
    task = make_task(client)
    for number in range(MAX_LOG_LINES + 50):
        task.log.info(f"line {number}")
    assert len(task.log.lines) == MAX_LOG_LINES
    assert task.log.lines[-1] == ("warning", "51 more lines were not kept")


@pytest.mark.parametrize("is_async", [True, False])
async def test_start_and_stop_frame_the_life_of_a_type(is_async: bool, client: Client) -> None:
    calls: list[str] = []

    class Plain(StepType):
        type = "plain"

        def start(self) -> None:  # type: ignore[override]
            calls.append("start")

        def stop(self) -> None:  # type: ignore[override]
            calls.append("stop")

        def run(self, task: StepTask) -> Outcome:
            calls.append("run")
            return Completed(None)

    class Awaiting(StepType):
        type = "awaiting"

        async def start(self) -> None:
            self.loop = asyncio.get_running_loop()
            calls.append("start")

        async def stop(self) -> None:
            assert self.loop is asyncio.get_running_loop()
            calls.append("stop")

        async def run(self, task: StepTask) -> Outcome:
            assert self.loop is asyncio.get_running_loop()
            calls.append("run")
            return Completed(None)

    async with served(Awaiting() if is_async else Plain()) as handler:
        assert isinstance(await handler.run(make_task(client)), Completed)
    assert calls == ["start", "run", "stop"]
