"""What a step type is to the runner: a handler that takes a task and answers with an outcome.

Outcomes are values, never exceptions, so the engine's loop can batch them. A handler that raises all the same is
reported as an `internal` error by the loop. Custom types (entry point `flowgres.step_types`) use this module alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from flowgres_runner.json_values import Json as Json


@dataclass(frozen=True, slots=True)
class StepError:
    """Why an attempt failed.

    `code` is a stable word for clients; `error_class` is what a step's `retry.errors` is matched with: `timeout`,
    `connect`, `429`, `5xx`, `http_status`, `tls`, `definition`, `expression`, `validation`, `internal`. The classes
    definition, expression and validation are never retried. `message` holds no secret.
    """

    code: str
    message: str
    error_class: str
    retry_after_seconds: float | None = None
    details: Json = None


@dataclass(frozen=True, slots=True)
class Completed:
    """The step is done; `output` (at most MAX_OUTPUT_BYTES as JSON) feeds the steps that depend on it.

    `taken` names the steps of the chosen branch (condition, switch). `logs` are (level, message) pairs that become
    events. `detail` is kept with the attempt.
    """

    output: Json
    taken: tuple[str, ...] | None = None
    logs: tuple[tuple[str, str], ...] = ()
    detail: Json = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """The step's `when` was false."""


@dataclass(frozen=True, slots=True)
class Failed:
    """This attempt failed; whether another follows is the engine's decision."""

    error: StepError
    detail: Json = None


@dataclass(frozen=True, slots=True)
class Suspended:
    """Nothing to do for `seconds` (None: until woken); no runner is held meanwhile."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """Start this workflow (None: its active version) and resume the step when it ends."""

    workflow: str
    version: int | None
    input: Json


Outcome: TypeAlias = Completed | Skipped | Failed | Suspended | ChildStarted


@dataclass(frozen=True, slots=True)
class StepTask:
    """One attempt of one step, as a handler sees it.

    `config` is rendered (secrets put in for the types that may use them), `timeout_seconds` bounds this attempt,
    `resume` is set when a suspended step goes on, `trace_id` is 32 hexadecimal digits.
    """

    tenant_id: str
    execution_id: str
    step_id: str
    iteration: int | None
    attempt: int
    config: Json
    timeout_seconds: float
    resume: Json
    trace_id: str

    @property
    def idempotency_key(self) -> str:
        """The key that all attempts of this step in this execution share: `<execution>/<step>[/<iteration>]`."""
        key = f"{self.execution_id}/{self.step_id}"
        return key if self.iteration is None else f"{key}/{self.iteration}"


@runtime_checkable
class Handler(Protocol):
    """A step type. `config_schema` is the JSON Schema (2020-12) of `config`."""

    type: str
    config_schema: Mapping[str, Json]

    async def run(self, task: StepTask) -> Outcome:
        """Run one attempt; return its outcome."""
        ...


@runtime_checkable
class PureHandler(Protocol):
    """A step type that never waits, so it runs without a task of its own."""

    type: str
    config_schema: Mapping[str, Json]

    def run_now(self, task: StepTask) -> Outcome:
        """Run one attempt at once; return its outcome."""
        ...


@runtime_checkable
class PassingHandler(PureHandler, Protocol):
    """A pure step type that passes on its rendered configuration, or a member of it, as its output.

    Where that is known beforehand, steps can be rendered together with those that refer to their outputs.
    """

    def output_path(self, config: Json) -> tuple[str, ...] | None:
        """Where in the configuration, given before it is rendered, the output will lie: `()` for all of it.

        None when that cannot be said. `run_now` has to answer with that very object; whatever else it answers, a
        failure for one, is right too, but then what was rendered together is rendered again.
        """
        ...
