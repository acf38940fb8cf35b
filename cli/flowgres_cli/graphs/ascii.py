"""A picture in plain characters: the graph from left to right where it fits, else a list of its layers with arrows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from flowgres_cli.output import cells, clean, one_line

from .channels import Channel, plan_channel
from .layout import Layout, lay_out
from .reading import Edge, Picture, Step

WIDTH = 80
"""Columns that a picture has, where its ids leave it that."""

_MOST_ROWS = 60


def draw_ascii(picture: Picture, *, width: int = WIDTH) -> str:
    """The picture as lines of text, without a line end after the last one."""
    layout = lay_out(picture)
    lines = _cut([clean(picture.name) + (f": {one_line(picture.title)}" if picture.title else "")], width)
    drawn = _draw(picture, layout, width, has_marks=True)
    is_bare = drawn is None
    if drawn is None:
        drawn = _draw(picture, layout, width, has_marks=False)
    is_list = drawn is None
    if drawn is None:
        drawn = list(_list(picture, layout, width))
    lines += ["", *drawn]
    whens = [(step.id, one_line(step.when)) for step in (*picture.steps, *picture.failures) if step.when]
    if is_bare and not is_list:
        marked = [(step.id, ", ".join(step.marks)) for step in picture.steps if step.marks]
        lines += _section("Marks", [f"{name}: {marks}" for name, marks in marked], width)
    lines += _section("When", [f"{name}: {expression}" for name, expression in whens], width)
    names = [step.id for step in picture.steps]
    lines += _section("Back", [_return(picture, edge) for edge in picture.returns], width)
    lines += _section("Cancels", [f"{names[one.source]} ..> {names[one.target]}" for one in picture.cancels], width)
    undone = [f"{names[number]} <.. {_undoing(step)}" for number, step in picture.compensations]
    lines += _section("Compensations, the last one first", undone, width)
    late = [f"{number}. {clean(step.id)} {_described(step)}" for number, step in enumerate(picture.failures, 1)]
    lines += _section("On failure", late, width)
    return "\n".join(line.rstrip() for line in lines)


def _return(picture: Picture, edge: Edge) -> str:
    """a -- name --> b."""
    return f"{picture.steps[edge.source].id} -- {' / '.join(edge.labels)} --> {picture.steps[edge.target].id}"


def _described(step: Step) -> str:
    """(type, marks) title."""
    told = f"({', '.join(clean(word) for word in (step.type, *_others(step)))})"
    return f"{told} {one_line(step.title)}".rstrip()


def _undoing(step: Step) -> str:
    marks = f" ({', '.join(step.marks)})" if step.marks else ""
    return f"{step.type}{marks} {one_line(step.title)}".rstrip()


def _others(step: Step) -> list[str]:
    return [mark for mark in step.marks if mark != step.type]


def _section(heading: str, entries: list[str], width: int) -> list[str]:
    return ["", f"{heading}:", *_cut([f"  {clean(entry)}" for entry in entries], width)] if entries else []


def _cut(lines: list[str], width: int) -> list[str]:
    """Lines that fit; prose alone is longer than a line."""
    found = []
    for line in lines:
        while cells(line) > width:
            line = line[: min(len(line), width + 4) - 4] + "..."
        found.append(line)
    return found


def _draw(picture: Picture, layout: Layout, width: int, *, has_marks: bool) -> list[str] | None:
    """The graph from left to right; None where it does not fit, or would not be clear."""
    if not layout.is_routed or layout.row_count > _MOST_ROWS:
        return None
    rows: list[list[str]] = [[] for _ in range(layout.row_count)]
    at = 0
    left = {link.source for link in layout.links}
    for depth, layer in enumerate(layout.layers):
        channel: Channel | None = None
        if depth:
            channel = plan_channel(layout, depth - 1)
            if channel is None:
                return None
            for line, row in zip(channel.lines(), rows, strict=True):
                _write(row, at, line)
            at += channel.width
        notes = channel.notes if channel else {}
        words = {index: _word(picture, layout.items[index].step, has_marks, notes.get(index, ())) for index in layer}
        across = max((len(word) for word in words.values()), default=0)
        across += any(index in left for index in layer)
        for index in layer:
            word = words[index]
            if word and index in left:
                word += " "
            if index in left:
                word = word.ljust(across, "-")
            _write(rows[layout.items[index].row], at, word)
        at += across
        if at > width:
            return None
    indent = " " if at < width else ""
    return [indent + "".join(row) for row in rows]


def _word(picture: Picture, number: int | None, has_marks: bool, notes: Sequence[tuple[int, tuple[str, ...]]]) -> str:
    """A step as it stands in the graph; "" for a waypoint."""
    if number is None:
        return ""
    step = picture.steps[number]
    told = [f"{clean(picture.steps[source].id)}: {' / '.join(labels)}" for source, labels in notes]
    marks = [*told, *(step.marks if has_marks else ())]
    return clean(step.id) + (f" ({', '.join(marks)})" if marks else "")


def _write(row: list[str], at: int, text: str) -> None:
    row.extend(" " * (at + len(text) - len(row)))
    row[at : at + len(text)] = text


def _list(picture: Picture, layout: Layout, width: int) -> Iterator[str]:
    """Each layer with its steps, and below each step where it leads to, by branch."""
    targets: dict[int, dict[tuple[str, ...], list[str]]] = {}
    for edge in picture.edges:
        targets.setdefault(edge.source, {}).setdefault(edge.labels, []).append(clean(picture.steps[edge.target].id))
    digits = len(str(len(layout.layers)))
    for depth, layer in enumerate(layout.layers, 1):
        heads = [index for index in layer if layout.items[index].step is not None]
        for place, index in enumerate(heads):
            step = picture.steps[index]
            yield from _cut([f" {depth if not place else '':>{digits}}  {clean(step.id)} {_described(step)}"], width)
            for labels, names in targets.get(index, {}).items():
                told = one_line(" / ".join(labels), width // 2)
                arrow = " " * (digits + 5) + (f"-- {told} --> " if told else "--> ")
                yield from textwrap.wrap(
                    ", ".join(names),
                    width,
                    initial_indent=arrow,
                    subsequent_indent=" " * len(arrow),
                    break_long_words=False,
                    break_on_hyphens=False,
                )
