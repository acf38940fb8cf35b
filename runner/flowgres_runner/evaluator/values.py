"""What an expression may result in: plain JSON of exact types, finite, storable, not too deep."""

from __future__ import annotations

import math
from typing import Any

from jinja2 import Undefined

from flowgres_runner.errors import RunnerError

Json = Any
MAX_DEPTH = 64
LARGEST_INTEGER_BITS = 14_000
"""As many as Python writes in decimal, which are 4,300 digits."""


class RenderError(RunnerError):
    """Rendering failed for good, with a stable code."""

    def __init__(self, code: str, message: str, *, out_of_memory: bool = False) -> None:
        super().__init__(message, code=code)
        self.out_of_memory = out_of_memory


def check_text(text: str) -> str:
    if "\0" in text:
        raise RenderError("expression_error", "the result holds a NUL character, which cannot be stored")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RenderError("expression_error", "the result holds half of a surrogate pair") from None
    return text


def to_json(value: Any, depth: int) -> Json:
    """The value as plain JSON of exact types; raises RenderError for anything that is none."""
    kind = type(value)
    if kind is str:
        return check_text(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        if value.bit_length() > LARGEST_INTEGER_BITS:
            raise RenderError("expression_limit", "the number is too large")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise RenderError("expression_error", "the result is not a finite number")
        return value
    if depth == 0:
        raise RenderError("expression_limit", f"the result is nested more than {MAX_DEPTH} levels deep")
    if kind is dict:
        return {_key(key): to_json(member, depth - 1) for key, member in value.items()}
    if kind is list or kind is tuple:
        return [to_json(member, depth - 1) for member in value]
    if isinstance(value, Undefined):
        str(value)  # raises the error that names the missing field
    raise RenderError("expression_error", f"the result is no data but {kind.__name__}")


def _key(key: Any) -> str:
    if type(key) is not str:
        raise RenderError("expression_error", "keys of an object are texts")
    return check_text(key)
