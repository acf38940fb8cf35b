"""Files whose rows are entities to start or instances to move: lines of JSON, CSV, or ids alone.

Read row by row, whatever their size.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from flowgres_cli.errors import UsageProblemError
from flowgres_cli.inputs import LARGEST_BYTES

Json = Any
_JSON_SUFFIXES = (".jsonl", ".ndjson")
_HINTS = {
    "entity": 'Give {"entity_table": "...", "entity_id": "...", "metadata": {}} a line, or these as columns of a CSV.',
    "instance": 'Give an id a line, or {"id": "..."}, or the column id of a CSV.',
}
_NEEDED = {"entity_table", "entity_id"}
_COLUMNS = {"entity": ("entity_table", "entity_id", "metadata"), "instance": ("id", "instance_id")}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: where it stands, and the JSON that is sent for it."""

    place: str
    text: str


def read_entities(source: str) -> Iterator[Row]:
    """Entities to start: {entity_table, entity_id, metadata}. `source` is a path, or - for stdin."""
    return _read_checked(source, "entity", _entity)


def read_instances(source: str) -> Iterator[Row]:
    """Ids of instances, from `id` or `instance_id`, or one a line. `source` is a path, or - for stdin."""
    return _read_checked(source, "instance", _instance)


class _WrongRowError(Exception):
    """A row is not what it should be; `number` is its line."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def _entity(_number: int, fields: dict[str, Json], text: str | None) -> str:
    """Of a line of JSON the line itself, so that numbers keep every digit."""
    if text is not None:
        return text
    entity = json.dumps({name: fields[name] for name in ("entity_table", "entity_id")})
    return f'{entity[:-1]}, "metadata": {fields["metadata"]}}}' if fields.get("metadata") else entity


def _instance(number: int, fields: dict[str, Json], _text: str | None) -> str:
    given = fields.get("instance_id") or fields.get("id") or ""
    try:
        return json.dumps(str(uuid.UUID(given)))
    except (ValueError, AttributeError, TypeError):
        raise _WrongRowError(number, f"{given!r} is no instance id") from None


def _read_checked(source: str, kind: str, convert: Callable[[int, dict[str, Json], str | None], str]) -> Iterator[Row]:
    if source != "-" and Path(source).is_file():
        # A mistake in the last row is not to be found once the first ones were sent. A pipe is read once alone.
        for _ in _read(source, kind, convert):
            pass
    yield from _read(source, kind, convert)


def _read(source: str, kind: str, convert: Callable[[int, dict[str, Json], str | None], str]) -> Iterator[Row]:
    name = "stdin" if source == "-" else source
    try:
        with _opened(source) as file:
            for number, fields, text in _records(file, Path(source).suffix.lower(), kind):
                yield Row(f"{name}:{number}", convert(number, fields, text))
    except _WrongRowError as error:
        raise UsageProblemError(str(error), where=f"{name}:{error.number}", hint=_HINTS[kind]) from None
    except OSError as error:
        raise UsageProblemError(f"cannot read the file: {error.strerror}", where=name) from error
    except UnicodeDecodeError as error:
        raise UsageProblemError("the file is no UTF-8 text", where=name) from error


def _records(file: IO[str], suffix: str, kind: str) -> Iterator[tuple[int, dict[str, Json], str | None]]:
    """Number of the line, its fields, and its text where that is JSON."""
    skipped, first = 0, ""
    for first in file:
        if first.strip():
            break
        skipped += 1
    lines = itertools.chain([first] if first.strip() else [], file)
    if suffix in _JSON_SUFFIXES or (suffix != ".csv" and first.lstrip().startswith("{")):
        yield from _json_records(lines, skipped, kind)
    elif suffix == ".csv" or kind == "entity" or "," in first:
        yield from _csv_records(lines, skipped, kind)
    else:
        for number, line in enumerate(lines, skipped + 1):
            if line.strip():
                yield number, {"id": line.strip()}, None


def _json_records(lines: Iterator[str], skipped: int, kind: str) -> Iterator[tuple[int, dict[str, Json], str | None]]:
    for number, line in enumerate(lines, skipped + 1):
        text = line.strip()
        if not text:
            continue
        fields = _json(text, number, "this line")
        if not isinstance(fields, dict) or (kind == "entity" and not fields.keys() >= _NEEDED):
            raise _WrongRowError(number, f"this line is no {kind}")
        yield number, fields, text


def _csv_records(lines: Iterator[str], skipped: int, kind: str) -> Iterator[tuple[int, dict[str, Json], None]]:
    csv.field_size_limit(LARGEST_BYTES)
    reader = csv.DictReader(lines, strict=True)
    try:
        columns = [column.strip() for column in reader.fieldnames or ()]
        reader.fieldnames = columns
        _check_columns(columns, kind, skipped + 1)
        for fields in reader:
            number = skipped + reader.line_num
            if None in fields or None in fields.values():
                raise _WrongRowError(number, f"this row has not {len(columns)} fields")
            if kind == "entity" and fields.get("metadata"):
                _json(fields["metadata"], number, "metadata")
            yield number, dict(fields), None
    except csv.Error as error:
        raise _WrongRowError(skipped + reader.line_num, f"this is no CSV: {error}") from error


def _check_columns(columns: list[str], kind: str, number: int) -> None:
    known = _COLUMNS[kind]
    # A list of instances may tell more of them; what is unknown of an entity would be lost.
    unknown = [column for column in columns if column not in known] if kind == "entity" else []
    if unknown:
        raise _WrongRowError(number, f"the column {unknown[0]!r} is none of {', '.join(known)}")
    if columns and not (set(columns) >= _NEEDED if kind == "entity" else set(columns) & set(known)):
        raise _WrongRowError(number, f"the columns are not those of an {kind}")


def _json(text: str, number: int, what: str) -> Json:
    from flowgres_definitions.strict_json import JsonError, read_json

    try:
        return read_json(text)
    except JsonError as error:
        raise _WrongRowError(number, f"{what} is no JSON: {error.message}") from None


@contextmanager
def _opened(source: str) -> Iterator[IO[str]]:
    if source == "-":
        text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
        try:
            yield text
        finally:
            # It is not ours to close.
            text.detach()
        return
    with Path(source).open(encoding="utf-8-sig", newline="") as file:
        yield file
