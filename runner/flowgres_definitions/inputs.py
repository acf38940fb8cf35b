"""Declared inputs: their names, and defaults that must fit their own declaration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from .problems import Json, Path, Problem

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_PYTHON_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def find_input_problems(inputs: Json, is_sound: Mapping[str, bool]) -> Iterator[tuple[Path, Problem]]:
    """Names that are none, and defaults that do not fit. `is_sound` says which declarations have the right shape."""
    for name, declaration in inputs.items() if isinstance(inputs, dict) else ():
        if not _NAME.fullmatch(name):
            message = f"{name[:60]!r} is not the name of an input"
            yield ("inputs", name), _problem("invalid_name", message, "letters, digits and _, 63 at most")
        if isinstance(declaration, dict) and "default" in declaration and is_sound.get(name, True):
            problem = _check_value(declaration, declaration["default"])
            if problem is not None:
                yield ("inputs", name, "default"), problem


def _check_value(declaration: Mapping[str, Json], value: Json) -> Problem | None:
    kind = declaration.get("type")
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
