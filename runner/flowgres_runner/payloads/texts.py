"""JSON that stays a text: what is large is taken apart in another process, and as objects it would be many times it.

An empty object is 2 characters, and 64 bytes of Python. So the runner keeps what it only passes on as its text: an
answer on its way into an output, outputs that expressions may see later.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowgres_runner.json_values import (
    HELD_BYTES,
    Json,
    canonical_number,
    encode_json,
    encode_output,
    jsonb_key_order,
)
from flowgres_runner.payloads.bodies import take_body
from flowgres_runner.payloads.codings import undo_codings
from flowgres_runner.payloads.failures import BodyTooLargeError
from flowgres_runner.payloads.masks import Masker, masker

MAX_TEXT_BYTES = 8 << 20
"""Of what an answer may become: escapes and base64 are longer than what they stand for."""

_BATCH = 500
_MISSING = object()


@dataclass(frozen=True, slots=True)
class JsonText:
    """A value as the compact text of its canonical form, in UTF-8; `depth` counts its levels, 0 when judged."""

    data: bytes | bytearray
    depth: int

    def __repr__(self) -> str:
        return f"JsonText({len(self.data)} bytes)"


@dataclass(slots=True)
class ReadBody:
    """A body that was read: `value` is in its canonical form. `is_binary`: it is base64, because it is no text."""

    value: Json | JsonText
    is_binary: bool = False


@dataclass(slots=True)
class Reading:
    """How to read the bytes of an answer: content codings, type, the step's word, what to mask, how many bytes."""

    codings: tuple[str, ...]
    content_type: str
    reads_as: str
    secrets: tuple[str, ...]
    limit: int


def read_apart(given: list[bytes | bytearray], reading: Reading) -> tuple[JsonText, bool]:
    """The text of a body's value, and whether it is base64. Raises BodyError.

    The bytes are taken out of the list, so that they can go as soon as there is a text, and the value is put into its
    canonical form in place: there are never two of anything.
    """
    if reading.codings:
        given.append(undo_codings(given.pop(), reading.codings, limit=reading.limit))
    mask = masker(reading.secrets)
    # Texts and bytes are masked as they are read, JSON while it is put in order.
    body = take_body(given, reading.content_type, mask, reading.reads_as, masks_json=False)
    whole, is_binary = [body.value], body.is_binary
    del body
    depth = _settle(whole, mask.text if mask and not is_binary else None) - 1
    out = bytearray()
    _write(whole.pop(), out)
    return JsonText(out, depth), is_binary


def text_of(value: Json, mask: Masker) -> JsonText:
    """The text of a value, which stays as it is. Raises OutputError when it cannot be stored."""
    canonical, text = encode_output(mask.json(value), max_bytes=sys.maxsize)
    return JsonText(text.encode(), _depth_of(canonical))


def _depth_of(value: Json) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth_of, value.values() if isinstance(value, dict) else value), default=0)


def _write(value: Any, out: bytearray) -> None:
    """Write a value, which is used up by that: what is written need not be there as objects any longer."""
    if type(value) is list and len(value) > _BATCH:
        for start in range(0, len(value), _BATCH):
            batch = value[start : start + _BATCH]
            value[start : start + _BATCH] = [None] * len(batch)
            out += b"," if start else b"["
            out += encode_json(batch)[1:-1].encode()
            _check_text(out)
        out += b"]"
    elif type(value) is dict and value:
        mark = b"{"
        for key in list(value):
            out += mark + encode_json(key).encode() + b":"
            _write(value.pop(key), out)
            mark = b","
        out += b"}"
    else:
        out += encode_json(value).encode()
    _check_text(out)


def _check_text(out: bytearray) -> None:
    if len(out) > MAX_TEXT_BYTES:
        raise BodyTooLargeError(f"as JSON the response is larger than {MAX_TEXT_BYTES} bytes")


def _settle(value: Any, mask: Callable[[str], str] | None) -> int:
    """Put a parsed value into the form in which it comes back from jsonb, in place; returns its depth."""
    deepest = 0
    is_object = type(value) is dict
    if is_object and len(value) > 1:
        keys = sorted(value, key=jsonb_key_order)
        if keys != list(value):
            for key in keys:
                value[key] = value.pop(key)
    for key, item in value.items() if is_object else enumerate(value):
        kind = type(item)
        if kind is str:
            if mask is not None:
                value[key] = mask(item)
        elif kind is float:
            value[key] = canonical_number(item)
        elif kind is dict or kind is list:
            deepest = max(deepest, _settle(item, mask))
    return deepest + 1


def split(data: bytes | bytearray, paths: Sequence[tuple[str, ...]]) -> tuple[str, list[tuple[list[str], bytes]]]:
    """The text of a value without its large members, and theirs: [path, text] each. `*` in a path is every name.

    Raises ValueError for what is no JSON.
    """
    value = json.loads(data)
    pieces: list[tuple[list[str], bytes]] = []
    for path in paths:
        _cut(value, path, [], pieces)
    return encode_json(value), pieces


def _cut(value: Any, path: tuple[str, ...], at: list[str], pieces: list[tuple[list[str], bytes]]) -> None:
    if not isinstance(value, dict):
        return
    for name in list(value) if path[0] == "*" else path[:1]:
        if name not in value:
            continue
        if len(path) > 1:
            _cut(value[name], path[1:], [*at, name], pieces)
            continue
        data = encode_json(value[name]).encode()
        if len(data) > HELD_BYTES:
            value[name] = None
            pieces.append(([*at, name], data))


@dataclass(frozen=True, slots=True)
class Unread:
    """A place within a value that is here as its text."""

    data: bytes
    path: str


def look_up(value: object, path: str, default: object = None) -> object:
    """What lies at a dotted path of objects and lists, or `default`."""
    for name in path.split("."):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(value):
            value = value[int(name[:9])]
        else:
            return default
    return value


def look_into(data: bytes | bytearray, path: str) -> list[Any]:
    """What lies at a dotted path of a text (all of it for an empty one): [value], or nothing."""
    value = json.loads(data)
    if path:
        value = look_up(value, path, _MISSING)
    return [] if value is _MISSING else [value]


def put_pieces(value: Any, pieces: Sequence[tuple[Sequence[str], bytes]]) -> Any:
    """Put texts to where `split` took them from; as bytes, which no other value is."""
    for path, data in pieces:
        place = value
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = data
    return value
