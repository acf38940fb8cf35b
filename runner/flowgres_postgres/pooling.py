"""Whether an address leads to PostgreSQL itself, or to a pooler that gives each transaction another session of it.

Nothing listens through such a pooler, and what is set or prepared in a session is another's a moment later.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any

import psycopg
from psycopg.rows import scalar_row

from flowgres_postgres.states import State

PROBE_SECONDS = 4.0
_TURNS = 8

_NOTE = "select set_config('flowgres.session', %s, false)"
_READ = "select coalesce(current_setting('flowgres.session', true), '')"

POOLED = State(
    "pooler_in_between",
    "this address leads through a pooler that gives each transaction another session of PostgreSQL",
    "Set DATABASE_DIRECT_URL to PostgreSQL itself, past the pooler; DATABASE_URL may stay as it is.",
)


async def is_pooled_by_transaction(url: str) -> bool:
    """Tell whether sessions of this address change with each transaction.

    Raises psycopg.OperationalError when nobody answers. Where there is no pooler a single query tells (`is_direct`).
    Otherwise a second session looks whether it was given the first one's: while it does, in a transaction, the first
    must still find what it has set.
    """
    async with contextlib.AsyncExitStack() as stack:
        first = await _session(url, stack)
        if await is_direct(first):
            return False
        note = secrets.token_hex(8)
        await _row(first, _NOTE, note)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                second = await _session(url, stack)
                async with second.transaction(force_rollback=True):
                    if await _row(second, _READ) == (note,):
                        return True
                    # Poolers that take turns come to another one within a few.
                    return any([await _row(first, _READ) != (note,) for _ in range(_TURNS)])
        except TimeoutError:
            # A pool with one session, and the first of ours keeps it.
            return False


async def is_direct(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Tell whether no pooler is in between, whatever it gives away: what is prepared in the session stays there.

    A pooler makes up the process that it names at the login.
    """
    cursor = connection.cursor(row_factory=scalar_row)
    await cursor.execute("select pg_backend_pid()")
    return bool(await cursor.fetchone() == connection.info.backend_pid)


async def prepare_where_direct(connection: psycopg.AsyncConnection[Any]) -> None:
    """Have statements prepared at their first use, unless a pooler is in between, which may not keep them."""
    if await is_direct(connection):
        connection.prepare_threshold = 0


async def _session(url: str, stack: contextlib.AsyncExitStack) -> psycopg.AsyncConnection[Any]:
    connection = await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=5, prepare_threshold=None, application_name="flowgres-probe"
    )
    stack.push_async_callback(connection.close)
    return connection


async def _row(connection: psycopg.AsyncConnection[Any], query: str, *parameters: str) -> Any:
    cursor = await connection.execute(query.encode(), parameters or None)
    return await cursor.fetchone()
