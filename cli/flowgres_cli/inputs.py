"""JSON objects that are given as text: the input of an execution from -d and -f, data of a transition."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowgres_cli.client import RawJson
from flowgres_cli.errors import UsageProblemError

Json = Any
LARGEST_BYTES = 64 << 20


def read_input(data: str | None, fields: Sequence[str], declared: Callable[[], Mapping[str, Json]]) -> Json:
    """The JSON object to start with.

    `data` is JSON, @FILE or - (stdin); it stays text (RawJson) when no field changes it, so that numbers keep every
    digit. `fields` are NAME=TEXT, turned into the type that the workflow declares (`declared` is asked only then), or
    NAME:=JSON. Raises UsageProblemError that says where the text is wrong.
    """
    if not fields:
        return {} if data is None else read_object(data)
    merged: dict[str, Json] = {}
    if data is not None:
        text, source = _read(data)
        document = _parse(text, source)
        _require_object(document, source)
        merged.update(document)
    return merged | read_fields(fields, declared)


def read_fields(fields: Sequence[str], declared: Callable[[], Mapping[str, Json]]) -> dict[str, Json]:
    """The values of NAME=TEXT and NAME:=JSON; see `read_input`."""
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


def _field(field: str, types: Mapping[str, Json]) -> tuple[str, Json]:
    name, separator, text = field.partition("=")
    if not separator or name in ("", ":"):
        raise UsageProblemError(f"{field!r} is no field", where="-f", hint="Write -f NAME=TEXT, or -f NAME:=JSON.")
    if name.endswith(":"):
        return name[:-1], _parse(text, f"-f {name[:-1]}")
    declaration = types.get(name)
    kind = declaration.get("type") if isinstance(declaration, dict) else None
    if kind in (None, "string"):
        return name, text
    from flowgres_definitions.strict_json import JsonError, read_json

    try:
        return name, read_json(text)
    except JsonError as error:
        raise UsageProblemError(
            f"{text!r} is no {kind}", where=f"-f {name}", hint=f"The workflow declares {name} as {kind}."
        ) from error
