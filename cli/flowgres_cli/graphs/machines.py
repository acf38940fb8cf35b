"""The picture of a state machine: its states, and the transitions between them.

A machine runs in circles, a picture has layers: what leads back to a state on the way from the initial one stands apart
(`Picture.returns`). `*` is drawn once, as a state of its own from which transitions lead on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowgres_cli.durations import describe_seconds

from .reading import Edge, Picture, Step

Json = Any
ANY = "*"


def read_machine(document: Mapping[str, Json]) -> Picture:
    """The picture of a valid machine; its values may still stand in the author's forms."""
    from flowgres_definitions.machines import form_machine

    machine = form_machine(dict(document), {})
    picture = Picture(str(machine["name"]), str(machine.get("title") or machine.get("description") or ""))
    picture.is_machine = True
    picture.steps = [_state(state) for state in machine["states"]]
    numbers = {step.id: number for number, step in enumerate(picture.steps)}
    transitions = machine["transitions"]
    if not transitions:
        # As the database has it: every state that is not final may go to every other.
        transitions = [{"from": ANY, "to": name, "name": f"transition_to_{name}"} for name in numbers]
    if any(one["from"] == ANY for one in transitions):
        numbers[ANY] = len(picture.steps)
        picture.steps.append(Step(ANY, "any", "any state that is not final"))
    edges: dict[tuple[int, int], Edge] = {}
    for one in transitions:
        source, target = numbers[one["from"]], numbers[one["to"]]
        # Of a repeated pair the first wins.
        edges.setdefault((source, target), Edge(source, target, (_label(one),)))
    initial = [number for number, step in enumerate(picture.steps) if "initial" in step.marks]
    returning = set(_find_returns(len(picture.steps), list(edges), initial))
    picture.edges = [edge for pair, edge in edges.items() if pair not in returning]
    picture.returns = [edge for pair, edge in edges.items() if pair in returning]
    picture.order = _sort(len(picture.steps), picture.edges)
    return picture


def _state(state: Mapping[str, Json]) -> Step:
    title = state["metadata"].get("display_name")
    marks = [word for word in ("initial", "final") if state[word]]
    if "sla" in state:
        sla = state["sla"]
        marks.append(f"after {describe_seconds(sla['after'])}: {sla['to'] if 'to' in sla else 'event ' + sla['event']}")
    return Step(state["name"], "state", title if isinstance(title, str) else "", tuple(marks))


def _label(transition: Mapping[str, Json]) -> str:
    """The transition's name, and in brackets what it asks for and starts."""
    roles, start = transition.get("roles"), transition.get("start")
    told = [" or ".join(roles)] if roles else []
    told += [f"with {name}" for name in _required(transition)]
    if "guard" in transition:
        told.append("guard")
    if start:
        told.append(f"starts {start['workflow']}")
    return str(transition["name"]) + (f" [{', '.join(told)}]" if told else "")


def _required(transition: Mapping[str, Json]) -> Iterator[str]:
    """Fields that have to be given; those of `conditions` where they are enforced."""
    yield from transition.get("required", ())
    if transition.get("enforce"):
        fields = transition["conditions"].get("field_required", ())
        yield from [fields] if isinstance(fields, str) else fields


def _find_returns(count: int, pairs: list[tuple[int, int]], initial: list[int]) -> Iterator[tuple[int, int]]:
    """What leads back to a state that is on the way: without it there are no circles."""
    targets: list[list[int]] = [[] for _ in range(count)]
    for source, target in pairs:
        targets[source].append(target)
    seen: set[int] = set()
    way: set[int] = set()
    for first in [*initial, *range(count)]:
        stack: list[tuple[int, Iterator[int]]] = []
        if first not in seen:
            seen.add(first)
            way.add(first)
            stack.append((first, iter(targets[first])))
        while stack:
            state, rest = stack[-1]
            for target in rest:
                if target in way:
                    yield state, target
                elif target not in seen:
                    seen.add(target)
                    way.add(target)
                    stack.append((target, iter(targets[target])))
                    break
            else:
                way.discard(state)
                stack.pop()


def _sort(count: int, edges: list[Edge]) -> list[int]:
    """Numbers of the states so that whence one comes stands before it."""
    waiting = [0] * count
    targets: list[list[int]] = [[] for _ in range(count)]
    for edge in edges:
        waiting[edge.target] += 1
        targets[edge.source].append(edge.target)
    found = [number for number in range(count) if not waiting[number]]
    for number in found:
        for target in targets[number]:
            waiting[target] -= 1
            if not waiting[target]:
                found.append(target)
    return found
