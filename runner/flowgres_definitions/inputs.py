"""Declared inputs: defaults that must fit their own declaration, and inputs that nobody declared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Final

from .problems import Json, Path, Problem, did_you_mean

_MEMBER: Final = re.compile(r'\s*(?:(?:lax|strict)\s+)?\$\s*\.\s*(?:([A-Za-z_]\w*)(?!\w|\s*\()|"([^"\\]*)")', re.ASCII)
"""The first member that a jsonpath on the input names; what is called is a method."""

_PYTHON_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def find_default_problems(inputs: Json, found: Iterable[tuple[Path, Problem]]) -> list[tuple[Path, Problem]]:
    """Defaults that do not fit their own declaration; of declarations in which nothing else was found."""
    unsound = {
        path[1]
        for path, problem in found
        if path[:1] == ("inputs",) and problem.code != "invalid_name" and len(path) > 1
    }
    problems: list[tuple[Path, Problem]] = []
    for name, declaration in inputs.items() if isinstance(inputs, dict) else ():
        if isinstance(declaration, dict) and "default" in declaration and name not in unsound:
            problem = _check_value(declaration, declaration["default"])
            if problem is not None:
                problems.append((("inputs", name, "default"), problem))
    return problems


def closed_inputs(document: Mapping[str, Json]) -> Set[str] | None:
    """The inputs that a start may send; None when it may send any."""
    inputs = document.get("inputs")
    return inputs.keys() if isinstance(inputs, dict) and document.get("additional_inputs") is not True else None


def _input_paths(document: Mapping[str, Json]) -> Iterator[tuple[Path, Json]]:
    """The jsonpaths on the input, with where they stand."""
    settings = document.get("settings")
    if isinstance(settings, dict):
        yield ("settings", "correlation_id"), settings.get("correlation_id")
        start = settings.get("start")
        if isinstance(start, dict):
            yield ("settings", "start", "key"), start.get("key")


def find_unknown_inputs(document: Mapping[str, Json]) -> Iterator[tuple[Path, Problem]]:
    """Undeclared inputs that jsonpaths read, or that triggers send. Expressions are looked at elsewhere."""
    known = closed_inputs(document)
    if known is None:
        return
    for place, path in _input_paths(document):
        member = _MEMBER.match(path) if isinstance(path, str) else None
        if member is not None and (name := member[1] if member[1] is not None else member[2]) not in known:
            yield place, unknown_input(name, known)
    triggers = document.get("triggers")
    for index, trigger in enumerate(triggers if isinstance(triggers, list) else ()):
        sent = trigger.get("input") if isinstance(trigger, dict) else None
        for name in sent if isinstance(sent, dict) else ():
            if name not in known:
                yield ("triggers", index, "input", name), unknown_input(name, known)


def unknown_input(name: str, known: Set[str]) -> Problem:
    """The problem of an input that is sent or named, and not declared."""
    hint = did_you_mean(name, known) or "Declare it in inputs, or let the workflow say additional_inputs: true."
    return _problem("unknown_input", f'the workflow declares no input "{name[:60]}"', hint)


def _check_value(declaration: Mapping[str, Json], value: Json) -> Problem | None:
    kind = declaration.get("type")
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    kinds = _PYTHON_KINDS.get(str(kind))
    if kinds is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kind != "boolean")):
        return _problem("wrong_kind", f"the default must be of type {kind}")
    allowed = declaration.get("enum")
    if isinstance(allowed, list) and _as_text(value) not in map(_as_text, allowed):
        return _problem("not_allowed", "the default is not one of the allowed values")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _check_bounds(value, declaration.get("minimum"), declaration.get("maximum"), "out_of_range")
    if isinstance(value, str | list):
        return _check_bounds(len(value), declaration.get("min_length"), declaration.get("max_length"), "wrong_length")
    return None


def _check_bounds(value: float, least: Json, most: Json, code: str) -> Problem | None:
    if (least is not None and value < least) or (most is not None and value > most):
        words = [f"at least {least}" if least is not None else "", f"at most {most}" if most is not None else ""]
        return _problem(code, "the default is out of its bounds", " and ".join(filter(None, words)))
    return None


def _as_text(value: Json) -> str:
    # In Python true equals 1 and 1 equals 1.0; of these only the second holds in JSON.
    return json.dumps(value, sort_keys=True) if not isinstance(value, float) or value % 1 else json.dumps(int(value))


def _problem(code: str, message: str, hint: str = "") -> Problem:
    return Problem(path="", code=code, message=message, hint=hint)
