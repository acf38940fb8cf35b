"""A step type of a package, as the engine sees it: checked, beside the loop, its mistakes named as its own."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

from flowgres_definitions.rendered import ConfigRules
from flowgres_process.logs import get_logger
from flowgres_runner.errors import OutputError
from flowgres_runner.json_values import LARGE_BYTES, encode_json
from flowgres_runner.payloads.masks import masker
from flowgres_runner.payloads.texts import text_of
from flowgres_runner.steps.base import (
    OUTCOMES,
    ChildStarted,
    Completed,
    Failed,
    Handler,
    Json,
    JsonText,
    Outcome,
    StepError,
    StepTask,
    StepType,
)
from flowgres_runner.steps.threads import OwnLoop, Threads

log = get_logger(__name__)

START_SECONDS = 30.0
STOP_SECONDS = 5.0
BLOCKED_SECONDS = 1.0
"""A type's loop that does not answer for so long is blocked by something that should have been awaited."""
MAX_MESSAGE_CHARACTERS = 1_000


class OfferedHandler(Handler):
    """Runs the attempts of one offered step type; `run` never raises for what the type does."""

    waits = True
    is_core = False
    uses_tools = True

    def __init__(self, offered: Any) -> None:
        self.type = offered.type
        self.config_schema = dict(getattr(offered, "config_schema", StepType.config_schema))
        self.secret_places = tuple(getattr(offered, "secret_places", StepType.secret_places))
        self._offered = offered
        self._is_async = inspect.iscoroutinefunction(offered.run)
        self._threads = Threads(self.type, limit=int(getattr(offered, "max_threads", StepType.max_threads)))
        needs_loop = self._is_async or any(
            inspect.iscoroutinefunction(getattr(offered, name, None)) for name in ("start", "stop")
        )
        self._loop = OwnLoop(self.type) if needs_loop else None
        self._running: dict[int, StepTask] = {}
        self._blocked_since: float | None = None

    @cached_property
    def rules(self) -> ConfigRules:
        """What its schema says."""
        return ConfigRules.of_package(self.config_schema)

    async def start(self) -> None:
        """Let the type open what its attempts share. Raises whatever it raises, TimeoutError after START_SECONDS."""
        if self._loop is not None:
            self._loop.start()
        async with asyncio.timeout(START_SECONDS):
            await self._lifecycle("start")

    async def stop(self) -> None:
        """Let the type close it; neither an error nor a hang keeps the runner."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._lifecycle("stop")
        except Exception as error:
            log.warning("step_type_stop_failed", type=self.type, error=f"{type(error).__name__}: {error}")
        if self._loop is not None:
            self._loop.stop()

    async def run(self, task: StepTask) -> Outcome:
        """Run one attempt beside the runner's loop; patterns of its schema may take long as well."""
        on_cancel = task.tools.cancelled.set if task.tools is not None else lambda: None
        self._running[id(task)] = task
        try:
            if self._is_async and self._loop is not None:
                return await self._loop.call(self._attempt_async(task), on_cancel=on_cancel)
            return await self._threads.call(lambda: self._attempt(task), on_cancel=on_cancel)
        finally:
            del self._running[id(task)]

    def look_after(self) -> None:
        """Say once when the type's loop is blocked, and where, and once when it goes on."""
        silent = 0.0 if self._loop is None else self._loop.silent_seconds()
        if self._loop is not None and silent >= BLOCKED_SECONDS and self._blocked_since is None:
            self._blocked_since = silent
            log.warning(
                "step_type_blocked",
                type=self.type,
                executions=[task.execution_id for task in self._running.values()][:5],
                at=self._loop.describe(),
                hint="An async run must not block: await, or write a plain def run, which has a thread.",
            )
        elif silent < BLOCKED_SECONDS and self._blocked_since is not None:
            self._blocked_since = None
            log.info("step_type_unblocked", type=self.type)

    async def _lifecycle(self, name: str) -> None:
        function = getattr(self._offered, name, None)
        if function is None:
            return
        if inspect.iscoroutinefunction(function) and self._loop is not None:
            await self._loop.call(function())
            return
        error = await self._threads.call(lambda: _error_of(function))
        if error is not None:
            raise error

    async def _attempt_async(self, task: StepTask) -> Outcome:
        try:
            checked = self.checked(task)
            if isinstance(checked, Failed):
                return checked
            return _settled(self._judged(await self._offered.run(checked)), task.secret_values)
        except asyncio.CancelledError:
            if task.is_cancelled:
                raise
            # Not ours: something that it waited for was cancelled.
            return self._failure(task, asyncio.CancelledError("what it waited for was cancelled"))
        except BaseException as error:
            return self._failure(task, error)

    def _attempt(self, task: StepTask) -> Outcome:
        try:
            checked = self.checked(task)
            if isinstance(checked, Failed):
                return checked
            return _settled(self._judged(self._offered.run(checked)), task.secret_values)
        except BaseException as error:
            return self._failure(task, error)

    def _judged(self, outcome: Any) -> Outcome:
        if isinstance(outcome, OUTCOMES) and not (
            isinstance(outcome, Failed) and not isinstance(outcome.error, StepError)
        ):
            return outcome
        if inspect.iscoroutine(outcome):
            outcome.close()
        raise StepError(
            "outcome_invalid",
            f"the step type {self.type} returned {type(outcome).__name__}, which is no outcome as Completed(output) is",
            retryable=False,
        )

    def _failure(self, task: StepTask, error: BaseException) -> Failed:
        if isinstance(error, StepError):
            error.details = _bounded(error.details)
            return Failed(error)
        mask = masker(task.secret_values)
        log.warning(
            "step_type_raised",
            type=self.type,
            execution_id=task.execution_id,
            step=task.step_id,
            error=type(error).__name__,
            traceback=mask.text("".join(traceback.format_exception(error))),
        )
        text = str(error)[:MAX_MESSAGE_CHARACTERS]
        message = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return Failed(StepError("step_error", message, details={"exception": type(error).__qualname__}))


def _settled(outcome: Outcome, secret_values: tuple[str, ...]) -> Outcome:
    """The outcome with what is large of it as text: writing that is nothing for the runner's loop.

    Raises StepError for what cannot be stored.
    """
    if isinstance(outcome, Completed):
        outcome = replace(outcome, output=_text_of(outcome.output, secret_values), detail=_bounded(outcome.detail))
    elif isinstance(outcome, ChildStarted):
        outcome = replace(outcome, input=_text_of(outcome.input, secret_values))
    elif isinstance(outcome, Failed):
        error = outcome.error
        outcome = replace(outcome, detail=_bounded(outcome.detail))
        error.details = _bounded(error.details)
    return outcome


def _text_of(value: Json | JsonText, secret_values: tuple[str, ...]) -> Json | JsonText:
    if isinstance(value, JsonText) or not _is_large(value):
        return value
    try:
        return text_of(value, masker(secret_values))
    except OutputError as error:
        raise StepError(error.code, error.message, error.error_class) from error


def _bounded(detail: Json) -> Json:
    return {"dropped": "too large"} if _is_large(detail) else detail


def _is_large(value: Json) -> bool:
    try:
        return len(encode_json(value)) > LARGE_BYTES
    except (TypeError, ValueError, RecursionError):
        return False  # whatever it is, the report of the step says so


def _error_of(function: Callable[[], Any]) -> BaseException | None:
    try:
        function()
    except BaseException as error:
        return error
    return None
