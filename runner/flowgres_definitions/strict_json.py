"""JSON as the engine takes it: what jsonb can hold, and nothing that two readers would understand differently.

ValueError
└── JsonError     the text is no such JSON; `code` says why, line and column where that is known
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from .language import MAX_DEPTH
from .problems import Json


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
    """The value of a JSON text; integers of up to 4,300 digits are exact. Raises JsonError, and nothing else.

    Refused beside broken syntax: NaN and infinities however they are written, a key given twice, more than `max_depth`
    levels, the null character, halves of surrogate pairs.
    """
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise JsonError("json_syntax", error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    except JsonError:
        raise
    except ValueError:  # more digits than Python reads
        raise JsonError("number_invalid", "a number has too many digits") from None
    _check(value, max_depth)
    return value


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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JsonError("duplicate_key", f"the key {twice[:60]!r} is given twice")
    return value


# Made once: `json.loads` with hooks builds a decoder per call.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
_SYNTAX: Final = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_no_constant)


def _too_deep(max_depth: int) -> JsonError:
    return JsonError("json_too_deep", f"values are nested at most {max_depth} levels deep")


def _check(value: Json, max_depth: int) -> None:
    """Depth and texts, without recursion."""
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


def _check_text(text: str) -> None:
    if "\0" in text:
        raise JsonError("invalid_character", "a text holds a NUL character, which cannot be stored")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise JsonError("invalid_character", "a text holds half of a surrogate pair") from None
