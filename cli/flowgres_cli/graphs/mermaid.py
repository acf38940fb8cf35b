"""A picture as a Mermaid flowchart, for Markdown and wikis.

Steps are numbered: an id such as `end` or `a--b` would mean something to Mermaid. What people wrote is a quoted text in
which everything but letters, digits, spaces and a few signs is a character code.
"""

from __future__ import annotations

import re

from flowgres_cli.output import one_line

from .reading import Picture, Step

_MOST_TITLE = 60
_SAFE = re.compile(r"[^\w ,:()-]")
_CIRCLED = {"condition": ('{"', '"}'), "switch": ('{"', '"}'), "stop": ('(["', '"])')}


def draw_mermaid(picture: Picture) -> str:
    """The picture as text, without a line end after the last line."""
    lines = ["flowchart LR", f"  accTitle: {escape_text(picture.name)}"]
    lines += [f"  s{number}{_node(step)}" for number, step in enumerate(picture.steps)]
    for edge in picture.edges:
        label = f'|"{escape_text(" / ".join(edge.labels))}"|' if edge.labels else ""
        lines.append(f"  s{edge.source} -->{label} s{edge.target}")
    lines += [f'  s{edge.source} -.->|"cancels"| s{edge.target}' for edge in picture.cancels]
    if picture.compensations:
        lines.append('  subgraph undo ["Compensations, the last one first"]')
        for number, step in picture.compensations:
            lines.append(f"    c{number}{_node(step, f'{picture.steps[number].id}.compensate')}")
        lines.append("  end")
        lines += [f'  s{number} -.-|"undone by"| c{number}' for number, _ in picture.compensations]
    if picture.failures:
        lines.append('  subgraph late ["On failure"]')
        lines += [f"    f{number}{_node(step)}" for number, step in enumerate(picture.failures)]
        lines += [f"    f{number} --> f{number + 1}" for number in range(len(picture.failures) - 1)]
        lines.append("  end")
    return "\n".join(lines)


def _node(step: Step, name: str | None = None) -> str:
    words = ", ".join((step.type, *(mark for mark in step.marks if mark != step.type)))
    told = [name or step.id, words]
    if step.title:
        told.append(one_line(step.title, _MOST_TITLE))
    if step.when:
        told.append(one_line(f"when {step.when}", _MOST_TITLE))
    opening, closing = _CIRCLED.get(step.type, ('[["', '"]]') if "each" in step.marks else ('["', '"]'))
    return opening + "<br/>".join(escape_text(text) for text in told) + closing


def escape_text(text: str) -> str:
    """What people wrote, in one line, so that nothing of it is syntax."""
    return _SAFE.sub(lambda found: f"#{ord(found[0])};", one_line(text))
