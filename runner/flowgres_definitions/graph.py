"""Which step waits for which: dependencies, list order, branches, cycles, ancestors. Linear in steps and edges."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from .problems import Json, Path, Problem, did_you_mean

MAX_TOLD = 10
"""Of one kind of mistake: suggestions and cycles cost time, and nobody reads more."""


@dataclass(slots=True)
class Graph:
    """The steps of a definition by number, in list order."""

    ids: list[str | None] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    parents: list[list[int]] = field(default_factory=list)
    problems: list[tuple[Path, Problem]] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """Numbers so that parents come first; shorter than `ids` when there is a cycle."""

    @property
    def is_sorted(self) -> bool:
        return len(self.order) == len(self.ids)

    def ancestors(self) -> list[int]:
        """For each step a set of bits: those of its ancestors. Only of a sorted graph."""
        found = [0] * len(self.ids)
        for number in self.order:
            for parent in self.parents[number]:
                found[number] |= found[parent] | (1 << parent)
        return found


def build_graph(steps: Sequence[Json]) -> Graph:
    """The graph of canonical steps, with everything that is wrong with it."""
    graph = Graph()
    for index, step in enumerate(steps):
        name = step.get("id") if isinstance(step, dict) else None
        graph.ids.append(name if isinstance(name, str) else None)
        if not isinstance(name, str):
            continue
        if name in graph.numbers:
            message = f'the step id "{name[:60]}" is already used by steps[{graph.numbers[name]}]'
            _add(graph, ("steps", index, "id"), "duplicate_step", message, "Ids are unique within a workflow.")
        else:
            graph.numbers[name] = index
    graph.parents = _find_parents(steps, graph)
    _sort(graph)
    if not graph.is_sorted:
        _tell_cycles(graph)
    return graph


def names_in(value: Json) -> list[Json]:
    """Step ids written as a list or as a single text; [] for anything else."""
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _add(graph: Graph, path: Path, code: str, message: str, hint: str = "") -> None:
    graph.problems.append((path, Problem(path="", code=code, message=message, hint=hint)))


def _find_parents(steps: Sequence[Json], graph: Graph) -> list[list[int]]:
    gates, branches = _find_gates(steps, graph)
    in_list_order = not any(isinstance(step, dict) and "depends_on" in step for step in steps)
    parents: list[dict[int, None]] = [dict.fromkeys(gates.get(number, ())) for number in range(len(steps))]
    if in_list_order:
        _follow_the_list(parents, gates, branches, graph.ids)
    else:
        unknown = 0
        for number, step in enumerate(steps):
            if not isinstance(step, dict):
                continue
            for place, name in enumerate(names_in(step.get("depends_on"))):
                path: Path = ("steps", number, "depends_on", place)
                parent = graph.numbers.get(name) if isinstance(name, str) else None
                if not isinstance(name, str):
                    continue
                if parent == number:
                    _add(graph, path, "self_dependency", f'the step "{name[:60]}" depends on itself')
                elif parent is None:
                    unknown += 1
                    hint = did_you_mean(name, graph.numbers) if unknown <= MAX_TOLD else ""
                    _add(graph, path, "unknown_step", f'no step has the id "{name[:60]}"', hint)
                else:
                    parents[number][parent] = None
    return [list(known) for known in parents]


def branches_of(step: Json) -> list[tuple[Path, list[Json]]]:
    """The branches of a condition or switch, below its configuration, with the steps that they list; else none.

    An absent branch is an empty one: it leads straight on.
    """
    config = step.get("config") if isinstance(step, dict) else None
    if not isinstance(config, dict):
        return []
    if step.get("type") == "condition":
        return [((key,), names_in(config.get(key))) for key in ("true_branch", "false_branch")]
    if step.get("type") != "switch":
        return []
    cases = config.get("cases")
    listed: list[tuple[Path, list[Json]]] = [
        (("cases", place, "next"), names_in(case.get("next")) if isinstance(case, dict) else [])
        for place, case in enumerate(cases if isinstance(cases, list) else ())
    ]
    return [*listed, (("default",), names_in(config.get("default")))]


def _find_gates(steps: Sequence[Json], graph: Graph) -> tuple[dict[int, list[int]], dict[int, list[list[int]]]]:
    """Conditions and switches by the steps that they list, and the branches of each."""
    gates: dict[int, list[int]] = {}
    branches: dict[int, list[list[int]]] = {}
    for number, step in enumerate(steps):
        listed = branches_of(step)
        told: dict[str, int] = {}
        for place, (below, names) in enumerate(listed):
            branch: list[int] = []
            for at, name in enumerate(names):
                if not isinstance(name, str):
                    continue
                path: Path = ("steps", number, "config", *below, at)
                target = graph.numbers.get(name)
                told[name] = told.get(name, 0) + 1
                if name == graph.ids[number]:
                    _add(graph, path, "self_dependency", f'the {step["type"]} "{name[:60]}" lists itself')
                elif target is None:
                    hint = did_you_mean(name, graph.numbers)
                    _add(graph, path, "unknown_step", f'no step has the id "{name[:60]}"', hint)
                elif told[name] == len(listed) and place == len(listed) - 1:
                    hint = f"A step that always runs needs no branch: name the {step['type']} in its depends_on."
                    _add(graph, path, "ambiguous_branch", f'"{name[:60]}" is listed in every branch', hint)
                else:
                    branch.append(target)
                    gates.setdefault(target, []).append(number)
            branches.setdefault(number, []).append(branch)
    return gates, branches


def _follow_the_list(
    parents: list[dict[int, None]],
    gates: dict[int, list[int]],
    branches: dict[int, list[list[int]]],
    ids: Sequence[str | None],
) -> None:
    """No step names a dependency: each follows the one before, and what follows branches joins them.

    What has no id, which is told, is followed by nobody: the next step follows the one before it.
    """
    tail: list[int] = []
    for number in range(len(parents)):
        if number not in gates:
            parents[number].update(dict.fromkeys(tail))
            tail = tail if ids[number] is None else [number]
        targets = sorted({target for branch in branches.get(number, ()) for target in branch})
        if targets:
            # An empty branch leads straight on, so the condition stays one of those that the next step joins.
            if all(branches[number]):
                tail = [open_end for open_end in tail if open_end != number]
            tail += [target for target in targets if target not in tail and target > number]


def _sort(graph: Graph) -> None:
    children: list[list[int]] = [[] for _ in graph.ids]
    pending = [len(parents) for parents in graph.parents]
    for number, parents in enumerate(graph.parents):
        for parent in parents:
            children[parent].append(number)
    ready = deque(number for number, count in enumerate(pending) if count == 0)
    while ready:
        number = ready.popleft()
        graph.order.append(number)
        for child in children[number]:
            pending[child] -= 1
            if pending[child] == 0:
                ready.append(child)


def _tell_cycles(graph: Graph) -> None:
    """Every step left over has a parent left over: going up from any of them ends in a cycle."""
    left = set(range(len(graph.ids))).difference(graph.order)
    up = {number: next(parent for parent in graph.parents[number] if parent in left) for number in left}
    seen: dict[int, int] = {}
    told = 0
    for start in sorted(left):
        number = start
        while number not in seen:
            seen[number] = start
            number = up[number]
        if seen[number] != start or told >= MAX_TOLD:
            continue
        cycle = [number]
        while up[cycle[-1]] != number:
            cycle.append(up[cycle[-1]])
        cycle.reverse()
        first = cycle.index(min(cycle))
        cycle = cycle[first:] + cycle[:first]
        told += 1
        shown = [str(graph.ids[member])[:63] for member in cycle]
        names = [*shown[:40], "...", shown[0]] if len(shown) > 40 else [*shown, shown[0]]
        message = f"these {len(cycle)} steps wait for each other: {' -> '.join(names)}"
        _add(graph, ("steps", cycle[0], "depends_on"), "cycle", message, "Remove one of these dependencies.")
