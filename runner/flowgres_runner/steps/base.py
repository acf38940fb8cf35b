"""What a step type is: a class that takes tasks and answers with outcomes. This is the module that packages import.

    StepError                   why an attempt failed: raise it, or return it in Failed
    ├── ConfigInvalidError      the configuration, as rendered, cannot be used; trying again would not help
    └── HttpFailedError         a request of `task.http` brought no answer that was expected

Outcomes are values. What a step type of a package raises besides StepError is reported as `step_error`, with its type
and message; what a built-in one raises is a bug of ours, and reported as `internal_error`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

from flowgres_definitions.problems import Path, Problem
from flowgres_definitions.rendered import ConfigCheck, ConfigRules, core_rules, describe_config_problems, own_codes
from flowgres_runner.json_values import Json as Json
from flowgres_runner.payloads.texts import JsonText as JsonText
from flowgres_runner.payloads.texts import Unread
from flowgres_runner.providers import NO_PROVIDERS, Providers
from flowgres_runner.steps.lines import LOG_LEVELS as LOG_LEVELS
from flowgres_runner.steps.lines import MAX_LOG_CHARACTERS as MAX_LOG_CHARACTERS
from flowgres_runner.steps.lines import MAX_LOG_LINES as MAX_LOG_LINES
from flowgres_runner.steps.lines import StepLog as StepLog
from flowgres_runner.steps.lines import StepProgress as StepProgress
from flowgres_runner.steps.outcomes import OUTCOMES as OUTCOMES
from flowgres_runner.steps.outcomes import ChildStarted as ChildStarted
from flowgres_runner.steps.outcomes import Completed as Completed
from flowgres_runner.steps.outcomes import ConfigInvalidError as ConfigInvalidError
from flowgres_runner.steps.outcomes import Expanded as Expanded
from flowgres_runner.steps.outcomes import Failed as Failed
from flowgres_runner.steps.outcomes import HttpFailedError as HttpFailedError
from flowgres_runner.steps.outcomes import Outcome as Outcome
from flowgres_runner.steps.outcomes import Parked as Parked
from flowgres_runner.steps.outcomes import Skipped as Skipped
from flowgres_runner.steps.outcomes import StepError as StepError
from flowgres_runner.steps.outcomes import Suspended as Suspended
from flowgres_runner.steps.outcomes import TransitionAsked as TransitionAsked
from flowgres_runner.trace_context import TraceContext


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer with an expected status. `body` is parsed JSON, a text, or base64 when `is_binary`.

    `header_values` has those headers that came more than once, and cookies, one by one.
    """

    status: int
    headers: Mapping[str, str]
    body: Json
    is_binary: bool
    url: str
    header_values: Mapping[str, Sequence[str]] = field(default_factory=dict)


class StepHttp(Protocol):
    """The guarded HTTP client, for one attempt.

    Its rules are those of the http step: no private address unless the operator allows it, checked at the connect; the
    attempt's deadline; bounded answers; the step's secrets masked in what comes back.
    """

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        json: Json = None,
        timeout_seconds: float | None = None,
        expected_status: Collection[int] | None = None,
    ) -> HttpAnswer:
        """Send a request from an `async def run`; `json` is a body too. Raises HttpFailedError.

        Expected are 2xx, or the statuses given.
        """
        ...

    def request_blocking(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        json: Json = None,
        timeout_seconds: float | None = None,
        expected_status: Collection[int] | None = None,
    ) -> HttpAnswer:
        """The same from a plain `def run`."""
        ...


@dataclass(frozen=True, slots=True)
class StepTools:
    """What an attempt of a step that waits can use, and who wants to know how it goes."""

    http: StepHttp
    log: StepLog
    deadline: float
    cancelled: threading.Event
    secret_values: tuple[str, ...] = field(default=(), repr=False)
    providers: Providers = NO_PROVIDERS
    progress: StepProgress = field(default_factory=StepProgress, repr=False)


@dataclass(slots=True)
class StepTask:
    """One attempt of one step, as a handler sees it.

    `config` is rendered (secrets put in where the type's `secret_places` allow it), `timeout_seconds` bounds this
    attempt, `resume` is set when a suspended step goes on. `trace` is its span, where the type waits. `item` is that of
    a `foreach`, `round` counts from 1 where a step repeats. `check` says what of `config` is left to check; without one
    nobody has looked, so that is all of it. `lease` is for the engine's own types alone.
    """

    tenant_id: str
    execution_id: str
    step_id: str
    iteration: int | None
    attempt: int
    config: Json
    timeout_seconds: float
    resume: Json
    trace: TraceContext | None = None
    tools: StepTools | None = field(default=None, repr=False)
    round: int | None = None
    check: ConfigCheck | None = field(default=None, repr=False)
    item: Json = None
    lease: Sequence[str | int] = field(default=(), repr=False)

    @property
    def idempotency_key(self) -> str:
        """What all attempts of this step in this execution share: `<execution>/<step>[/<iteration>][/r<round>]`."""
        key = f"{self.execution_id}/{self.step_id}"
        if self.iteration is not None:
            key = f"{key}/{self.iteration}"
        return key if self.round is None else f"{key}/r{self.round}"

    @property
    def http(self) -> StepHttp:
        """The guarded HTTP client."""
        return self._tools.http

    @property
    def log(self) -> StepLog:
        """Where to log lines that become events of the execution."""
        return self._tools.log

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the attempt is, from 0 to 1: an event `step_progress`, at most one a second."""
        self._tools.progress.say(fraction, message)

    @property
    def remaining_seconds(self) -> float:
        """Until the deadline of this attempt; 0 when it is over."""
        return max(0.0, self._tools.deadline - time.monotonic())

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for this attempt any more; an `async def run` gets CancelledError besides."""
        return self.tools is not None and self.tools.cancelled.is_set()

    @property
    def secret_values(self) -> tuple[str, ...]:
        """The values of the secrets that were put into `config`, which are masked in what comes out."""
        return () if self.tools is None else self.tools.secret_values

    @property
    def providers(self) -> Providers:
        """Whose accounts it may use: those that `Handler.provider_names` asked for."""
        return self._tools.providers

    @property
    def _tools(self) -> StepTools:
        if self.tools is None:
            raise RuntimeError("a step that only computes has no tools")
        return self.tools


class StepType:
    """A step type of a package. Inherit from it, or give a class of your own these members.

    `type` is its name, `config_schema` the JSON Schema (2020-12) of `config`: it is enforced at import, where
    expressions may stand for any value, and again for the rendered configuration. Secrets may be named below the keys
    of `secret_places`. `max_threads` bounds the attempts of a plain `def run` at once.
    """

    type: str
    config_schema: Mapping[str, Json] = {}
    secret_places: tuple[str, ...] = ()
    max_threads: int = 32

    # `run(self, task: StepTask) -> Outcome` is not declared here: it may be `async def` or `def`.

    async def start(self) -> None:
        """Called once, before the runner takes work; may be a plain `def`. A type that cannot start is not served."""

    async def stop(self) -> None:
        """Called once, when the runner ends; may be a plain `def`."""


class Handler:
    """A step type as the engine sees it: it is asked what it is, and never known by its name or class.

    Those that wait are asked to `run`, and get a task of their own; the others to `run_now`, which must not wait. Both
    look at the configuration first. A type says what it does in `_run` or `_run_now`.
    """

    type: str
    config_schema: Mapping[str, Json] = {}
    """Of a package's type; those of the built-in ones stand in the description of the language."""
    waits: bool = False
    is_core: bool = True
    """Built in; others are those of packages, and capabilities of their own."""
    is_optional: bool = False
    """Built in, and a capability of its own all the same: not every runner has what it needs."""
    uses_tools: bool = False
    """Whether its attempts are given `StepTask.tools`."""
    has_stub: bool = False
    """Whether it does nothing outside when the tenant's settings say so, as those of cases do."""
    least_timeout_seconds: float = 0.0
    """Of an attempt whose step names no time."""
    is_bounded: bool = False
    """Whether all that it waits for ends with the attempt's time anyway: nobody else keeps a clock then."""
    is_hidden: bool = False
    """Made by the engine: no definition may name it."""
    secret_places: tuple[str, ...] = ()
    """Keys of the configuration that secrets are put into; only for types that wait, which alone send anything."""
    text_members: frozenset[str] = frozenset()
    """Members of the configuration that may come as JsonText, of any depth, when they are large."""
    output_name: str | None = None
    """What a step's `output` may call the outcome besides `output`."""
    resumes_unrendered: bool = False
    """When it was suspended, `resume` is all it needs to go on."""

    added_members: frozenset[str] = frozenset()
    """What `with_found` puts beside the members of the configuration that a definition may have."""
    judged_members: frozenset[str] = frozenset()
    """Members whose texts are judged by what uses them, which has codes of its own."""
    config_codes: Mapping[str, str] = {}
    """Codes that its schema names for what is wrong, with their classes; for all others it is config_invalid."""

    async def run(self, task: StepTask) -> Outcome:
        """Run one attempt, if its configuration can be used; return its outcome."""
        checked = self.checked(task)
        return checked if isinstance(checked, Failed) else await self._run(checked)

    def run_now(self, task: StepTask) -> Outcome:
        """Run one attempt at once, if its configuration can be used; return its outcome."""
        checked = self.checked(task)
        return checked if isinstance(checked, Failed) else self._run_now(checked)

    async def _run(self, task: StepTask) -> Outcome:
        """What a type that waits does; the configuration is in its canonical form, and as its schema says."""
        raise NotImplementedError

    def _run_now(self, task: StepTask) -> Outcome:
        """What a type that only computes does, likewise."""
        raise NotImplementedError

    @cached_property
    def rules(self) -> ConfigRules | None:
        """What a configuration has to be; None when that is anything."""
        if self.is_hidden:
            return None
        return core_rules(self.type, added=self.added_members, judged=self.judged_members)

    def compile_check(self, config: Json) -> ConfigCheck | None:
        """What will be left to check of a configuration, given before it is rendered."""
        return None if self.rules is None else ConfigCheck(self.rules, config)

    def checked(self, task: StepTask) -> StepTask | Failed:
        """The task with its configuration in the canonical form, or what is wrong with it: trying again would not help.

        What is written out was checked at the import, so without expressions there is nothing to do.
        """
        rules, check = self.rules, task.check
        if rules is None or (check is not None and not check) or (task.resume is not None and self.resumes_unrendered):
            return task
        if isinstance(task.resume, dict) and task.resume.get("is_handled"):
            # What `on_timeout` gives stands in its place.
            return task
        config, problems = (check or rules).settle(task.config)
        if problems:
            return self._refused(problems)
        return task if config is task.config else replace(task, config=config)

    def _refused(self, problems: list[tuple[Path, Problem]]) -> Failed:
        message, details = describe_config_problems(problems)
        path, first = problems[0]
        if self.config_codes and self.rules is not None:
            named = own_codes(self.rules.rendered, path) | {first.code}
            for code in named & self.config_codes.keys():
                return Failed(StepError(code, message, self.config_codes[code], details=details))
        return Failed(StepError("config_invalid", message, "validation", details=details))

    def output_path(self, config: Json) -> tuple[str, ...] | None:
        """Where in the configuration, given before it is rendered, the output will lie: `()` for all of it.

        None when that cannot be said. `_run_now` has to answer with that very object; whatever else it answers, a
        failure for one, is right too, but then what was rendered together is rendered again.
        """
        return None

    def provider_names(self, config: Json) -> tuple[str, ...]:
        """Secrets that an attempt looks for by itself, given its rendered configuration."""
        return ()

    def calls_back(self, config: Json) -> bool:
        """Whether a step with this configuration, given before it is rendered, waits to be called at an address."""
        return False

    def looks_up(self, config: Json) -> bool:
        """Whether the configuration, given before it is rendered, names something that `find` has to find."""
        return False

    def find(self, config: Json, context: Mapping[str, Json]) -> list[Json] | Unread:
        """What the rendered configuration names, in what expressions see: [value], or nothing; or where to look on."""
        return []

    def with_found(self, config: Json, found: list[Json]) -> Json:
        """The rendered configuration with what was found."""
        return config

    async def start(self) -> None:
        """Called once, before the runner takes work."""

    async def stop(self) -> None:
        """Called once, when the runner ends."""
