"""Opening what the database sent and what steps left: at once what is small, by the reader what is large."""

from __future__ import annotations

import json
from typing import Any, Protocol

from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.errors import OutputError
from flowgres_runner.execution.contexts import PATHS
from flowgres_runner.execution.prepared import ALL_ROOTS, Prepared
from flowgres_runner.json_values import Json, weight_of
from flowgres_runner.payloads.texts import LARGE_BYTES, JsonText, Unread, look_into


class TextReader(Protocol):
    """Takes large JSON apart in another process (see `evaluator.reading`)."""

    async def split(self, text: str, paths: Any, *, tenant_id: str) -> tuple[Any, int]:
        """The value with its large members as bytes, and its weight. Raises OutputError."""
        ...

    async def find(self, data: bytes, path: str, *, tenant_id: str) -> list[Json]:
        """What lies at a path of a text: [value], or nothing. Raises OutputError."""
        ...


def is_large(row: ClaimedStep) -> bool:
    """Whether this row brings what is not to be parsed here."""
    return len(row.context or "") > LARGE_BYTES or len(row.resume or "") > LARGE_BYTES


class Opener:
    """Opens contexts, resumes and fields."""

    def __init__(self, reader: TextReader) -> None:
        self._reader = reader

    async def context(self, row: ClaimedStep, text: str) -> tuple[dict[str, Any], int]:
        """The members of a context, and their weight. Raises OutputError."""
        if len(text) <= LARGE_BYTES:
            return json.loads(text), weight_of(text)
        return await self._reader.split(text, PATHS, tenant_id=row.tenant_id)

    async def resume(self, row: ClaimedStep) -> Any:
        """What a step resumes with. Raises OutputError."""
        text = row.resume
        if text is None or len(text) <= LARGE_BYTES:
            return None if text is None else json.loads(text)
        value, _ = await self._reader.split(text, (("output",),), tenant_id=row.tenant_id)
        if isinstance(value, dict) and isinstance(value.get("output"), bytes):
            # It was stored under the same limits.
            value["output"] = JsonText(value["output"], 0)
        return value

    async def look_up(self, item: Prepared, config: Json) -> None:
        """Find what a step has to look up, where that lies in a text that is too large to be looked into at once."""
        unread = unread_field(item, config)
        if unread is None:
            return
        try:
            item.field = await self._reader.find(unread.data, unread.path, tenant_id=item.claimed.tenant_id)
        except OutputError:
            item.field = []


def field_at_once(item: Prepared, config: Json) -> list[Json]:
    """What a step has to look up: [value], or nothing."""
    if item.field is not None:
        return item.field
    found = _find(item, config)
    return look_into(found.data, found.path) if isinstance(found, Unread) else found


def unread_field(item: Prepared, config: Json) -> Unread | None:
    """Where it lies when that is in a large text, and nobody has looked yet."""
    if item.field is not None or not item.step.looks_up:
        return None
    found = _find(item, config)
    return found if isinstance(found, Unread) and len(found.data) > LARGE_BYTES else None


def _find(item: Prepared, config: Json) -> list[Json] | Unread:
    pure = item.step.pure
    return [] if pure is None else pure.find(config, item.expression_context(ALL_ROOTS, None))
