"""Following an execution until it ends: looks at PostgREST whenever the front streams an event, or again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flowgres_cli.client import Client
from flowgres_cli.errors import (
    CliError,
    ExecutionCancelledError,
    ExecutionFailedError,
    UnreachableError,
    WaitTimeoutError,
)
from flowgres_cli.output import one_line
from flowgres_cli.serving import Lookout
from flowgres_cli.streaming import EVENT_KEYS, Feed

Json = Any
ENDED = frozenset({"completed", "failed", "cancelled"})
DEEPEST_NESTING = 8
EVENTS_AT_ONCE = 1000
_OUTAGE_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StepState:
    """One step of an execution, as the tree shows it. `child` is the execution that a sub_workflow step started.

    `reason`: why a ready one does not start. `items` of one that runs for each item of a list: {count, done, failed}.
    `round` of one that repeats. `waits_for` of one that is parked, and until when (`due_at`).
    """

    id: str
    type: str
    status: str
    attempts: int
    started_at: str | None
    finished_at: str | None
    error: Json
    output: Json
    depends_on: tuple[str, ...]
    child: Snapshot | None = None
    reason: str | None = None
    items: Json = None
    round: Json = None
    waits_for: Json = None
    due_at: Json = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An execution at one moment. `document` is what get_execution returned."""

    document: dict[str, Json]
    steps: tuple[StepState, ...]

    @property
    def status(self) -> str:
        """The status of the execution."""
        return str(self.document.get("status"))

    @property
    def done(self) -> int:
        """How many steps are done: those that completed or were skipped; all of them when it has completed."""
        if self.status == "completed":
            return len(self.steps)
        return sum(step.status in ("completed", "skipped") for step in self.steps)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED


class Watcher:
    """Reads one execution again and again; what never changes (the edges of a version) is read once."""

    def __init__(self, client: Client, execution_id: str, *, timeout_seconds: float | None = None) -> None:
        self.execution_id = execution_id
        self._client = client
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._started = time.monotonic()
        self._edges: dict[tuple[Json, Json], dict[str, tuple[str, ...]]] = {}
        self._seen_seq = 0
        self._unreachable_since: float | None = None
        self._has_ended = False
        self._feed: Feed | None = None
        self._lookout = Lookout(client, execution_id, has_deadline=timeout_seconds is not None)

    @property
    def notice(self) -> str | None:
        """What keeps the execution from going on, as far as that is known."""
        return self._lookout.notice

    def read(self, *, with_children: bool = False) -> Snapshot:
        """The execution now; with the executions below it when a tree is to be drawn."""
        return self._read(self.execution_id, with_children=with_children, depth=0)

    def snapshots(self, *, with_children: bool = False) -> Iterator[Snapshot]:
        """The execution now and after every pause, until it has ended. A short outage of the server is waited out."""
        try:
            while True:
                snapshot = self._patiently(with_children=with_children)
                if snapshot is not None:
                    self._has_ended = snapshot.has_ended
                    yield snapshot
                    if snapshot.has_ended:
                        return
                    self._lookout.look(snapshot.document)
                    # Not before the execution is known to exist, and to be worth it.
                    self._feed = self._feed or Feed(self._client.config, self.execution_id, after=self._seen_seq)
                self.pause()
        finally:
            if self._feed is not None:
                self._feed.close()

    def events(self) -> Iterator[dict[str, Json]]:
        """The events since the last call, in order."""
        for event in self._feed.take() if self._feed is not None else ():
            if int(event["seq"]) > self._seen_seq:
                self._seen_seq = int(event["seq"])
                yield event
        # What the stream has not brought yet when all is over, and everything where there is none.
        while self._has_ended or self._feed is None or not self._feed.is_live:
            rows = self._client.select(
                "execution_events",
                {
                    "select": ",".join(EVENT_KEYS),
                    "execution_id": f"eq.{self.execution_id}",
                    "seq": f"gt.{self._seen_seq}",
                    "order": "seq.asc",
                    "limit": EVENTS_AT_ONCE,
                },
            )
            for row in rows:
                self._seen_seq = int(row["seq"])
                yield row
            if len(rows) < EVENTS_AT_ONCE:
                return

    def pause(self) -> None:
        """Wait for the next look. Raises WaitTimeoutError at the deadline.

        Where the front streams, that is the next event; else it comes often at first, and once a second later.
        """
        now = time.monotonic()
        age = now - self._started
        longest = _LONGEST_PAUSE_SECONDS
        pause = 0.1 if age < 3 else 0.25 if age < 30 else 1.0
        if self._deadline is not None:
            if now >= self._deadline:
                raise WaitTimeoutError(
                    f"execution {self.execution_id} has not ended in time; it goes on",
                    hint=f"flowgres executions watch {self.execution_id}",
                )
            longest = min(longest, self._deadline - now)
        if self._feed is not None and self._feed.is_live:
            self._feed.wait(longest)
        else:
            time.sleep(min(pause, longest))

    def _patiently(self, *, with_children: bool) -> Snapshot | None:
        try:
            snapshot = self.read(with_children=with_children)
        except UnreachableError:
            now = time.monotonic()
            self._unreachable_since = self._unreachable_since or now
            if now - self._unreachable_since > _OUTAGE_SECONDS:
                raise
            return None
        self._unreachable_since = None
        return snapshot

    def _read(self, execution_id: str, *, with_children: bool, depth: int) -> Snapshot:
        document = self._client.call("get_execution", {"execution_id": execution_id})
        rows: list[dict[str, Json]] = [row for row in document.get("steps") or [] if row.get("iteration") in (None, -1)]
        edges = self._edges_of(document) if with_children else {}
        children = self._children_of(rows, depth) if with_children else {}
        steps = tuple(
            StepState(
                id=str(row["step"]),
                type=str(row.get("type")),
                status=str(row.get("status")),
                attempts=int(row.get("attempts") or 0),
                started_at=row.get("started_at"),
                finished_at=row.get("finished_at"),
                error=row.get("error"),
                output=row.get("output"),
                depends_on=edges.get(str(row["step"]), ()),
                child=children.get(str(row["step"])),
                reason=row.get("reason"),
                items=row.get("items"),
                round=row.get("round"),
                waits_for=row.get("waits_for"),
                due_at=row.get("due_at"),
            )
            for row in rows
        )
        return Snapshot(document=document, steps=steps)

    def _edges_of(self, document: dict[str, Json]) -> dict[str, tuple[str, ...]]:
        key = (document.get("workflow_id"), document.get("version"))
        if key not in self._edges:
            rows = self._client.select(
                "workflow_steps",
                {"workflow_id": f"eq.{key[0]}", "version": f"eq.{key[1]}", "select": "step,depends_on"},
            )
            self._edges[key] = {str(row["step"]): tuple(row.get("depends_on") or ()) for row in rows}
        return self._edges[key]

    def _children_of(self, rows: list[dict[str, Json]], depth: int) -> dict[str, Snapshot]:
        if depth >= DEEPEST_NESTING:
            return {}
        return {
            str(row["step"]): self._read(str(row["child_execution_id"]), with_children=True, depth=depth + 1)
            for row in rows
            if row.get("child_execution_id")
        }


def outcome_error(document: dict[str, Json]) -> CliError | None:
    """The error to end with for an execution that ended badly, or None when it completed."""
    status, execution_id = document.get("status"), document.get("id")
    if status == "failed":
        error = document.get("error")
        answer = answer_text(error)
        return ExecutionFailedError(
            f"execution {execution_id} failed: {error_text(error, with_causes=True)}"
            + (f"\n  it answered: {answer}" if answer else ""),
            hint=hint_of(error) or f"flowgres executions show {execution_id}",
        )
    if status == "cancelled":
        reason = error_text(document.get("error"))
        return ExecutionCancelledError(f"execution {execution_id} was cancelled" + (f": {reason}" if reason else ""))
    return None


def error_text(error: Json, *, with_causes: bool = False) -> str:
    """An error of the engine in one line: step: code: message; with what went wrong in sub-workflows behind it."""
    if not isinstance(error, dict):
        return "" if error is None else str(error)
    text = ": ".join(str(error[name]) for name in ("step", "code", "message") if error.get(name))
    details = error.get("details")
    cause = details.get("error") if with_causes and isinstance(details, dict) else None
    return f"{text}, because {error_text(cause, with_causes=True)}" if cause else text


def answer_text(error: Json, most: int = 240) -> str:
    """What the other side of an http step answered, which often says why; empty when the error holds nothing of it."""
    details = _innermost_details(error)
    body = details.get("body")
    return one_line(body, most) if isinstance(body, str) else ""


def hint_of(error: Json) -> str | None:
    """How to mend it, when the engine knows."""
    hint = _innermost_details(error).get("hint")
    return one_line(hint) if isinstance(hint, str) else None


def _innermost_details(error: Json) -> dict[str, Json]:
    """The details of what went wrong first: the error of a sub-workflow step holds that of its child."""
    found: dict[str, Json] = {}
    while isinstance(error, dict):
        details = error.get("details")
        found = details if isinstance(details, dict) else {}
        error = found.get("error")
    return found


def result_of(document: dict[str, Json]) -> dict[str, Json]:
    """What a script wants of an ended execution."""
    return {
        "execution_id": document.get("id"),
        "workflow": document.get("workflow_name"),
        "version": document.get("version"),
        "status": document.get("status"),
        "output": document.get("output"),
        "error": document.get("error"),
    }
