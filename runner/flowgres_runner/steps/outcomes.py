"""What an attempt comes to: outcomes, which are values, and errors, which are raised or stand in Failed.

Packages take them from `flowgres_runner.steps.base`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from flowgres_runner.errors import AttemptError
from flowgres_runner.json_values import Json
from flowgres_runner.payloads.texts import JsonText


@dataclass
class StepError(AttemptError):
    """Why an attempt failed.

    `code` is a stable word for clients, `message` a sentence. `error_class` is what a step's `retry.errors` is matched
    with: `timeout`, `connect`, `429`, `5xx`, `http_status`, `tls`, `definition`, `expression`, `validation`,
    `step_error`, `internal`; the classes definition, expression and validation are never retried. `retryable` says it
    outright: False is never tried again, True as often as the step's `retry.attempts` allow, None leaves it to
    `retry.errors`. `retry_after_seconds` is waited for at least. `details` are any JSON. Secrets of the step are masked
    in all of it.
    """

    retry_after_seconds: float | None = None
    details: Json = None
    retryable: bool | None = field(default=None, kw_only=True)

    # Two of the same content are equal, as values are; an exception has to be hashable all the same.
    __hash__ = Exception.__hash__


class ConfigInvalidError(StepError):
    """The configuration, as rendered, cannot be used; trying again would not help."""

    def __init__(self, message: str, *, details: Json = None) -> None:
        super().__init__("config_invalid", message, "validation", details=details)


class HttpFailedError(StepError):
    """A request of `task.http` brought no answer that was expected; `error_class` is as that of an http step."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The step is done; `output` (at most MAX_OUTPUT_BYTES as JSON) feeds the steps that depend on it.

    `taken` names the steps of the chosen branch (condition, switch). `logs` are (level, message) pairs that become
    events. `detail` is kept with the attempt. A large output may be given as its canonical text. An output that
    `is_final` is the step's own: its `output` makes nothing else of it.
    """

    output: Json | JsonText
    taken: tuple[str, ...] | None = None
    logs: tuple[tuple[str, str], ...] = ()
    detail: Json = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """The step's `when` was false."""


@dataclass(frozen=True, slots=True)
class Failed:
    """This attempt failed; whether another follows is the engine's decision."""

    error: StepError
    detail: Json = None
    logs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Suspended:
    """Nothing to do for `seconds` (None: until woken); no runner is held meanwhile."""

    seconds: float | None
    logs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """Start this workflow (None: its active version) and resume the step when it ends.

    One that `is_detached` goes its own way: the step is resumed at once.
    """

    workflow: str
    version: int | None
    input: Json | JsonText
    is_detached: bool = False


@dataclass(frozen=True, slots=True)
class TransitionAsked:
    """Move an instance as the configuration says, and resume the step. Only the engine's own `transition` says so."""

    wanted: Json | JsonText


@dataclass(frozen=True, slots=True)
class Parked:
    """Wait until somebody wakes the step, which is then resumed with what was said; only the engine's own types say so.

    `kind` is what the database knows it by (work/park.sql), `wanted` what it needs to know. At most `seconds`, or the
    step's timeout: then `resume` is `kept`, an object, with the status timed_out.
    """

    kind: str
    wanted: Json | JsonText
    seconds: float | None = None
    kept: Json = None


@dataclass(frozen=True, slots=True)
class Expanded:
    """The step runs once for each of these items. Only the engine's own `foreach` says so."""

    items: Json | JsonText


Outcome: TypeAlias = Completed | Skipped | Failed | Suspended | ChildStarted | TransitionAsked | Parked | Expanded
OUTCOMES = (Completed, Skipped, Failed, Suspended, ChildStarted)
