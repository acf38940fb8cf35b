"""JSON objects that are given as text: the input of an execution from -d and -f, data of a transition."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowgres_cli.client import RawJson
from flowgres_cli.errors import UsageProblemError

Json = Any
LARGEST_BYTES = 64 << 20
_BLANKS = frozenset(" \t\r\n")


def read_input(data: str | None, fields: Sequence[str], declared: Callable[[], Mapping[str, Json]]) -> Json:
    """The JSON object to start with.

    `data` is JSON, @FILE or - (stdin), and stays text (RawJson), so that numbers keep every digit. `fields` are
    NAME=TEXT, turned into the type that the workflow declares (`declared` is asked only then), or
    NAME:=JSON. Raises UsageProblemError that says where the text is wrong.
    """
    if not fields:
        return {} if data is None else read_object(data)
    return merge_fields("{}" if data is None else read_object(data), fields, declared)


def merge_fields(text: str, fields: Sequence[str], declared: Callable[[], Mapping[str, Json]]) -> RawJson:
    """A JSON object with these fields in the place of its own, or beside them; no digit of any number changes."""
    members = _members(text) | _read_fields(fields, declared)
    return RawJson(f"{{{', '.join(f'{json.dumps(name)}: {value}' for name, value in members.items())}}}")


def _members(text: str) -> dict[str, str]:
    """The members of a JSON object that is known to be one, each as it is written."""
    decoder = json.JSONDecoder()
    members: dict[str, str] = {}
    place = text.index("{") + 1
    while (start := _skip(text, place)) < len(text) and text[start] != "}":
        name, end = decoder.raw_decode(text, start)
        # Behind the name a colon, behind the value a comma or the end.
        start = _skip(text, _skip(text, end) + 1)
        _, end = decoder.raw_decode(text, start)
        members[name] = text[start:end]
        place = _skip(text, end)
        if text[place] == ",":
            place += 1
    return members


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] in _BLANKS:
        place += 1
    return place


def _read_fields(fields: Sequence[str], declared: Callable[[], Mapping[str, Json]]) -> dict[str, str]:
    """The JSON texts of NAME=TEXT and NAME:=JSON; see `read_input`."""
    types = declared() if any(not _is_json_field(field) for field in fields) else {}
    return dict(_field(field, types) for field in fields)


def read_object(data: str, *, option: str = "-d") -> RawJson:
    """The JSON object that an option holds: JSON, @FILE or - (stdin). The text stays as it is; see `read_input`."""
    text, source = _read(data, option)
    _require_object(_parse(text, source), source)
    return RawJson(text)


def read_value(data: str, *, option: str = "-d") -> RawJson:
    """As `read_object`, of any JSON."""
    text, source = _read(data, option)
    _parse(text, source)
    return RawJson(text)


def _read(data: str, option: str = "-d") -> tuple[str, str]:
    if data == "-":
        raw, source = sys.stdin.buffer.read(LARGEST_BYTES + 1), "stdin"
    elif data.startswith("@"):
        source = data[1:]
        try:
            with Path(source).open("rb") as file:
                raw = file.read(LARGEST_BYTES + 1)
        except OSError as error:
            raise UsageProblemError(f"cannot read the input: {error.strerror}", where=source) from error
    else:
        return data, option
    if len(raw) > LARGEST_BYTES:
        raise UsageProblemError("the input is too large", where=source, hint="Pass a reference to large data instead.")
    try:
        return raw.decode("utf-8-sig"), source
    except UnicodeDecodeError as error:
        raise UsageProblemError(f"the input is no UTF-8 text (byte {error.start})", where=source) from error


def _parse(text: str, source: str) -> Json:
    from flowgres_definitions.strict_json import JsonError, read_json

    try:
        return read_json(text)
    except JsonError as error:
        place = f":{error.line}:{error.column}" if error.line else ""
        if error.code == "json_syntax":
            hint = 'Give an object such as -d \'{"order_id": "1"}\', @FILE, or - for stdin.'
            raise UsageProblemError(
                f"the input is no JSON: {error.message}", where=source + place, hint=hint
            ) from error
        raise UsageProblemError(f"the input is refused: {error.message}", where=source + place) from error


def _require_object(document: Json, source: str) -> None:
    if not isinstance(document, dict):
        raise UsageProblemError("the input is no JSON object", where=source, hint='Wrap it: {"value": ...}.')


def _is_json_field(field: str) -> bool:
    name, separator, _ = field.partition("=")
    return bool(separator) and name.endswith(":")


def _field(field: str, types: Mapping[str, Json]) -> tuple[str, str]:
    name, separator, text = field.partition("=")
    if not separator or name in ("", ":"):
        raise UsageProblemError(f"{field!r} is no field", where="-f", hint="Write -f NAME=TEXT, or -f NAME:=JSON.")
    if name.endswith(":"):
        _parse(text, f"-f {name[:-1]}")
        return name[:-1], text
    declaration = types.get(name)
    kind = declaration.get("type") if isinstance(declaration, dict) else None
    if kind in (None, "string"):
        return name, json.dumps(text)
    from flowgres_definitions.strict_json import JsonError, read_json

    try:
        read_json(text)
    except JsonError as error:
        raise UsageProblemError(
            f"{text!r} is no {kind}", where=f"-f {name}", hint=f"The workflow declares {name} as {kind}."
        ) from error
    return name, text
