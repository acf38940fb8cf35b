"""An execution as a tree for a terminal.

Steps that follow each other stand below each other; the branches of a fan-out are indented under the step that they
hang on, and the step that joins them comes back to its level. So the tree reads like a program, and fifty steps in a
row do not indent fifty times. (It is the dominator tree of the graph, with chains laid flat.)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flowgres_cli.output import clean, duration, moment, one_line, plain, seconds_text, style_of
from flowgres_cli.watching import Snapshot, StepState, answer_text, error_text

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

_GLYPHS = {
    "completed": ("✓", "+"),
    "failed": ("✗", "x"),
    "cancelled": ("⊘", "!"),
    "skipped": ("–", "-"),
    "pending": ("○", "."),
    "ready": ("○", "o"),
    "waiting": ("◷", "w"),
    "retrying": ("↻", "r"),
}
_SPIN = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\")


def render(snapshot: Snapshot, *, is_ascii: bool = False) -> Tree:
    """The tree of one moment."""
    from rich.tree import Tree

    tree = Tree(_headline(snapshot), guide_style="dim")
    _add_steps(tree, snapshot.steps, is_ascii=is_ascii)
    return tree


def layout(steps: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """Under which step each one is indented (None: at the top). `steps` maps ids to dependencies, parents first."""
    child_counts: dict[str, int] = {}
    for parents in steps.values():
        for parent in parents:
            child_counts[parent] = child_counts.get(parent, 0) + 1
    dominator: dict[str, str | None] = {}
    depth: dict[str | None, int] = {None: 0}
    container: dict[str, str | None] = {}

    def meet(a: str | None, b: str | None) -> str | None:
        while a != b:
            if depth[a] >= depth[b]:
                a = dominator[a] if a is not None else None
            else:
                b = dominator[b] if b is not None else None
        return a

    for step, parents in steps.items():
        known = [parent for parent in parents if parent in dominator]
        found: str | None = known[0] if known else None
        for parent in known[1:]:
            found = meet(found, parent)
        dominator[step] = found
        depth[step] = depth[found] + 1
        if found is None:
            container[step] = None
        elif len(known) == 1 and child_counts[found] > 1:
            container[step] = found
        else:
            container[step] = container[found]
    return container


def _add_steps(tree: Tree, steps: Sequence[StepState], *, is_ascii: bool) -> None:
    ordered = _parents_first(steps)
    containers = layout({step.id: step.depends_on for step in ordered})
    branches: dict[str | None, Tree] = {None: tree}
    for step in ordered:
        branch = branches[containers[step.id]].add(_step_line(step, is_ascii=is_ascii))
        branches[step.id] = branch
        if step.child is not None:
            child = branch.add(_headline(step.child, has_id=False))
            _add_steps(child, step.child.steps, is_ascii=is_ascii)


def _parents_first(steps: Sequence[StepState]) -> list[StepState]:
    waiting = {step.id: step for step in steps}
    ordered: list[StepState] = []
    while waiting:
        free = [step for step in waiting.values() if not any(parent in waiting for parent in step.depends_on)]
        for step in free or list(waiting.values()):
            ordered.append(waiting.pop(step.id))
    return ordered


def _headline(snapshot: Snapshot, *, has_id: bool = True) -> Text:
    from rich.text import Text

    document = snapshot.document
    line = Text()
    line.append(clean(str(document.get("workflow_name"))), style="bold")
    line.append(f" v{document.get('version')}  ", style="dim")
    line.append(snapshot.status, style=f"bold {style_of(snapshot.status)}".strip())
    if document.get("total_steps") is not None:
        line.append(f"  {snapshot.done}/{document['total_steps']}")
    line.append(f"  {_elapsed(document.get('started_at'), document.get('finished_at'))}", style="dim")
    if has_id:
        line.append(f"  {document.get('id')}", style="dim")
    return line


def _step_line(step: StepState, *, is_ascii: bool) -> Text:
    from rich.text import Text

    style = style_of(step.status)
    line = Text()
    line.append(_glyph(step.status, is_ascii=is_ascii) + " ", style=style)
    line.append(clean(step.id), style="dim" if step.status in ("skipped", "pending") else "")
    line.append(f"  {clean(step.type)}", style="dim")
    if step.status not in ("completed", "pending"):
        line.append(f"  {step.status}", style=style)
    elapsed = _elapsed(step.started_at, step.finished_at)
    if elapsed and step.status != "skipped":
        line.append(f"  {elapsed}", style="dim")
    rounds = step.round if isinstance(step.round, int) else 1
    if step.attempts > rounds:
        line.append(f"  attempt {step.attempts}", style="yellow")
    if isinstance(step.items, dict):
        line.append(f"  {step.items.get('done')} of {step.items.get('count')} items", style="dim")
    if rounds > 1:
        line.append(f"  round {rounds}", style="dim")
    if step.status == "waiting" and isinstance(step.waits_for, str) and ":" in step.waits_for:
        until = f" until {moment(step.due_at)}" if step.due_at else ""
        line.append(f"  {one_line(step.waits_for, 80)}{until}", style="dim")
    problem = error_text(step.error)
    if step.reason:
        line.append(f"  {one_line(step.reason, 160)}", style="yellow")
    if problem:
        line.append(f"  {one_line(problem, 160)}", style="red")
        answer = answer_text(step.error, 160)
        if answer:
            line.append(f"\n  it answered: {answer}", style="dim red")
    elif step.type == "log" and step.status == "completed" and isinstance(step.output, dict):
        line.append(f"  {one_line(plain(step.output.get('message')), 100)}", style="italic dim")
    return line


def _glyph(status: str, *, is_ascii: bool) -> str:
    if status in ("running", "queued"):
        frames = _SPIN[is_ascii]
        return frames[int(time.monotonic() * 8) % len(frames)]
    return _GLYPHS.get(status, ("?", "?"))[is_ascii]


def _elapsed(started: str | None, finished: str | None) -> str:
    if started is None:
        return ""
    if finished is not None:
        return duration(started, finished)
    try:
        # The clocks of server and terminal may differ a little: never show a negative time.
        return seconds_text(max((datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds(), 0.0))
    except (ValueError, TypeError):
        return ""
