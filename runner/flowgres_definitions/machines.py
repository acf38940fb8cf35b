"""State machines: what the description cannot say of states and transitions; the twin of definitions/machines.sql.

Only the database knows whether PostgreSQL can read a `guard`, and whether a workflow that a transition starts is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from .form import Moves, form_definition
from .problems import Json, Path, Problem, did_you_mean

Found = Iterator[tuple[Path, Problem]]

ANY_STATE = "*"
"""In `from`: every state that is not final."""

MAX_UNKNOWN = 200
"""Unknown states that are told of: a definition may name tens of thousands, and each costs a suggestion."""


def is_machine(document: Mapping[str, Json]) -> bool:
    """Whether a definition is one of a state machine, sound or not."""
    return document.get("states") is not None or document.get("transitions") is not None


def form_machine(document: dict[str, Json], moves: Moves) -> dict[str, Json]:
    """The canonical form of a valid machine: every value in its form, every transition with a name.

    Applying it again changes nothing.
    """
    formed = form_definition(document, moves)
    return {**formed, "transitions": [_complete(one) for one in _objects(formed.get("transitions"))]}


def find_machine_errors(formed: Mapping[str, Json]) -> Found:
    """What is wrong with a machine whose values have their canonical form, beside what breaks the description."""
    yield from _check_states(formed)
    known = [name for state in _objects(formed.get("states")) if isinstance(name := state.get("name"), str)]
    if known:
        names = set(known)
        unknown = ((path, name) for path, name in _named_states(formed) if name not in names)
        for path, name in islice(unknown, MAX_UNKNOWN):
            yield path, Problem("", "unknown_state", f'no state is called "{name[:60]}"', did_you_mean(name, known))
    for path, transition in _transitions(formed):
        yield from _check_enforced(path, transition)


def find_machine_warnings(formed: Mapping[str, Json]) -> Found:
    """What is odd about a machine without errors."""
    machine = form_machine(dict(formed), {})
    finals = {state["name"] for state in machine["states"] if state["final"]}
    first: dict[tuple[str, str], str] = {}
    for number, one in enumerate(machine["transitions"]):
        path: Path = ("transitions", number)
        start, end = one["from"], one["to"]
        if start in finals:
            message = f'"{start[:60]}" is final: this transition reopens what was completed'
            yield (*path, "from"), _warning("leaves_final_state", message)
        if (start, end) in first:
            message = f'"{first[start, end][:60]}" leads from "{start[:60]}" to "{end[:60]}", and the first one wins'
            yield path, _warning("repeated_transition", message, "Remove one of them.")
        first.setdefault((start, end), one["name"])
        for key in one["conditions"] if one.get("enforce") else ():
            if key != "field_required":
                message = f'of the conditions "field_required" alone is enforced, and not "{key[:60]}"'
                yield (*path, "conditions", key), _warning("condition_not_enforced", message, "Write a guard.")
    ways = set(_list_ways(machine))
    yield from _check_reach(machine, ways)
    for path, start, end in _moves_of_the_engine(machine):
        if (start, end) not in ways:
            message = f'no transition leads from "{start[:60]}" to "{end[:60]}", so this will not happen'
            yield path, _warning("transition_missing", message, "Add the transition.")


def _check_states(formed: Mapping[str, Json]) -> Found:
    used: dict[str, int] = {}
    initial: str | None = None
    states = formed.get("states")
    for number, state in enumerate(states if isinstance(states, list) else ()):
        if not isinstance(state, dict):
            continue
        name = state.get("name")
        shown = name[:60] if isinstance(name, str) else ""
        if isinstance(name, str) and name in used:
            message = f'the state "{shown}" is there already: states[{used[name]}]'
            yield ("states", number, "name"), Problem("", "duplicate_state", message, "Names of states are unique.")
        elif isinstance(name, str):
            used[name] = number
        if state.get("initial") is True and initial is not None:
            message = f'"{initial}" is the initial state already'
            yield (
                ("states", number, "initial"),
                Problem("", "several_initial_states", message, "An instance begins in one state."),
            )
        elif state.get("initial") is True:
            initial = shown
        if state.get("final") is True and state.get("sla") is not None:
            message = f'"{shown}" is final: its instances are completed, and wait for nothing'
            yield ("states", number, "sla"), Problem("", "sla_of_final_state", message, "Remove it.")
    if isinstance(states, list) and states and initial is None:
        message = "no state is the initial one"
        yield ("states",), Problem("", "no_initial_state", message, "Give initial: true to the one in which it begins.")


def _check_enforced(path: Path, transition: Mapping[str, Json]) -> Found:
    conditions = transition.get("conditions")
    if transition.get("enforce") is not True or not isinstance(conditions, dict):
        return
    fields = conditions.get("field_required")
    if fields is None:
        message = "there is no field_required in the conditions, so there is nothing to enforce"
        hint = "guard, roles and required hold without enforce; other conditions are never evaluated."
        yield (*path, "enforce"), Problem("", "nothing_to_enforce", message, hint)
        return
    listed = fields if isinstance(fields, list) else [fields]
    if not listed or not all(isinstance(field, str) and field for field in listed):
        message = "this names no fields"
        hint = "Write the name of a field, or a list of names."
        yield (*path, "conditions", "field_required"), Problem("", "invalid_value", message, hint)


def _named_states(formed: Mapping[str, Json]) -> Iterator[tuple[Path, str]]:
    """Every state that is named somewhere else than in its own place."""
    states = formed.get("states")
    for number, state in enumerate(states if isinstance(states, list) else ()):
        sla = state.get("sla") if isinstance(state, dict) else None
        if isinstance(sla, dict) and isinstance(sla.get("to"), str):
            yield ("states", number, "sla", "to"), sla["to"]
    for path, transition in _transitions(formed):
        for key in ("from", "to"):
            name = transition.get(key)
            if isinstance(name, str) and (key, name) != ("from", ANY_STATE):
                yield (*path, key), name
        start = transition.get("start")
        for key in ("on_success", "on_failure"):
            if isinstance(start, dict) and isinstance(start.get(key), str):
                yield (*path, "start", key), start[key]


def _moves_of_the_engine(machine: Mapping[str, Json]) -> Iterator[tuple[Path, str, str]]:
    """Where a time or the end of an execution moves an instance: from which state to which."""
    for number, state in enumerate(machine["states"]):
        if "to" in state.get("sla", {}):
            yield ("states", number, "sla", "to"), state["name"], state["sla"]["to"]
    for number, one in enumerate(machine["transitions"]):
        for key in ("on_success", "on_failure"):
            if key in one.get("start", {}):
                yield ("transitions", number, "start", key), one["to"], one["start"][key]


def _check_reach(machine: Mapping[str, Json], ways: set[tuple[str, str]]) -> Found:
    onward: dict[str, list[str]] = {}
    for start, end in ways:
        onward.setdefault(start, []).append(end)
    todo = [state["name"] for state in machine["states"] if state["initial"]]
    reached = set(todo)
    while todo:
        new = set(onward.get(todo.pop(), ())) - reached
        reached |= new
        todo.extend(new)
    for number, state in enumerate(machine["states"]):
        if state["name"] not in reached:
            message = f'no way leads from the initial state to "{state["name"][:60]}"'
            yield ("states", number), _warning("unreachable_state", message, "Add a transition to it, or remove it.")


def _list_ways(machine: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Every pair of states with a way from one to the other; a machine that lists no transitions has all of them."""
    names = [state["name"] for state in machine["states"]]
    leaving = [state["name"] for state in machine["states"] if not state["final"]]
    for one in machine["transitions"]:
        for start in leaving if one["from"] == ANY_STATE else (one["from"],):
            yield start, one["to"]
    if not machine["transitions"]:
        yield from ((start, end) for start in leaving for end in names if start != end)


def _complete(transition: Mapping[str, Json]) -> dict[str, Json]:
    completed = {key: value for key, value in transition.items() if (key, value) != ("enforce", False)}
    start = "any" if completed["from"] == ANY_STATE else completed["from"]
    return {"name": f"{start}_to_{completed['to']}", **completed}


def _transitions(formed: Mapping[str, Json]) -> Iterator[tuple[Path, dict[str, Json]]]:
    transitions = formed.get("transitions")
    for number, transition in enumerate(transitions if isinstance(transitions, list) else ()):
        if isinstance(transition, dict):
            yield ("transitions", number), transition


def _objects(values: Json) -> list[dict[str, Json]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _warning(code: str, message: str, hint: str = "") -> Problem:
    return Problem("", code, message, hint, severity="warning")
