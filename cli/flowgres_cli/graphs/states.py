"""A machine as a Mermaid state diagram, for Markdown and wikis.

States are numbered, since their names may mean something to Mermaid, and what people wrote is escaped, as in a
flowchart. `*` is one dashed state: drawn from each state, its transitions would hide the others.
"""

from __future__ import annotations

from .machines import ANY
from .mermaid import escape_text
from .reading import Picture


def draw_states(picture: Picture) -> str:
    """The machine as text, without a line end after the last line."""
    lines = ["stateDiagram-v2", f"  accTitle: {escape_text(picture.name)}", "  direction LR"]
    for number, state in enumerate(picture.steps):
        name = state.title if state.id == ANY else state.id
        notes = [mark for mark in state.marks if mark not in ("initial", "final")]
        lines.append(f"  s{number}: {_text(name)}" + "".join(f"<br/>{_text(note)}" for note in notes))
    for number, state in enumerate(picture.steps):
        if "initial" in state.marks:
            lines.append(f"  [*] --> s{number}")
    for edge in (*picture.edges, *picture.returns):
        lines.append(f"  s{edge.source} --> s{edge.target}: {_text(' / '.join(edge.labels))}")
    for number, state in enumerate(picture.steps):
        if "final" in state.marks:
            lines.append(f"  s{number} --> [*]")
        if state.id == ANY:
            lines += ["  classDef any stroke-dasharray: 5", f"  class s{number} any"]
    return "\n".join(lines)


def _text(text: str) -> str:
    """A colon ends a name here."""
    return escape_text(text).replace(":", "#58;")
