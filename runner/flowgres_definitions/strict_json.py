"""JSON as the engine takes it: what jsonb can hold, and nothing that two readers would understand differently.

ValueError
└── JsonError     the text is no such JSON; `code` says why, line and column where that is known
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from typing import Any, Final, NoReturn

from .language import MAX_DEPTH
from .problems import Json

_MAX_DIGITS: Final = 4_000
# May be infinite as a double: an exponent of three digits, or so many digits that one of two is enough.
_SUSPECT_NUMBER: Final = re.compile(r"[0-9][eE]\+?[0-9]{3}|(?<![0-9])[0-9]{200}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class JsonError(ValueError):
    """A text is refused.

    `code` is json_syntax, json_too_deep, duplicate_key, number_invalid or invalid_character. `line` and `column` start
    at 1, and are 0 where only the whole text can be named.
    """

    def __init__(self, code: str, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line
        self.column = column


def read_json(text: str, *, max_depth: int = MAX_DEPTH) -> Json:
    """The value of a JSON text; integers of up to 4,000 digits are exact. Raises JsonError, and nothing else.

    Refused beside broken syntax: NaN and infinities however they are written, a key given twice, more than `max_depth`
    levels of objects and lists, the null character, halves of surrogate pairs.
    """
    if _SURROGATE.search(text):
        raise _half_a_pair()
    # Hooks for numbers cost a call each, and few texts have one that needs them.
    decoder = _CAREFUL if _SUSPECT_NUMBER.search(text) else _DECODER
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise JsonError("json_syntax", error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    # The walk is spared where neither depth nor an escape is possible; brackets in texts count, too.
    if "\\u" in text or text.count("{") + text.count("[") > max_depth:
        check_json(value, max_depth=max_depth)
    return value


def check_json(value: Json, *, max_depth: int = MAX_DEPTH) -> None:
    """Refuse what cannot be stored of a value that somebody else has read: its depth and its texts."""
    pending: list[tuple[Json, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, dict | list):
            if depth > max_depth:
                raise _too_deep(max_depth)
            members = item.values() if isinstance(item, dict) else item
            for key in item if isinstance(item, dict) else ():
                _check_text(key)
            pending.extend((member, depth + 1) for member in members)


def check_syntax(text: str) -> None:
    """Refuse a text that is no JSON, whatever its numbers are. Raises JsonError; the text must not be nested deeply."""
    try:
        _SYNTAX.decode(text)
    except json.JSONDecodeError as error:
        raise JsonError("json_syntax", error.msg, error.lineno, error.colno) from None
    except _ConstantError as error:
        at = text.find(str(error))
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        raise JsonError("number_invalid", f"{error} is no JSON number", line, column) from None


class _ConstantError(Exception):
    """NaN or Infinity, which Python's reader would take."""


def _no_constant(name: str) -> NoReturn:
    raise _ConstantError(name)


def _refuse_constant(name: str) -> NoReturn:
    raise JsonError("number_invalid", f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise JsonError("number_invalid", "a number is too large")
    return value


def _bounded(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise JsonError("number_invalid", "a number has too many digits")
    return int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError("duplicate_key", f"the key {twice[:60]!r} is given twice")
    return value


# Made once: `json.loads` with hooks builds a decoder per call.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
_CAREFUL: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_bounded
)
_SYNTAX: Final = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_no_constant)


def _too_deep(max_depth: int) -> JsonError:
    return JsonError("json_too_deep", f"values are nested at most {max_depth} levels deep")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise JsonError("invalid_character", "a text holds a NUL character, which cannot be stored")
    if _SURROGATE.search(text):
        raise _half_a_pair()


def _half_a_pair() -> JsonError:
    return JsonError("invalid_character", "a text holds half of a surrogate pair")


def is_same(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON: 1 is 1.0, and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(member, other[key]) for key, member in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return type(one) is type(other) and one == other if isinstance(one, str | None) else bool(one == other)


def frozen(value: Json) -> Hashable:
    """Something that is equal for the same JSON, and can be looked up."""
    if isinstance(value, dict):
        return ("object", frozenset((key, frozen(member)) for key, member in value.items()))
    if isinstance(value, list):
        return ("array", *map(frozen, value))
    return (isinstance(value, bool), value)


def is_number(value: Json) -> bool:
    """Whether a value is a number; in Python true is one."""
    return isinstance(value, int | float) and not isinstance(value, bool)
