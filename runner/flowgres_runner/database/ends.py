"""The SQL calls about executions that have ended, for the collector of traces: which they are, and their spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flowgres_runner.database.connection import Link


class EndedExecution(NamedTuple):
    """An execution that has ended, and that the collector of traces has not been told of.

    `trace_id` is empty when history has it no more, else 32 hexadecimal digits; `parent_span` is what it is below, 16.
    `is_sampled` is what its caller said, `is_own` whether nobody outside brought the trace; `span_count` is a guess.
    """

    tenant_id: str
    execution_id: str
    trace_id: str
    parent_span: str | None
    is_sampled: bool
    is_own: bool
    span_count: int


class SpanRow(NamedTuple):
    """A span: of an execution as a whole (`kind` execution), or of an attempt (the type of its step).

    Times are microseconds since 1970. No attribute is null or nested.
    """

    execution_id: str
    kind: str
    span: str
    parent_span: str | None
    name: str
    status: str
    error_code: str | None
    began_at: int
    ended_at: int
    attributes: dict[str, str | bool | int | float]

    @property
    def is_root(self) -> bool:
        """Whether it is that of an execution as a whole."""
        return self.kind == "execution"


async def take_ends(link: Link, *, limit: int, lease_seconds: float) -> list[EndedExecution]:
    """Take executions that have ended and that the collector was not told of; others leave them alone for so long."""
    query = (
        "select tenant_id::text, execution_id::text, coalesce(trace_id, ''), parent_span, is_sampled, is_own,"
        " span_count from flowgres.take_ends(%s::int, %s::float8)"
    )
    return [EndedExecution._make(row) for row in await link.call(query, (limit, lease_seconds))]


async def get_spans(link: Link, *, tenant_ids: Sequence[str], execution_ids: Sequence[str], most: int) -> list[SpanRow]:
    """The spans of these executions, of each at most so many attempts."""
    query = (
        "select execution_id::text, kind, span, parent_span, name, status, error_code, began_at, ended_at, attributes"
        " from flowgres.get_spans(%s::uuid[], %s::uuid[], %s::int)"
    )
    return [SpanRow._make(row) for row in await link.call(query, (list(tenant_ids), list(execution_ids), most))]


async def forget_ends(link: Link, *, tenant_ids: Sequence[str], execution_ids: Sequence[str]) -> None:
    """These were told of, or are not to be."""
    await link.call("select flowgres.forget_ends(%s::uuid[], %s::uuid[])", (list(tenant_ids), list(execution_ids)))
