"""A step that only computes, run where large values are read: its configuration comes in pieces, its output is text.

An outcome crosses as an object of JSON (`kind`, and what there is to say) and the bytes of its value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from flowgres_runner.json_values import Json, encode_output
from flowgres_runner.payloads.masks import masker
from flowgres_runner.payloads.texts import JsonText, look_into
from flowgres_runner.steps.base import (
    MAX_LOG_CHARACTERS,
    ChildStarted,
    Completed,
    Expanded,
    Failed,
    Handler,
    Outcome,
    Parked,
    StepError,
    StepTask,
    Suspended,
    TransitionAsked,
)
from flowgres_runner.steps.pure import pure_handlers

Head = dict[str, Any]

_HANDLERS: Mapping[str, Handler] = {handler.type: handler for handler in pure_handlers(now=lambda: datetime.now(UTC))}
_FIELDS = tuple(field.name for field in fields(StepTask) if field.name not in ("config", "tools", "check", "trace"))


@dataclass(frozen=True, slots=True)
class Order:
    """What to run.

    `config` lacks what comes as bytes: its members by name (None: all of it) and size, and behind them the text in
    which what it looks up lies at `path`. `masked` are texts that no value may hold.
    """

    type: str
    task: Mapping[str, Json]
    config: Json
    pieces: tuple[tuple[str | None, int], ...]
    path: str | None
    masked: tuple[str, ...]
    max_bytes: int
    max_depth: int

    @property
    def parts(self) -> tuple[Any, ...]:
        """The arguments that make the same again."""
        return tuple(getattr(self, field.name) for field in fields(self))


def facts_of(task: StepTask) -> dict[str, Json]:
    """What a handler that only computes may see of its step, but the configuration."""
    return {name: getattr(task, name) for name in _FIELDS}


def bounded_text(value: Json, max_bytes: int, max_depth: int) -> bytes:
    """The text of a value as jsonb keeps it. Raises OutputError when it cannot be stored or is too large."""
    _, text = encode_output(value, max_bytes=max_bytes, max_depth=max_depth)
    return text.encode()


def run_apart(data: bytes | bytearray, order: Order) -> tuple[Head, bytes]:
    """Run a step. Raises OutputError for an output that cannot be stored."""
    config, at = order.config, 0
    for name, size in order.pieces:
        value = json.loads(data[at : at + size])
        at += size
        if name is None:
            config = value
        else:
            config[name] = value  # type: ignore[call-overload, index]  # names there are of objects only
    handler = _HANDLERS[order.type]
    if order.path is not None:
        config = handler.with_found(config, look_into(data[at:], order.path))
    config = masker(order.masked).json(config)  # type: ignore[assignment]  # JSON in, JSON out
    outcome = handler.run_now(StepTask(config=config, **order.task))  # type: ignore[arg-type]  # from `facts_of`
    match outcome:
        case Completed(output=output):
            head: Head = {"kind": "completed", "taken": outcome.taken, "detail": outcome.detail}
            return _with_logs(head, outcome), bounded_text(_plain(output), order.max_bytes, order.max_depth)
        case ChildStarted():
            head = {
                "kind": "child",
                "workflow": outcome.workflow,
                "version": outcome.version,
                "is_detached": outcome.is_detached,
            }
            return head, bounded_text(_plain(outcome.input), order.max_bytes, order.max_depth)
        case TransitionAsked():
            return {"kind": "transition"}, bounded_text(_plain(outcome.wanted), order.max_bytes, order.max_depth)
        case Parked():
            head = {"kind": "parked", "for": outcome.kind, "seconds": outcome.seconds, "kept": outcome.kept}
            return head, bounded_text(_plain(outcome.wanted), order.max_bytes, order.max_depth)
        case Expanded():
            return {"kind": "expanded"}, bounded_text(_plain(outcome.items), order.max_bytes, order.max_depth)
        case Suspended():
            return _with_logs({"kind": "suspended", "seconds": outcome.seconds}, outcome), b""
        case Failed(error=error):
            said = [error.code, error.message, error.error_class, error.retry_after_seconds, error.details]
            return _with_logs({"kind": "failed", "failure": said, "detail": outcome.detail}, outcome), b""
        case _:
            raise TypeError(f"a handler returned {type(outcome).__name__}")


def _plain(value: Json | JsonText) -> Json:
    """The value; what only computes was given no text, and gives none."""
    if isinstance(value, JsonText):
        raise TypeError("a handler returned a text")
    return value


def _with_logs(head: Head, outcome: Completed | Suspended | Failed) -> Head:
    return {**head, "logs": [(level, line[:MAX_LOG_CHARACTERS]) for level, line in outcome.logs]}


def outcome_of(head: Head, data: bytes | bytearray) -> Outcome:
    """The outcome that crossed."""
    logs = tuple((level, line) for level, line in head.get("logs", ()))
    match head["kind"]:
        case "completed":
            taken = None if head["taken"] is None else tuple(head["taken"])
            return Completed(JsonText(data, 0), taken=taken, detail=head["detail"], logs=logs)
        case "child":
            return ChildStarted(head["workflow"], head["version"], JsonText(data, 0), is_detached=head["is_detached"])
        case "transition":
            return TransitionAsked(JsonText(data, 0))
        case "parked":
            return Parked(head["for"], JsonText(data, 0), head["seconds"], head["kept"])
        case "expanded":
            return Expanded(JsonText(data, 0))
        case "suspended":
            return Suspended(head["seconds"], logs=logs)
        case _:
            return Failed(StepError(*head["failure"]), detail=head["detail"], logs=logs)
