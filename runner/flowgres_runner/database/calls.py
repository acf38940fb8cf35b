"""Calls of users' functions for sql steps: each in a transaction of its own, together with what the step gave.

They are made by a login of their own (flowgres_sql), which has no rights but those that an operator gives it, over a
few connections that are opened when they are needed. Whatever a function leaves behind in a session (settings,
temporary tables, locks) is cleared before the next one and after each; within a transaction, so that a pooler may be in
between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncRawCursor

from flowgres_process.logs import get_logger
from flowgres_runner.database.connection import Backoff, Connection, Deadline, connect, is_disconnect
from flowgres_runner.errors import DatabaseError
from flowgres_runner.failpoints import pass_failpoint
from flowgres_runner.json_values import Json
from flowgres_runner.turns import Turns

log = get_logger(__name__)

IDLE_SECONDS = 60.0
"""A connection that nobody has needed for so long is closed."""
LOCK_SECONDS = 5.0
"""How long a function waits for a lock; then its step is tried again, and its connection is free meanwhile."""
CLOSE_SECONDS = 10.0
"""For what comes after the function: the lease is locked, and the transaction committed."""
MAX_ROWS = 10_000
"""Of a set that a function returns, as the statement that calls it knows."""
RESERVE_PART = 4
"""A quarter more, one at least, for tenants that would find all of them taken by another one."""
_GRACE_SECONDS = 2.0
"""Beyond the server's own time limit before a connection is cut."""

_CLEAN = (
    "reset role; reset all; close all; unlisten *; deallocate all; discard temp; discard sequences;"
    " select pg_catalog.pg_advisory_unlock_all()"
)
_BEGIN = (
    f"begin isolation level read committed read write; {_CLEAN}; set local search_path to pg_catalog, pg_temp;"
    " set local client_connection_check_interval to '1s'; set local idle_in_transaction_session_timeout to '30s'"
)
_OPEN = (
    "select flowgres.open_sql_call(p_runner_id => $1::uuid, p_tenant_id => $2::uuid, p_execution_id => $3::uuid,"
    " p_queue_id => $4::bigint, p_token => $5::bigint, p_function => $6::text, p_args => $7::jsonb)"
)
# Nothing of the user's is left to run at the commit: what was deferred runs here, where it can still fail the call.
_SETTLE = (
    "set constraints all immediate; set local search_path to pg_catalog, pg_temp; set local statement_timeout to 0"
)
_CLOSE = "select flowgres.close_sql_call(p_secret => $1::text, p_output => $2::jsonb)"
_COMMIT = f"commit; {_CLEAN}"


@dataclass(frozen=True, slots=True)
class Called:
    """What the function returned, now or in an attempt whose end nobody learned of."""

    output: Json


@dataclass(frozen=True, slots=True)
class Refused:
    """The function may not be called so."""

    code: str
    message: str
    hint: str | None


class Lost(Exception):
    """The lease is gone; whatever the function did was undone."""


class Unreachable(Exception):
    """The database could not be reached in time, so that nothing was done."""


class TooManyRows(Exception):
    """The function returned more rows than an output may have."""


class TooLarge(Exception):
    """The function returned more than an output may have: than so many bytes."""


class SqlCalls:
    """A few connections for such calls, tenant by tenant. `runner_id` is whom the leases belong to at the moment."""

    def __init__(self, url: str, *, runner_id: Callable[[], str], connections: int) -> None:
        self._url = url
        self._runner_id = runner_id
        self._turns = Turns(connections, reserve=max(1, connections // RESERVE_PART))
        self._idle: list[tuple[Connection, asyncio.TimerHandle]] = []
        self._finishing: set[asyncio.Task[bool]] = set()

    async def call(self, lease: Sequence[Any], function: str, args: Json, *, seconds: float) -> Called | Refused:
        """Call a function for the step of a lease: [tenant, execution, queue row, token].

        Raises Lost, Unreachable, TooManyRows, TooLarge, TimeoutError when no connection was free in time, and
        psycopg.Error for what SQL said no to. Whatever it raises, the function has done nothing: where a commit broke,
        it goes on asking what came of it for as long as the lease lasts.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        async with asyncio.timeout_at(deadline):
            await self._turns.take(lease[0])
        try:
            backoff = Backoff()
            is_in_doubt = False
            while True:
                try:
                    if is_in_doubt:
                        committed = await self._settle(lease, function, args)
                        if committed is not None:
                            return committed
                        is_in_doubt = False
                        deadline = max(deadline, loop.time() + CLOSE_SECONDS)
                    return await self._attempt(lease, function, args, deadline)
                except _BrokenError as broken:
                    # Where it broke at the commit nobody knows whether that came through. Until somebody does there is
                    # nothing to say, whatever else breaks meanwhile.
                    is_in_doubt = is_in_doubt or broken.is_in_doubt
                    if loop.time() > deadline and not is_in_doubt:
                        raise Unreachable(str(broken)) from broken
                    log.warning("sql_call_broken", error=str(broken), in_doubt=is_in_doubt)
                    await asyncio.sleep(backoff.next_seconds())
        finally:
            self._turns.give_back(lease[0])

    async def close(self) -> None:
        """Let what is being committed end, and close the connections."""
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=CLOSE_SECONDS)
        idle, self._idle = self._idle, []
        for connection, timer in idle:
            timer.cancel()
            await _drop(connection)

    async def _attempt(self, lease: Sequence[Any], function: str, args: Json, deadline: float) -> Called | Refused:
        connection = await self._take()
        try:
            opened = await self._open(connection, lease, function, args)
            text = await _run(connection, opened, args, deadline) if opened["state"] == "open" else None
            if text is None:
                await connection.execute("rollback")
        except psycopg.Error as error:
            await self._undo(connection, error)
            raise
        except BaseException:
            await _drop(connection)
            raise
        if text is None:
            self._give_back(connection)
            return _answer_of(opened)
        pass_failpoint("in_call")
        # An abort that comes now is too late: the commit is on its way, and the lease will tell of it.
        finishing = asyncio.create_task(self._finish(connection, opened["secret"], text))
        self._finishing.add(finishing)
        finishing.add_done_callback(self._forget)
        is_ours = await asyncio.shield(finishing)
        pass_failpoint("after_call")
        if not is_ours:
            raise Lost
        return Called(json.loads(text))

    async def _settle(self, lease: Sequence[Any], function: str, args: Json) -> Called | None:
        """What came of a commit that broke: what it has written, or None when it never came through, nor will.

        Its transaction has locked the lease. So once another can close a call under that lease, it is over; this one is
        not meant, and rolled back. Raises Lost, and _BrokenError for whatever leaves the doubt.
        """
        connection = await self._take()
        try:
            opened = await self._open(connection, lease, function, args)
            is_over = False
            if opened["state"] == "open":
                with Deadline(connection, CLOSE_SECONDS):
                    is_over = bool((await _ask(connection, _CLOSE, [opened["secret"], "null"]))[0])
            await connection.execute("rollback")
        except psycopg.Error as error:
            await self._undo(connection, error)
            raise _BrokenError(str(error), is_in_doubt=True) from error
        except BaseException:
            await _drop(connection)
            raise
        self._give_back(connection)
        if is_over:
            return None
        if opened["state"] in ("called", "lost"):
            answer = _answer_of(opened)
            assert isinstance(answer, Called)  # noqa: S101 - the state says so
            return answer
        # It was committed just now, or the function may not be called any more, which says nothing of what was.
        raise _BrokenError(opened.get("message") or "the commit is not known of yet", is_in_doubt=True)

    async def _open(self, connection: Connection, lease: Sequence[Any], function: str, args: Json) -> dict[str, Any]:
        with Deadline(connection, CLOSE_SECONDS):
            await connection.execute(_BEGIN)
            parameters = [self._runner_id(), *lease, function, json.dumps(args)]
            answer: dict[str, Any] = (await _ask(connection, _OPEN, parameters))[0]
        return answer

    async def _finish(self, connection: Connection, secret: str, text: str) -> bool:
        """Close the call and commit it; whether the lease was still ours."""
        is_committing = False
        try:
            with Deadline(connection, CLOSE_SECONDS):
                is_ours = is_committing = bool((await _ask(connection, _CLOSE, [secret, text]))[0])
                await connection.execute(_COMMIT if is_ours else "rollback")
        except psycopg.Error as error:
            if (error.sqlstate or "").startswith("FG"):
                # The output is too large, or too deep: the call is undone.
                await self._undo(connection, error)
                raise
            await _drop(connection)
            raise _BrokenError(str(error), is_in_doubt=is_committing) from error
        except BaseException:
            await _drop(connection)
            raise
        self._give_back(connection)
        return is_ours

    def _forget(self, finishing: asyncio.Task[bool]) -> None:
        self._finishing.discard(finishing)
        if not finishing.cancelled():
            finishing.exception()  # of an attempt that was aborted nobody else asks for it

    async def _undo(self, connection: Connection, error: psycopg.Error) -> None:
        """Roll back after an error of SQL, and keep the connection; raises _BrokenError when it is gone."""
        try:
            if not connection.closed and not is_disconnect(error):
                with Deadline(connection, CLOSE_SECONDS):
                    await connection.execute("rollback")
                self._give_back(connection)
                return
        except psycopg.Error as broken:
            error = broken
        await _drop(connection)
        raise _BrokenError(str(error)) from error

    async def _take(self) -> Connection:
        while self._idle:
            connection, timer = self._idle.pop()
            timer.cancel()
            if not connection.closed:
                return connection
        try:
            return await connect(self._url, application_name="flowgres-runner sql", prepare=False)
        except DatabaseError as error:
            raise _BrokenError(error.message) from error

    def _give_back(self, connection: Connection) -> None:
        timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._retire, connection)
        self._idle.append((connection, timer))

    def _retire(self, connection: Connection) -> None:
        self._idle = [(kept, timer) for kept, timer in self._idle if kept is not connection]
        with contextlib.suppress(Exception):
            connection.pgconn.finish()


class _BrokenError(Exception):
    """The connection is gone; `is_in_doubt` when that was at the commit."""

    def __init__(self, message: str, *, is_in_doubt: bool = False) -> None:
        super().__init__(" ".join(message.split()))
        self.is_in_doubt = is_in_doubt


async def _run(connection: Connection, opened: dict[str, Any], args: Json, deadline: float) -> str:
    """Call the function, and let everything happen that was put off to the commit; the text of what it returned."""
    seconds = max(0.001, deadline - asyncio.get_running_loop().time())
    limits = f"set local statement_timeout to {int(seconds * 1000) or 1}; set local lock_timeout to '{LOCK_SECONDS}s'"
    with Deadline(connection, seconds + _GRACE_SECONDS) as cut:
        try:
            await connection.execute(f"set local search_path to {opened['search_path']}; {limits}")
            row = await _ask(connection, opened["query"], [json.dumps(args)])
            await connection.execute(_SETTLE)
        except psycopg.Error as error:
            if cut.was_missed:
                raise psycopg.errors.QueryCanceled(str(error)) from error
            raise
    text, has_text, rows = row or (None, False, 0)
    if rows > MAX_ROWS:
        raise TooManyRows
    if has_text and text is None:
        raise TooLarge(opened["most_bytes"])
    return "null" if text is None else str(text)


def _answer_of(opened: dict[str, Any]) -> Called | Refused:
    if opened["state"] == "called":
        return Called(opened["output"])
    if opened["state"] == "lost":
        raise Lost
    return Refused(opened["code"], opened["message"], opened.get("hint"))


async def _ask(connection: Connection, query: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
    """The first row; the texts are as the server wrote them, with $1 and so on."""
    async with AsyncRawCursor(connection) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchone() or ()


async def _drop(connection: Connection) -> None:
    with contextlib.suppress(Exception):
        await connection.close()
