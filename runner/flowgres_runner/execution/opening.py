"""Opening what the database sent and what steps gave: at once what is small, by the reader what is large."""

from __future__ import annotations

import json
from typing import Any, Protocol, TypeAlias, cast

from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.errors import OutputError
from flowgres_runner.evaluator.jobs import Rendered, RenderedLarge
from flowgres_runner.execution.compiled import NO_LIMITS
from flowgres_runner.execution.contexts import PATHS
from flowgres_runner.execution.prepared import ALL_ROOTS, Prepared
from flowgres_runner.json_values import LARGE_BYTES, Json, weight_of
from flowgres_runner.payloads.texts import JsonText, Unread, look_into
from flowgres_runner.reading.apart import Order, facts_of
from flowgres_runner.steps.base import Handler, Outcome
from flowgres_runner.steps.failures import output_failure

Given: TypeAlias = Rendered | RenderedLarge


class TextReader(Protocol):
    """Takes large JSON apart in another process (see `reading`). Each method raises OutputError and EvaluatorError."""

    async def split(self, text: str, paths: Any, *, tenant_id: str) -> tuple[Any, int]:
        """The value with its large members as bytes, and its weight."""
        ...

    async def settle(self, text: str, *, max_bytes: int, max_depth: int, tenant_id: str) -> JsonText:
        """The value of a text that may be anything, as jsonb would keep it."""
        ...

    async def run(self, order: Order, data: bytes, *, tenant_id: str) -> Outcome:
        """Run a step that only computes."""
        ...


def is_large(row: ClaimedStep) -> bool:
    """Whether this row brings what is not to be parsed here."""
    return len(row.context or "") > LARGE_BYTES or len(row.resume or "") > LARGE_BYTES


def open_context(text: str) -> tuple[dict[str, Any], int]:
    """The members of a small context, and their weight."""
    return json.loads(text), weight_of(text)


class Opener:
    """Opens contexts, resumes and results; runs what is large where that is read."""

    def __init__(self, reader: TextReader) -> None:
        self._reader = reader

    async def context(self, row: ClaimedStep, text: str) -> tuple[dict[str, Any], int]:
        """The members of a context, and their weight. Raises OutputError."""
        if len(text) <= LARGE_BYTES:
            return open_context(text)
        return await self._reader.split(text, PATHS, tenant_id=row.tenant_id)

    async def resume(self, row: ClaimedStep, text: str | None) -> Any:
        """What a step resumes with. Raises OutputError."""
        if text is None or len(text) <= LARGE_BYTES:
            return None if text is None else json.loads(text)
        value, _ = await self._reader.split(text, (("output",),), tenant_id=row.tenant_id)
        if isinstance(value, dict) and isinstance(value.get("output"), bytes):
            # It was stored under the same limits.
            value["output"] = JsonText(value["output"], 0)
        return value

    async def output(self, item: Prepared, given: RenderedLarge) -> JsonText:
        """What the `output` of a step has made. Raises OutputError."""
        limits = item.version.limits
        return await self._reader.settle(
            whole_text(given),
            max_bytes=limits.max_output_bytes,
            max_depth=limits.max_json_depth,
            tenant_id=item.claimed.tenant_id,
        )

    async def run(self, item: Prepared, given: Given, masked: tuple[str, ...]) -> Outcome:
        """Run a step with something large to look at: in its configuration, or where it has to look something up."""
        step = item.step
        rest, texts = (given.rest, list(given.pieces)) if isinstance(given, RenderedLarge) else (given.value, [])
        unread = None
        if step.looks_up and step.pure is not None:
            # What it looks up is named by a member that is small, unless it names nothing.
            named = {name: json.loads(text) for name, text in texts if len(text) <= LARGE_BYTES}
            rest = {**rest, **named} if isinstance(rest, dict) else rest
            texts = [(name, text) for name, text in texts if name not in named]
            unread = unread_field(item, rest)
            if unread is None:
                rest = step.pure.with_found(rest, field_at_once(item, rest))
        pieces = [(name, text.encode()) for name, text in texts]
        # What the step's `output` makes of it is what has to be within the limits.
        limits = item.version.limits if step.output is None else NO_LIMITS
        order = Order(
            type=step.type,
            task=facts_of(item.task(None)),
            config=rest,
            pieces=tuple((name, len(data)) for name, data in pieces),
            path=None if unread is None else unread.path,
            masked=masked,
            max_bytes=limits.max_output_bytes,
            max_depth=limits.max_json_depth,
        )
        data = b"".join([*(data for _, data in pieces), b"" if unread is None else unread.data])
        try:
            return await self._reader.run(order, data, tenant_id=item.claimed.tenant_id)
        except OutputError as error:
            return output_failure(error)


def config_of(handler: Handler | None, given: Given) -> Json:
    """The configuration of a step that waits: what its handler takes as text stays one, the rest is parsed."""
    if isinstance(given, Rendered):
        return cast("Json", given.value)
    texts = frozenset() if handler is None else handler.text_members
    config: Any = dict(given.rest) if isinstance(given.rest, dict) else given.rest
    for name, text in given.pieces:
        value = JsonText(text.encode(), 0) if name in texts and text[0] in "[{" else json.loads(text)
        if name is None:
            return cast("Json", value)
        config[name] = value
    return cast("Json", config)


def whole_text(given: RenderedLarge) -> str:
    """All of it, as one text."""
    if given.pieces[0][0] is None:
        return given.pieces[0][1]
    pieces = dict(given.pieces)
    members = [f"{json.dumps(name)}:{pieces.get(name) or json.dumps(value)}" for name, value in given.rest.items()]
    return f"{{{','.join(members)}}}"


def is_for_the_reader(item: Prepared, given: Given) -> bool:
    """Whether running this step is more than may be done at once."""
    if isinstance(given, RenderedLarge):
        return item.step.pure is not None
    return item.step.looks_up and unread_field(item, given.value) is not None


def field_at_once(item: Prepared, config: Json) -> list[Json]:
    """What a step has to look up: [value], or nothing."""
    found = _find(item, config)
    return look_into(found.data, found.path) if isinstance(found, Unread) else found


def unread_field(item: Prepared, config: Json) -> Unread | None:
    """Where it lies when that is in a large text."""
    if not item.step.looks_up:
        return None
    found = _find(item, config)
    return found if isinstance(found, Unread) and len(found.data) > LARGE_BYTES else None


def _find(item: Prepared, config: Json) -> list[Json] | Unread:
    pure = item.step.pure
    return [] if pure is None else pure.find(config, item.expression_context(ALL_ROOTS, None))
