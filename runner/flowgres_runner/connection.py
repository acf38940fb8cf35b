"""A connection to PostgreSQL that notices when the network is gone, and comes back.

libpq's defaults stay silent for hours when packages vanish. Keepalives (idle 2 s, every 1 s, 3 times) and
tcp_user_timeout find it within about 5 s; a deadline on each call finds a server that is stopped but still connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg.adapt import Loader
from psycopg.conninfo import make_conninfo

from flowgres_runner.errors import DatabaseUnreachableError
from flowgres_runner.logs import get_logger

log = get_logger(__name__)

CONNECT_SECONDS = 5
CALL_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 2.0

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
    Raises DatabaseUnreachableError, or psycopg.ProgrammingError for a text that is no connection string.
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
        raise DatabaseUnreachableError(_one_line(error), hint=_connect_hint(str(error))) from error
    connection.adapters.register_loader("uuid", _TextUuidLoader)
    if prepare:
        # Our functions forbid some kinds of scan while they plan; where none is left the planner's cost is a billion,
        # and that makes PostgreSQL compile the plan at every call: 12 ms for what takes 50 us.
        try:
            await connection.execute("set jit to off")
        except psycopg.Error as error:
            await connection.close()
            raise DatabaseUnreachableError(_one_line(error)) from error
    return connection


class Link:
    """One connection, opened when it is first needed and again after it broke; for one caller at a time.

    `call` raises DatabaseUnreachableError when the connection is gone, whether before or during the call; the caller
    knows whether its call may be repeated. Errors of SQL itself come through as psycopg's.
    """

    def __init__(self, url: str, *, application_name: str, prepare: bool = True) -> None:
        self._url = url
        self._application_name = application_name
        self._prepare = prepare
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    async def call(self, query: str, parameters: Sequence[Any] = (), *, seconds: float = CALL_SECONDS) -> list[Row]:
        """Run one statement in its own transaction; its rows, or none."""
        async with self._lock:
            connection = self._connection
            if connection is None or connection.closed:
                connection = self._connection = await connect(
                    self._url, application_name=self._application_name, prepare=self._prepare
                )
            try:
                async with asyncio.timeout(seconds):
                    cursor = await connection.execute(query, parameters)
                    # `description` would tell the same, and build an object for each column to do so.
                    return [] if cursor.rownumber is None else await cursor.fetchall()
            except TimeoutError as error:
                await self._drop()
                raise DatabaseUnreachableError(
                    f"PostgreSQL did not answer within {seconds:g} s", hint="Look for locks and stopped servers."
                ) from error
            except psycopg.Error as error:
                if connection.closed or is_disconnect(error):
                    await self._drop()
                    raise DatabaseUnreachableError(_one_line(error), hint="The server went away.") from error
                raise
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


async def retry_until_reached(call: Callable[[], Awaitable[T]], *, purpose: str) -> T:
    """Repeat a call that may be repeated until the database answers; the first failure of a row is logged."""
    backoff = Backoff()
    told = False
    while True:
        try:
            result = await call()
        except DatabaseUnreachableError as error:
            if not told:
                log.warning("database_unreachable", purpose=purpose, error=error.message, hint=error.hint)
                told = True
            await asyncio.sleep(backoff.next_seconds())
        else:
            if told:
                log.info("database_reached", purpose=purpose)
            return result


def is_disconnect(error: psycopg.Error) -> bool:
    """Whether the error means that this connection, or this server as primary, is gone."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    # 08 connection, 57P shutdown or starting up, 25006 a standby now.
    return state.startswith(("08", "57P")) or state == "25006"


def is_contention(error: psycopg.Error) -> bool:
    """Whether the same call may succeed in a moment: lock timeout, deadlock, serialization, statement cancelled."""
    return error.sqlstate in ("55P03", "40P01", "40001", "57014")


def is_exhaustion(error: psycopg.Error) -> bool:
    """Whether the server lacks something it may have again: disk, memory, connections, a file."""
    return error.sqlstate is not None and error.sqlstate.startswith(("53", "58"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _connect_hint(text: str) -> str:
    lowered = text.lower()
    if "password" in lowered or "authentication" in lowered or "no pg_hba.conf entry" in lowered:
        return "Check the user and password in DATABASE_URL; the runner logs in as flowgres_runner."
    if "does not exist" in lowered:
        return "Check the names in DATABASE_URL; install with: flowgres db install"
    if "read-only" in lowered or "standby" in lowered or "read-write" in lowered:
        return "The server is a standby; the runner needs the primary."
    return "Is PostgreSQL running, and does DATABASE_URL name its host and port?"
