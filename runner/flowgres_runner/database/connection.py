"""A connection to PostgreSQL that notices when the network is gone, and comes back.

libpq's defaults stay silent for hours when packages vanish. Keepalives (idle 2 s, every 1 s, 3 times) and
tcp_user_timeout find it within about 5 s; a deadline on each call finds a server that is stopped but still connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg.adapt import Loader
from psycopg.conninfo import make_conninfo

from flowgres_postgres import state_of_connect, state_of_server, state_of_sqlstate
from flowgres_postgres.pooling import POOLED, is_pooled_by_transaction
from flowgres_process.logs import get_logger
from flowgres_runner.errors import (
    DatabaseContendedError,
    DatabaseError,
    DatabaseExhaustedError,
    DatabaseRefusedError,
    DatabaseUnfitError,
    DatabaseUnreachableError,
)

log = get_logger(__name__)

CONNECT_SECONDS = 5
CALL_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 2.0

_UNFIT_CODES = ("isolation_refused", "runner_not_registered")
"""Refusals of our functions that speak of this session, and of no data."""

T = TypeVar("T")
Row = tuple[Any, ...]
Connection = psycopg.AsyncConnection[Row]


class _TextUuidLoader(Loader):
    """uuids stay text: no runner computes with one, and objects would be made and printed again for each step."""

    def load(self, data: bytes | bytearray | memoryview) -> str:
        return bytes(data).decode()


async def connect(url: str, *, application_name: str, prepare: bool = True) -> Connection:
    """Open an autocommit connection to the primary.

    `prepare` is off behind a pooler, which may give each call another server connection.
    Raises DatabaseUnreachableError, and DatabaseUnfitError for a server that is too old. The settings have made sure
    that the text is a connection string.
    """
    conninfo = make_conninfo(
        url,
        application_name=application_name,
        connect_timeout=CONNECT_SECONDS,
        keepalives=1,
        keepalives_idle=2,
        keepalives_interval=1,
        keepalives_count=3,
        tcp_user_timeout=5000,
        # After a failover the old primary may still answer, as a standby.
        target_session_attrs="read-write",
    )
    try:
        async with asyncio.timeout(CONNECT_SECONDS + 1):
            connection: Connection = await psycopg.AsyncConnection.connect(
                conninfo, autocommit=True, prepare_threshold=0 if prepare else None
            )
    except (psycopg.OperationalError, OSError, TimeoutError) as error:
        state = state_of_connect(str(error) or "no answer in time")
        raise DatabaseUnreachableError(state.message, hint=state.hint, code=state.code) from error
    try:
        await _fit(connection, prepare=prepare)
    except BaseException:
        # Of a call that is cancelled, too: nobody else knows of this connection.
        await connection.close()
        raise
    return connection


async def _fit(connection: Connection, *, prepare: bool) -> None:
    too_old = state_of_server(connection.info.server_version, connection.info.parameter_status("server_version"))
    if too_old is not None:
        raise DatabaseUnfitError(too_old.message, hint=too_old.hint, code=too_old.code)
    connection.adapters.register_loader("uuid", _TextUuidLoader)
    if prepare:
        # Our functions forbid some kinds of scan while they plan; where none is left the planner's cost is a billion,
        # and that makes PostgreSQL compile the plan at every call: 12 ms for what takes 50 us.
        try:
            await connection.execute("set jit to off")
            # What a step resumes with may be left behind: runners from before would take that for all of it.
            await connection.execute("set flowgres.fetches_resumes to on")
        except psycopg.Error as error:
            raise DatabaseUnreachableError(_one_line(error)) from error


async def require_direct(url: str) -> None:
    """Refuse an address that leads through a pooler by transaction.

    Raises DatabaseUnfitError for that, and DatabaseUnreachableError.
    """
    try:
        is_pooled = await is_pooled_by_transaction(url)
    except psycopg.Error as error:
        state = state_of_connect(str(error))
        raise DatabaseUnreachableError(state.message, hint=state.hint, code=state.code) from error
    if is_pooled:
        raise DatabaseUnfitError(POOLED.message, hint=POOLED.hint, code=POOLED.code)


class Deadline:
    """Cuts a connection unless the block ends in time; what waits for the server fails then, at once.

    A cancelled call would first ask the server to cancel its query, and wait for the answer of one that gives none.
    """

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self.was_missed = False

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._cut)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _cut(self) -> None:
        self.was_missed = True
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as end,
        ):
            end.shutdown(socket.SHUT_RDWR)


class Link:
    """One connection, opened when it is first needed and again after it broke; for one caller at a time.

    `call` raises DatabaseUnreachableError when the connection is gone, whether before or during the call; the caller
    knows whether its call may be repeated. What SQL says no to is one of the other kinds of DatabaseError.
    """

    def __init__(self, url: str, *, application_name: str, prepare: bool = True, seconds: float = CALL_SECONDS) -> None:
        self._url = url
        self._application_name = application_name
        self._prepare = prepare
        self._seconds = seconds
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    async def call(self, query: str, parameters: Sequence[Any] = (), *, seconds: float | None = None) -> list[Row]:
        """Run one statement in its own transaction, in `seconds` or the link's own; its rows, or none."""
        async with self._lock:
            connection = self._connection
            if connection is None or connection.closed:
                connection = self._connection = await connect(
                    self._url, application_name=self._application_name, prepare=self._prepare
                )
            deadline = Deadline(connection, seconds or self._seconds)
            try:
                with deadline:
                    cursor = await connection.execute(query, parameters)
                    # `description` would tell the same, and build an object for each column to do so.
                    return [] if cursor.rownumber is None else await cursor.fetchall()
            except psycopg.Error as error:
                if deadline.was_missed:
                    await self._drop()
                    raise DatabaseUnreachableError(
                        f"PostgreSQL did not answer within {seconds or self._seconds:g} s",
                        hint="Look for locks and stopped servers.",
                    ) from error
                if connection.closed or is_disconnect(error):
                    await self._drop()
                    raise DatabaseUnreachableError(
                        _one_line(error), hint="The server went away.", sqlstate=error.sqlstate
                    ) from error
                raise classified(error) from error
            except asyncio.CancelledError:
                # The call may have been cut in its middle: what state the connection is in is not worth finding out.
                await self._drop()
                raise

    async def close(self) -> None:
        """Close the connection, if there is one."""
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close()


class Backoff:
    """Pauses that double from 50 ms to 2 s, with full jitter so that many runners do not come back at once."""

    def __init__(self) -> None:
        self._ceiling = _FIRST_PAUSE_SECONDS

    def reset(self) -> None:
        """Begin again with short pauses, after a success."""
        self._ceiling = _FIRST_PAUSE_SECONDS

    def next_seconds(self) -> float:
        """The next pause."""
        pause = random.uniform(self._ceiling / 2, self._ceiling)  # noqa: S311 - jitter, not a secret
        self._ceiling = min(self._ceiling * 2, _LAST_PAUSE_SECONDS)
        return pause


async def retry_until_answered(
    call: Callable[[], Awaitable[T]],
    *,
    purpose: str,
    raising: tuple[type[DatabaseError], ...] = (DatabaseRefusedError,),
) -> T:
    """Repeat a call that may be repeated until the database answers; the first failure of a row is logged.

    Raises DatabaseError of the kinds in `raising`.
    """
    backoff = Backoff()
    told: type[DatabaseError] | None = None
    while True:
        try:
            result = await call()
        except DatabaseError as error:
            if isinstance(error, raising):
                raise
            if told is not type(error):
                log.warning(error.code, purpose=purpose, error=error.message, hint=error.hint, sqlstate=error.sqlstate)
                told = type(error)
            await asyncio.sleep(backoff.next_seconds())
        else:
            if told:
                log.info("database_reached", purpose=purpose)
            return result


def is_disconnect(error: psycopg.Error) -> bool:
    """Whether the error means that this connection, or this server as primary, is gone, or of no more use."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    # 08 connection, 57P shutdown or starting up, 25006 a standby now. 0A000 is a plan of before an upgrade, 26000 one
    # that a pooler forgot: a new connection has neither.
    return state.startswith(("08", "57P")) or state in ("25006", "0A000", "26000")


def classified(error: psycopg.Error) -> DatabaseError:
    """What the caller has to know of an error of SQL, and nothing else: whether and when the same call may succeed."""
    state = error.sqlstate
    if state is None:
        # The text as such cannot be sent; or a mistake of ours, which no data is to blame for.
        kind = DatabaseRefusedError if isinstance(error, psycopg.DataError) else DatabaseUnfitError
        return kind(_one_line(error))
    message = error.diag.message_primary or _one_line(error)
    if state.startswith("FG"):
        code = error.diag.constraint_name or None
        refusal = DatabaseUnfitError if code in _UNFIT_CODES else DatabaseRefusedError
        return refusal(message, hint=error.diag.message_hint or "", code=code, sqlstate=state)
    found = state_of_sqlstate(state)
    if found is not None:
        # Which function or table is missing helps whoever upgrades.
        told = f"{found.message}: {message}" if found.kind == "missing" else found.message
        return _kind_of(state)(told, hint=found.hint, code=found.code, sqlstate=state)
    return _kind_of(state)(message, hint=error.diag.message_hint or "", sqlstate=state)


def _kind_of(state: str) -> type[DatabaseError]:
    if state.startswith("40") or state in ("55P03", "55006", "57014"):
        return DatabaseContendedError
    if state.startswith(("53", "58")):
        return DatabaseExhaustedError
    # Classes that speak of the data: bad values, constraints, limits, what a function raises, a broken table.
    if state.startswith(("22", "23", "54", "P0", "XX")):
        return DatabaseRefusedError
    return DatabaseUnfitError


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
