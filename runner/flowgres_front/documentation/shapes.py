"""Answers of functions, as their comments in the database name them: `Returns {version, errors: [{path}], ...}`.

A list of values that are no objects is a word in brackets: `Returns [id]`. What is always true is `Returns true`.
"""

from __future__ import annotations

import re
from typing import Any

_RETURNS = re.compile(r"\bReturns\s+(?=[{\[]|true\b)")
_WORD = re.compile(r"\s*(\.\.\.|[a-z_][a-z0-9_]*|[{}\[\]:,])")


def answer_shape(comment: str) -> dict[str, Any] | None:
    """The JSON Schema of what a comment says that comes back, or None when it says it in words only.

    All members that are named are there, whatever their values, and no others, unless the shape ends in `...`. A shape
    that cannot be read, as a later version may write it, is words.
    """
    found = _RETURNS.search(comment)
    if found is None:
        return None
    try:
        schema, _ = _read_value(comment, found.end())
    except ValueError:
        return None
    return schema


def _read_value(text: str, at: int) -> tuple[dict[str, Any], int]:
    word, at = _next(text, at)
    if word == "[":
        items, at = _read_value(text, at)
        _, at = _expect(text, at, "]")
        return {"type": "array", "items": items}, at
    if word == "true":
        return {"const": True}, at
    if word.isidentifier():
        return {}, at
    if word != "{":
        raise ValueError(f"a shape begins with a brace or a bracket, not with {word!r}")
    members: dict[str, Any] = {}
    is_open = False
    while True:
        name, at = _next(text, at)
        word, at = _next(text, at)
        if name == "...":
            is_open = True
        else:
            members[name] = {}
            if word == ":":
                members[name], at = _read_value(text, at)
                word, at = _next(text, at)
        if word == "}":
            return {
                "type": "object",
                "properties": members,
                "required": list(members),
                **({} if is_open else {"additionalProperties": False}),
            }, at
        if word != ",":
            raise ValueError(f"a comma or the end of a shape was expected, not {word!r}")


def _expect(text: str, at: int, wanted: str) -> tuple[str, int]:
    word, at = _next(text, at)
    if word != wanted:
        raise ValueError(f"{wanted!r} was expected, not {word!r}")
    return word, at


def _next(text: str, at: int) -> tuple[str, int]:
    found = _WORD.match(text, at)
    if found is None:
        raise ValueError(f"a shape breaks off at {text[at : at + 20]!r}")
    return found.group(1), found.end()
