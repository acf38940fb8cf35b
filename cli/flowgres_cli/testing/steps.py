"""Steps of cases: which of them run as they are, and which are answered for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from flowgres_cli.testing.clock import AttemptKey, VirtualClock
from flowgres_cli.testing.matching import ABSENT
from flowgres_cli.testing.mocks import Answer, Asked
from flowgres_cli.testing.world import Attempt, World, current_attempt
from flowgres_definitions.description import core_step_types
from flowgres_definitions.rendered import ConfigCheck
from flowgres_runner.steps.base import Completed, Failed, Handler, Json, JsonText, Outcome, StepError, StepTask
from flowgres_runner.steps.http import HttpStep
from flowgres_runner.steps.offered import OfferedHandler
from flowgres_runner.steps.registry import custom_handlers

NOT_MOCKED = "step_not_mocked"


class Stagehand:
    """Chooses what runs a step: `worlds` are those of the cases, by the slug of the tenant that each of them is."""

    def __init__(self, clock: VirtualClock, worlds: Mapping[str, World], run_types: Collection[str]) -> None:
        self._clock = clock
        self._worlds = worlds
        self._run_types = run_types

    def choose(self, version: Mapping[str, Any], step: Mapping[str, Any], handler: Handler) -> Handler:
        """The handler of a step: that of its type as it is, where that neither waits nor is mocked."""
        world = self._worlds.get(version["tenant_slug"])
        if world is None:
            return handler
        workflow, name = version["workflow_name"], step["id"]
        if not handler.waits and not world.answers.is_mocked(workflow, name):
            return handler
        # The network below the http step is mocked, and what has a stub gives that; whatever else waits would be let
        # out into the world.
        is_safe = (
            not handler.waits or handler.has_stub or isinstance(handler, HttpStep) or handler.type in self._run_types
        )
        return MockedStep(handler, self._clock, world, workflow, is_safe=is_safe)

    def offered(self) -> dict[str, OfferedHandler]:
        """The installed step types; the code of those that nobody wants to run is not even started."""
        return {
            name: handler if name in self._run_types else _Unstarted(handler)
            for name, handler in custom_handlers(core_step_types()).items()
        }


class MockedStep(Handler):
    """Gives the answer of a mock, or runs the step that it stands for."""

    waits = True

    def __init__(self, inner: Handler, clock: VirtualClock, world: World, workflow: str, *, is_safe: bool) -> None:
        self._inner = inner
        self._clock = clock
        self._world = world
        self._workflow = workflow
        self._is_safe = is_safe
        self.type = inner.type
        self.config_schema = inner.config_schema
        self.is_core = inner.is_core
        self.uses_tools = inner.uses_tools
        self.has_stub = inner.has_stub
        self.least_timeout_seconds = inner.least_timeout_seconds
        self.secret_places = inner.secret_places
        self.text_members = inner.text_members
        self.output_name = inner.output_name
        self.resumes_unrendered = inner.resumes_unrendered
        self.calls_back = inner.calls_back  # type: ignore[method-assign]  # asked for what is in place of the other

    def compile_check(self, config: Json) -> ConfigCheck | None:
        """What the step that it stands for has to look at."""
        return self._inner.compile_check(config)

    def provider_names(self, config: Json) -> tuple[str, ...]:
        """What the step that it stands for looks for."""
        return self._inner.provider_names(config)

    async def run(self, task: StepTask) -> Outcome:
        """Run one attempt."""
        iteration = -1 if task.iteration is None else task.iteration
        self._clock.begin(AttemptKey(task.execution_id, task.step_id, iteration))
        asked = Asked(
            workflow=self._workflow,
            step=task.step_id,
            execution_id=task.execution_id,
            iteration=task.iteration,
            attempt=task.attempt,
            item=task.item,
            config=_opened(task.config),
        )
        attempt = Attempt(self._world, asked)
        current_attempt.set(attempt)
        # What it was suspended for was its own doing, and so is going on.
        answer = self._world.answers.of_step(asked) if task.resume is None else None
        # The failure of a request is answered as one: it has been made, and counts among the requests.
        is_of_request = answer is not None and (answer.is_http or isinstance(self._inner, HttpStep))
        if answer is not None and (not is_of_request or answer.output is not ABSENT):
            # What it would have been given has to be sound all the same.
            checked = self._inner.checked(task)
            return checked if isinstance(checked, Failed) else await self._replaced(answer)
        if not self._is_safe:
            return self._not_mocked(task)
        attempt.answer = answer
        return await self._inner.run(task) if self._inner.waits else self._inner.run_now(task)

    async def _replaced(self, answer: Answer) -> Outcome:
        await self._clock.sleep(answer.takes)
        if answer.output is not ABSENT:
            return Completed(answer.output, is_final=True)
        error = answer.error or {}
        code = str(error["code"])
        return Failed(
            StepError(
                code,
                str(error.get("message", code)),
                str(error.get("class", "step_error")),
                error.get("retry_after"),
                error.get("details"),
                retryable=error.get("retryable"),
            )
        )

    def _not_mocked(self, task: StepTask) -> Outcome:
        sentence = f"no mock is for the step {task.step_id}, and its type {self.type} would do what it does for real"
        self._world.unanswered.append(sentence)
        hint = "Give its output in a mock with `step`; a package's code runs when its type is among `run_types`."
        return Failed(StepError(NOT_MOCKED, sentence, "validation", details={"hint": hint}, retryable=False))


class _Unstarted(OfferedHandler):
    """A step type that is known, and does nothing."""

    def __init__(self, known: OfferedHandler) -> None:
        self.type = known.type
        self.config_schema = known.config_schema
        self.secret_places = known.secret_places

    async def start(self) -> None:
        """Not for cases."""

    async def stop(self) -> None:
        """It was not started."""

    def look_after(self) -> None:
        """There is nothing to look after."""


def _opened(config: Json) -> Any:
    """The configuration with large members as values."""
    if not isinstance(config, dict):
        return config
    return {
        name: json.loads(bytes(value.data)) if isinstance(value, JsonText) else value for name, value in config.items()
    }
