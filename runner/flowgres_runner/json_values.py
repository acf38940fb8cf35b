"""JSON exactly as PostgreSQL keeps it.

An output is used twice: at once, from memory, by the next step on this runner, and later, read back from jsonb, by
another. Both must see the same value, so it is put into jsonb's form before either happens: keys in jsonb's order,
floats that jsonb would give back as integers as integers, and nothing that jsonb cannot hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from json import encoder as json_encoder
from typing import Any, TypeAlias

from flowgres_runner.errors import OutputError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

MAX_DEPTH = 64
HELD_BYTES = 4_096
"""Of a value: what is larger is kept as its JSON text, and opened only where expressions see it."""
LARGE_BYTES = 65_536
"""What is larger is neither parsed nor written by the event loop."""
MAX_MESSAGE_CHARACTERS = 2_000
_EXACT_FLOAT_LIMIT = 1e16
"""From here on Python writes floats with an exponent, and jsonb stores them as integers."""


def _make_encode() -> Callable[[Any], str]:
    """A function that gives the compact JSON text of a value, and raises ValueError for NaN and infinity.

    `JSONEncoder.encode` makes a C encoder at each call, which takes longer than using it; here one is kept. It does not
    remember what it is inside of, so a circle runs into RecursionError; the slow way then says what it always said.
    """
    slow = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    make: Any = getattr(json_encoder, "c_make_encoder", None)
    if make is None:
        return slow.encode
    fast = make(None, slow.default, json_encoder.encode_basestring, None, ":", ",", False, False, False)

    def encode(value: Any) -> str:
        try:
            return "".join(fast(value, 0))
        except RecursionError:
            return slow.encode(value)

    return encode


encode_json = _make_encode()
"""Compact JSON text of a value: ValueError for NaN, infinity and circles, TypeError for what JSON does not have."""


def canonical_json(value: Any, max_depth: int = MAX_DEPTH, depth: int = 0) -> Json:
    """The value as it would come back from jsonb.

    Raises OutputError when it cannot be stored: text with NUL or a lone surrogate, NaN or infinity, a type that JSON
    does not have, more than `max_depth` levels.
    """
    kind = type(value)
    if kind is str:
        return _checked_text(value)
    if value is None or kind is bool or kind is int:
        return value  # type: ignore[no-any-return]
    if kind is float:
        return canonical_number(value)
    if depth >= max_depth:
        check_depth(depth + 1, max_depth)
    if isinstance(value, dict):
        return _canonical_object(value, max_depth, depth + 1)
    if isinstance(value, list | tuple):
        return [canonical_json(item, max_depth, depth + 1) for item in value]
    if isinstance(value, str):
        return _checked_text(str(value))
    raise OutputError(f"the output holds a {kind.__name__}, which JSON does not have")


def encode_output(value: Any, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> tuple[Json, str]:
    """The canonical value and its JSON text; raises OutputError when it cannot be stored or is too large."""
    canonical = canonical_json(value, max_depth)
    try:
        text = encode_json(canonical)
    except ValueError as error:  # an integer of more digits than Python will write
        raise OutputError("the output holds a number that is too long") from error
    # The text has at least as many bytes as characters, and at most four times as many.
    if len(text) * 4 > max_bytes:
        check_size(len(text.encode()), max_bytes)
    return canonical, text


def check_size(size: int, max_bytes: int) -> None:
    """Raise OutputError for an output of too many bytes."""
    if size > max_bytes:
        raise OutputError(
            f"the output has {size} bytes, the limit is {max_bytes}",
            code="output_too_large",
            hint="Return less, or raise MAX_OUTPUT_BYTES.",
        )


def check_depth(depth: int, max_depth: int) -> None:
    """Raise OutputError for an output of too many levels."""
    if depth > max_depth:
        raise OutputError(f"the output is nested deeper than {max_depth} levels")


def weight_of(text: str) -> int:
    """About how many bytes a value takes as Python objects, by its text: an empty object is 64, and 2 characters."""
    return len(text) + 232 * text.count("{") + 56 * text.count("[") + 24 * text.count(",")


def storable_text(text: object, limit: int = MAX_MESSAGE_CHARACTERS) -> str:
    """A message that PostgreSQL can store, cut to a length that somebody may read."""
    return str(text)[:limit].encode(errors="replace").decode().replace("\0", "\ufffd")


def _checked_text(text: str) -> str:
    if text.isascii():
        if "\0" not in text:
            return text
        raise OutputError("the output holds a NUL character, which PostgreSQL cannot store")
    if "\0" in text:
        raise OutputError("the output holds a NUL character, which PostgreSQL cannot store")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise OutputError("the output holds half of a surrogate pair, which is no character") from None
    return text


def canonical_number(value: float) -> int | float:
    """The number that jsonb gives back for a float; raises OutputError when it is not finite."""
    if not math.isfinite(value):
        raise OutputError("the output holds a number that is not finite")
    if -_EXACT_FLOAT_LIMIT < value < _EXACT_FLOAT_LIMIT:
        return value + 0.0  # jsonb has no negative zero
    # jsonb keeps the decimal digits that were written, so this goes by the digits, not by the binary value.
    digits, _, exponent = repr(value).partition("e")
    whole, _, fraction = digits.partition(".")
    return int(whole + fraction.rstrip("0") + "0" * (int(exponent) - len(fraction.rstrip("0"))))


def _canonical_object(value: dict[Any, Any], max_depth: int, depth: int) -> dict[str, Json]:
    result: dict[str, Json] = {}
    for key in _in_jsonb_order(value):
        if not isinstance(key, str):
            raise OutputError("the output has an object with a key that is not text")
        item = value[key]
        kind = type(item)
        # What most members are goes without a call.
        if not (kind is int or item is None or (kind is str and item.isascii() and "\0" not in item)):
            item = canonical_json(item, max_depth, depth)
        result[_checked_text(key)] = item
    return result


def _in_jsonb_order(value: dict[Any, Any]) -> list[Any]:
    if len(value) < 2:
        return list(value)
    try:
        if "".join(value).isascii():
            keys = sorted(value)
            keys.sort(key=len)
            return keys
        return sorted(value, key=jsonb_key_order)
    except (AttributeError, TypeError, UnicodeEncodeError):
        return list(value)  # whoever looks at them says what is wrong


def jsonb_key_order(key: str) -> tuple[int, bytes]:
    """What jsonb sorts keys by."""
    data = key.encode()
    return len(data), data
