"""Calls through the database, for operators: what needs a DSN instead of an API key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, LiteralString

from flowgres_cli.connecting import connected, told
from flowgres_cli.dsn import checked_dsn

if TYPE_CHECKING:
    import psycopg

Json = Any


def call_as_operator(dsn: str, query: LiteralString, parameters: Sequence[Json] | Mapping[str, Json] = ()) -> Json:
    """Run one call in a transaction of its own and return its value. Refusals become CliErrors."""
    with as_operator(dsn, parameters if isinstance(parameters, Mapping) else {}) as connection:
        row = connection.execute(query, parameters).fetchone()
    return row[0] if row is not None else None


@contextlib.contextmanager
def as_operator(dsn: str, arguments: Mapping[str, Json]) -> Iterator[psycopg.Connection[Any]]:
    """One transaction through a DSN, whose refusals become CliErrors; `arguments` are named in their hints."""
    with (
        connected(checked_dsn(dsn, where="--dsn"), application_name="flowgres-cli") as connection,
        told(arguments),
        connection.transaction(),
    ):
        yield connection
