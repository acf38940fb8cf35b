"""What a picture of a definition shows: its steps, what leads from one to another and why, and what undoes them.

Of a state machine the steps are its states, and the edges its transitions (`machines.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `marks` say in a few words what is special about it, `when` is the expression it depends on.

    Titles and expressions are as the author wrote them.
    """

    id: str
    type: str
    title: str = ""
    marks: tuple[str, ...] = ()
    when: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """From one step to another, by number; `labels` are the branches that lead there."""

    source: int
    target: int
    labels: tuple[str, ...] = ()


@dataclass(slots=True)
class Picture:
    """Everything that is drawn. `edges` are those of the graph, `cancels` go from who cancels to whom."""

    name: str
    title: str = ""
    steps: list[Step] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """Numbers of the steps so that what a step waits for comes first."""
    cancels: list[Edge] = field(default_factory=list)
    compensations: list[tuple[int, Step]] = field(default_factory=list)
    """The number of the step that is undone, and what undoes it."""
    failures: list[Step] = field(default_factory=list)
    returns: list[Edge] = field(default_factory=list)
    """Of a machine, what leads back to an earlier layer or stays where it is; `edges` has no circle."""
    is_machine: bool = False


def read_picture(document: Mapping[str, Json]) -> Picture:
    """The picture of a valid definition in our words; its values may still stand in the author's forms."""
    from flowgres_definitions.machines import is_machine

    if is_machine(document):
        from .machines import read_machine

        return read_machine(document)
    from flowgres_definitions.form import form_definition
    from flowgres_definitions.graph import build_graph, names_in
    from flowgres_definitions.sections import list_sections

    formed = form_definition(dict(document), {})
    steps = formed.get("steps") or []
    graph = build_graph(steps)
    if not graph.is_sorted:
        raise ValueError("a graph with a cycle has no layers")
    picture = Picture(_text(formed.get("name")), _text(formed.get("title")) or _text(formed.get("description")))
    picture.order = graph.order
    for at in list_sections(formed):
        step = at.step
        if at.section == "steps":
            picture.steps.append(_step(step, _marks(step, len(graph.parents[at.number]))))
            picture.cancels += [
                Edge(at.number, graph.numbers[name]) for name in names_in(step.get("cancels")) if name in graph.numbers
            ]
        elif at.section == "compensate":
            picture.compensations.append((at.number, _step(step, ["each item"] if at.is_each else [])))
        else:
            picture.failures.append(_step(step, _marks(step, 0)))
    branches = [_labels(step) for step in steps]
    picture.edges = [
        Edge(parent, child, tuple(branches[parent].get(picture.steps[child].id, ())))
        for child, parents in enumerate(graph.parents)
        for parent in parents
    ]
    return picture


def _step(step: Mapping[str, Json], marks: list[str]) -> Step:
    title = _text(step.get("description"))
    return Step(_text(step.get("id")), _text(step.get("type")), title, tuple(marks), _text(step.get("when")))


def _marks(step: Mapping[str, Json], parent_count: int) -> list[str]:
    config = step.get("config")
    marks = ["stop"] if step.get("type") == "stop" else []
    if step.get("type") == "sub_workflow" and isinstance(config, dict) and config.get("detach") is True:
        marks.append("detached")
    if step.get("type") == "transition" and isinstance(config, dict):
        marks.append(f"to {_text(config.get('to'))}")
    join = step.get("join")
    if isinstance(join, dict):
        marks.append(f"join: {join.get('at_least')} of {parent_count}")
        if join.get("rest") == "cancel":
            marks.append("cancels the rest")
    elif join not in (None, "default"):
        marks.append(f"join: {join}")
    if "foreach" in step:
        marks.append("each")
    if "repeat" in step:
        marks.append("repeat")
    if step.get("when"):
        marks.append("when")
    if step.get("on_error") not in (None, "fail"):
        marks.append(f"on_error: {step['on_error']}")
    return marks


def _labels(step: Mapping[str, Json]) -> dict[str, list[str]]:
    """What the branches of a condition or switch are called, by the steps that they lead to."""
    from flowgres_definitions.graph import branches_of

    found: dict[str, list[str]] = {}
    for (kind, *place), names in branches_of(step):
        word = f"case {int(place[0]) + 1}" if kind == "cases" else str(kind).removesuffix("_branch")
        for name in dict.fromkeys(names):
            found.setdefault(name, []).append(word)
    return found


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
