"""Where steps stand in a definition: in its list, below one as its compensation, and in the list for failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .graph import Graph
from .problems import Json, Path, Problem, did_you_mean


@dataclass(frozen=True, slots=True)
class Place:
    """One step. `section` is steps, compensate or on_failure, `number` its place in the list that it stands in.

    `is_each`: it runs for the items of a list, its own or that of the step that it undoes.
    """

    section: str
    number: int
    path: Path
    step: dict[str, Json]
    is_each: bool = False


def list_sections(document: Mapping[str, Json]) -> list[Place]:
    """Every step that is an object: the list, the compensations, then those for failures."""
    steps, late = _objects(document.get("steps")), _objects(document.get("on_failure"))
    return [
        *(Place("steps", number, ("steps", number), step, "foreach" in step) for number, step in steps),
        *(
            Place("compensate", number, ("steps", number, "compensate"), step["compensate"], "foreach" in step)
            for number, step in steps
            if isinstance(step.get("compensate"), dict)
        ),
        *(Place("on_failure", number, ("on_failure", number), step) for number, step in late),
    ]


def late_numbers(document: Mapping[str, Json]) -> dict[str, int]:
    """Steps of on_failure by id."""
    found: dict[str, int] = {}
    for number, step in _objects(document.get("on_failure")):
        if isinstance(step.get("id"), str):
            found.setdefault(step["id"], number)
    return found


def find_section_problems(document: Mapping[str, Json], graph: Graph) -> Iterator[tuple[Path, Problem]]:
    """Joins and cancels that cannot be, and steps of on_failure whose ids are taken."""
    for number, step in _objects(document.get("steps")):
        yield from _check_join(step, number, graph)
        yield from _check_cancels(step, number, graph)
    used = {name: f"steps[{number}]" for name, number in graph.numbers.items()}
    for number, step in _objects(document.get("on_failure")):
        name = step.get("id")
        if isinstance(name, str) and name in used:
            message = f'the step id "{name[:60]}" is already used by {used[name]}'
            yield (
                ("on_failure", number, "id"),
                Problem("", "duplicate_step", message, "Ids are unique within a workflow."),
            )
        elif isinstance(name, str):
            used[name] = f"on_failure[{number}]"


def _check_join(step: Mapping[str, Json], number: int, graph: Graph) -> Iterator[tuple[Path, Problem]]:
    join = step.get("join")
    wanted = join.get("at_least") if isinstance(join, dict) else None
    count = len(graph.parents[number]) if number < len(graph.parents) else 0
    if isinstance(wanted, int | float) and not isinstance(wanted, bool) and wanted > count > 0:
        message = f'"{str(step.get("id"))[:60]}" has only {count} steps before it'
        path = ("steps", number, "join", "at_least")
        yield path, Problem("", "join_out_of_reach", message, "Count the steps in its depends_on.")


def _check_cancels(step: Mapping[str, Json], number: int, graph: Graph) -> Iterator[tuple[Path, Problem]]:
    cancels = step.get("cancels")
    for place, name in enumerate(cancels if isinstance(cancels, list) else ()):
        path: Path = ("steps", number, "cancels", place)
        if isinstance(name, str) and name == step.get("id"):
            message = f'the step "{name[:60]}" cancels itself'
            yield path, Problem("", "self_cancel", message, "It has ended by then. Remove it.")
        elif isinstance(name, str) and name not in graph.numbers:
            hint = did_you_mean(name, graph.numbers)
            yield path, Problem("", "unknown_step", f'no step has the id "{name[:60]}"', hint)


def _objects(steps: Json) -> list[tuple[int, dict[str, Json]]]:
    listed = steps if isinstance(steps, list) else ()
    return [(number, step) for number, step in enumerate(listed) if isinstance(step, dict)]
