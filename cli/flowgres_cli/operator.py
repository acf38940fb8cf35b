"""Calls through the database, for operators: what needs a DSN instead of an API key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from flowgres_cli.connecting import connected, told
from flowgres_cli.dsn import checked_dsn

Json = Any


def call_as_operator(dsn: str, query: LiteralString, parameters: Sequence[Json]) -> Json:
    """Run one call in a transaction of its own and return its value. Refusals become CliErrors."""
    with connected(checked_dsn(dsn, where="--dsn"), application_name="flowgres-cli") as connection:
        with told(), connection.transaction():
            row = connection.execute(query, parameters).fetchone()
        return row[0] if row is not None else None
