"""Showing an execution while it runs: a live tree for people, JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flowgres_cli.errors import StoppedByUserError
from flowgres_cli.output import Output, console, is_interactive, plain, say, warn
from flowgres_cli.session import Session
from flowgres_cli.watching import Snapshot, Watcher, outcome_error, result_of

Json = Any


def follow(session: Session, execution_id: str, *, is_watching: bool, timeout_seconds: float | None = None) -> None:
    """Wait for the end, showing the way there when `is_watching`, print the result, and raise when it is not good."""
    watcher = Watcher(session.client, execution_id, timeout_seconds=timeout_seconds)
    try:
        if is_watching and session.output.is_table and is_interactive():
            final = show_tree(watcher, session.output)
            print_result(final, session.output)
        elif is_watching:
            final = _print_events(watcher, session.output)
        else:
            final = _last(watcher)
            # Whoever wants the id alone has it since the start.
            if session.output.format != "id":
                session.output.record(result_of(final.document), id_field="execution_id")
    except KeyboardInterrupt as error:
        raise StoppedByUserError(
            f"interrupted; execution {execution_id} goes on",
            hint=f"Look again: flowgres executions watch {execution_id}. Stop it: flowgres executions cancel ...",
        ) from error
    problem = outcome_error(final.document)
    if problem is not None:
        raise problem


def show_tree(watcher: Watcher, output: Output) -> Snapshot:
    """Draw the execution until it has ended; the last drawing stays."""
    from rich.console import Group, RenderableType
    from rich.live import Live
    from rich.text import Text

    from flowgres_cli.tree import render

    screen = console(output.stdout)
    is_ascii = screen.options.ascii_only
    snapshot: Snapshot | None = None

    def draw() -> RenderableType:
        if snapshot is None:
            return Text()
        drawing = render(snapshot, is_ascii=is_ascii)
        notice = None if snapshot.has_ended else watcher.notice
        return drawing if notice is None else Group(drawing, Text(notice, style="yellow"))

    # Drawn again by itself: what goes round and what counts seconds does so between two looks, too.
    with Live(console=screen, get_renderable=draw, refresh_per_second=10, vertical_overflow="ellipsis") as live:
        for snapshot in watcher.snapshots(with_children=True):
            if snapshot.has_ended:
                live.vertical_overflow = "visible"
            live.refresh()
    assert snapshot is not None  # noqa: S101  the iterator ends with the snapshot of the end
    return snapshot


def print_result(final: Snapshot, output: Output) -> None:
    """The output of a completed execution, under its tree."""
    if final.status == "completed" and final.document.get("output") not in (None, {}):
        output.line(plain(final.document["output"], indent=2))


def _print_events(watcher: Watcher, output: Output) -> Snapshot:
    """Every event as one line of JSON, and the result as the last one."""
    final: Snapshot | None = None
    for snapshot in _told(watcher):
        # Read after the status: when the execution has ended, its last events are there.
        for event in watcher.events():
            output.line(json.dumps(event, ensure_ascii=False))
        final = snapshot
    assert final is not None  # noqa: S101  the iterator ends with the snapshot of the end
    output.line(json.dumps({"type": "result", **result_of(final.document)}, ensure_ascii=False))
    return final


def _last(watcher: Watcher) -> Snapshot:
    final: Snapshot | None = None
    for snapshot in _told(watcher):
        final = snapshot
    assert final is not None  # noqa: S101  the iterator ends with the snapshot of the end
    return final


def _told(watcher: Watcher) -> Iterator[Snapshot]:
    """The snapshots, with a word on stderr when nobody serves the execution."""
    told: str | None = None
    for snapshot in watcher.snapshots():
        yield snapshot
        if watcher.notice != told:
            told = watcher.notice
            if told is not None:
                warn(told)


def announce(message: str, output: Output) -> None:
    """A line for people, when people read along."""
    if output.is_table:
        say(message)
