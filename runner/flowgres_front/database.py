"""The front's one way to the database: a transaction that is the caller, and nobody else."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection, AsyncCursor, OperationalError
from psycopg import Error as DatabaseError
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from flowgres_front.credentials import Credentials
from flowgres_front.problems import database_unusable
from flowgres_front.settings import FRONT_ROLE, FrontSettings
from flowgres_postgres import State, state_of_connect, state_of_server
from flowgres_process.logs import get_logger

KEEPALIVES: dict[str, Any] = {
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}


ANONYMOUS_ROLE = "flowgres_anon"
FRONT_LACKS = State(
    "right_missing",
    "the front's login lacks a right in the database",
    "It has to log in as flowgres_front; flowgres db status tells which rights differ, flowgres db install mends them.",
)
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the database took the caller for: `role` is the database role, `roles` are business roles."""

    tenant_id: str
    role: str
    actor: str
    roles: list[str]


class Caller:
    """A transaction that works as the authenticated caller; row-level security holds for all it does.

    Statements wait for nothing but their own results: what was sent before them is answered with them. After one that
    failed the server skips whatever comes, so the transaction is over.
    """

    def __init__(self, connection: AsyncConnection[DictRow], assuming: AsyncCursor[DictRow]) -> None:
        self._connection = connection
        self._assuming = assuming
        self._identity: Identity | None = None

    async def call(self, sql: LiteralString, /, **arguments: Any) -> Any:
        """Run one statement that gives one value, and return that value (None without a row)."""
        row = await self.row(sql, **arguments)
        return next(iter(row.values())) if row else None

    async def row(self, sql: LiteralString, /, **arguments: Any) -> DictRow | None:
        """Run one statement and return its first row."""
        return await (await self.send(sql, **arguments)).fetchone()

    async def rows(self, sql: LiteralString, /, **arguments: Any) -> list[DictRow]:
        """Run one statement and return all its rows."""
        return await (await self.send(sql, **arguments)).fetchall()

    async def send(self, sql: LiteralString, /, **arguments: Any) -> AsyncCursor[DictRow]:
        """Send one statement without waiting for its rows; when the block has ended well they are there."""
        return await self._connection.execute(sql, arguments)

    @property
    def is_known(self) -> bool:
        """Whether SQL has taken the caller for good, as far as answers have come."""
        return self._assuming.statusmessage is not None

    async def identity(self) -> Identity:
        """Who the caller is; takes no way to the server when it is known."""
        if self._identity is None:
            row = await self._assuming.fetchone()
            assert row is not None  # noqa: S101 - a select without a table has one row
            self._identity = Identity(row["tenant_id"], row["role"], row["actor"], row["roles"] or [])
        return self._identity


class Database:
    """A pool of flowgres_front's connections.

    Opening waits for nothing: without a database the front starts, and answers 503 until there is one. `trouble` is
    why the last attempt to connect failed, None after one that did not.
    """

    def __init__(self, settings: FrontSettings) -> None:
        self._settings = settings
        self.trouble: State | None = None
        told = self._tell

        class Connection(AsyncConnection[DictRow]):
            """Says what keeps it from being made: the pool itself only tries again."""

            @classmethod
            async def connect(cls, conninfo: str = "", **options: Any) -> Connection:
                try:
                    connection = await super().connect(conninfo, **options)
                except OperationalError as error:
                    told(state_of_connect(str(error)))
                    raise
                version = connection.info.parameter_status("server_version")
                too_old = state_of_server(connection.info.server_version, version)
                told(too_old)
                if too_old is not None:
                    await connection.close()
                    raise OperationalError(too_old.message)
                return connection

        self._pool = AsyncConnectionPool[AsyncConnection[DictRow]](
            settings.dsn,
            connection_class=Connection,
            min_size=0,
            max_size=settings.pool_size,
            max_waiting=settings.pool_size * 16,
            timeout=settings.pool_wait_seconds,
            max_idle=60,
            # One quick try while a caller waits; the pool keeps trying for longer on its own.
            reconnect_timeout=settings.pool_wait_seconds,
            check=_check,
            open=False,
            name="front",
            kwargs={
                # A statement by itself is a transaction; where there are more of them, that is said.
                "autocommit": True,
                "row_factory": dict_row,
                # A pooler in transaction mode does not keep prepared statements.
                "prepare_threshold": None,
                "connect_timeout": 3,
                "application_name": "flowgres-front",
                **KEEPALIVES,
            },
        )

    def _tell(self, trouble: State | None) -> None:
        if trouble is not None and trouble != self.trouble:
            log.warning(trouble.code, error=trouble.message, hint=trouble.hint)
        self.trouble = trouble

    async def open(self) -> None:
        """Start the pool's workers."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        await self._pool.close(timeout=2)

    @asynccontextmanager
    async def caller(self, credentials: Credentials | None) -> AsyncIterator[Caller]:
        """Open a transaction that is the caller's: role and tenant are local to it, and its writes end with it.

        `None` is nobody in particular, for what anyone may see. Commits when the block ends well. Raises what psycopg
        raises, refusals of flowgres.authenticate included: with the first result that is asked for, or at the end.

        All of it is one pipeline, which the server takes in order and skips to its end from the first error on: no
        statement of the block can run as somebody whom the statements before it have not made the caller of.
        """
        caller: Caller | None = None
        async with self._pool.connection() as connection:
            try:
                async with connection.pipeline() as pipeline:
                    try:
                        caller = Caller(connection, await self._assume(connection, credentials))
                        yield caller
                    except BaseException:
                        # What was still on its way is not worth a word.
                        with suppress(DatabaseError):
                            await pipeline.sync()
                        raise
                    await connection.execute("commit")
            except InsufficientPrivilege as error:
                if caller is not None and caller.is_known:
                    raise
                # Before anybody was let in: a right that the front itself lacks.
                log.error("database_unusable", code=FRONT_LACKS.code, error=str(error), hint=FRONT_LACKS.hint)
                raise database_unusable(FRONT_LACKS) from error

    async def own(self, sql: LiteralString, /, **arguments: Any) -> DictRow | None:
        """Run one statement as the front's own login, in a transaction of its own, and return its first row.

        For what has no caller: webhooks, and what the installation says of itself. The functions that this login may
        call decide by what they are given.
        """
        async with self._pool.connection() as connection:
            try:
                cursor = await connection.execute(sql, arguments)
                return await cursor.fetchone()
            except InsufficientPrivilege as error:
                log.error("database_unusable", code=FRONT_LACKS.code, error=str(error), hint=FRONT_LACKS.hint)
                raise database_unusable(FRONT_LACKS) from error

    async def _assume(
        self, connection: AsyncConnection[DictRow], credentials: Credentials | None
    ) -> AsyncCursor[DictRow]:
        """Send what makes a new transaction the caller's; the cursor of the statement that does, which says who it is.

        The front's own login may assume a caller, and do what nobody is the caller of; nobody works as it.
        """
        await connection.execute("begin")
        limited = await connection.execute(
            "select set_config('statement_timeout', %(milliseconds)s, true), set_config('role', %(role)s, true)",
            {
                "milliseconds": str(int(self._settings.statement_seconds * 1000)),
                "role": ANONYMOUS_ROLE if credentials is None else FRONT_ROLE,
            },
        )
        if credentials is None:
            return limited
        return await connection.execute(
            "select current_setting('flowgres.tenant_id') as tenant_id, current_user::text as role,"
            " current_setting('flowgres.actor') as actor, current_setting('flowgres.roles')::jsonb as roles"
            " from (select flowgres.assume_caller(p_api_key => %(api_key)s, p_claims => %(claims)s) offset 0) as a",
            {
                "api_key": credentials.api_key,
                "claims": Jsonb(credentials.claims) if credentials.claims is not None else None,
            },
        )


async def _check(connection: AsyncConnection[DictRow]) -> None:
    """Refuse a connection that has ended while it lay in the pool.

    The system knows of that (KEEPALIVES see to it), and then there is something to read: a farewell, or the end. While
    there is nothing, no way to the server is spent on asking it.
    """
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)
