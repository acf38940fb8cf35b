"""The front's one way to the database: a transaction that is the caller, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection, OperationalError
from psycopg.errors import InsufficientPrivilege
from psycopg.pq import TransactionStatus
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

Trace = tuple[str, str]
"""The traceparent and tracestate of a request, as they came; SQL reads them."""

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


@dataclass(frozen=True, slots=True)
class Caller:
    """A transaction that works as the authenticated caller; row-level security holds for all it does."""

    connection: AsyncConnection[DictRow]

    async def call(self, sql: LiteralString, /, **arguments: Any) -> Any:
        """Run one statement that gives one value, and return that value (None without a row)."""
        cursor = await self.connection.execute(sql, arguments)
        row = await cursor.fetchone()
        return next(iter(row.values())) if row else None

    async def row(self, sql: LiteralString, /, **arguments: Any) -> DictRow | None:
        """Run one statement and return its first row."""
        cursor = await self.connection.execute(sql, arguments)
        return await cursor.fetchone()

    async def rows(self, sql: LiteralString, /, **arguments: Any) -> list[DictRow]:
        """Run one statement and return all its rows."""
        cursor = await self.connection.execute(sql, arguments)
        return await cursor.fetchall()

    async def identity(self) -> Identity:
        """Who the caller is; refused by SQL when it belongs to no tenant."""
        row = await self.row(
            "select flowgres.require_tenant()::text as tenant_id, current_user::text as role,"
            " flowgres.actor() as actor, nullif(current_setting('flowgres.roles', true), '')::jsonb as roles"
        )
        assert row is not None  # noqa: S101 - a select without a table has one row
        return Identity(row["tenant_id"], row["role"], row["actor"], row["roles"] or [])


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
            check=AsyncConnectionPool.check_connection,
            open=False,
            name="front",
            kwargs={
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
    async def caller(self, credentials: Credentials | None, *, trace: Trace = ("", "")) -> AsyncIterator[Caller]:
        """Open a transaction that is the caller's: role, tenant and trace are local to it, and its writes end with it.

        `None` is nobody in particular, for what anyone may see. Commits when the block ends well. Raises what psycopg
        raises, refusals of flowgres.authenticate included.
        """
        async with self._pool.connection() as connection, connection.transaction():
            caller = Caller(connection)
            try:
                await self._assume(caller, credentials, trace)
            except InsufficientPrivilege as error:
                # Before anybody was let in: a right that the front itself lacks.
                log.error("database_unusable", code=FRONT_LACKS.code, error=str(error), hint=FRONT_LACKS.hint)
                raise database_unusable(FRONT_LACKS) from error
            yield caller

    async def own(self, sql: LiteralString, /, **arguments: Any) -> DictRow | None:
        """Run one statement as the front's own login, in a transaction of its own, and return its first row.

        For what has no caller: webhooks, and what the installation says of itself. The functions that this login may
        call decide by what they are given.
        """
        async with self._pool.connection() as connection:
            # One way to the database and back, where a transaction would take three.
            await connection.set_autocommit(True)
            try:
                cursor = await connection.execute(sql, arguments)
                return await cursor.fetchone()
            except InsufficientPrivilege as error:
                log.error("database_unusable", code=FRONT_LACKS.code, error=str(error), hint=FRONT_LACKS.hint)
                raise database_unusable(FRONT_LACKS) from error
            finally:
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    await connection.set_autocommit(False)

    async def _assume(self, caller: Caller, credentials: Credentials | None, trace: Trace) -> None:
        await caller.call(
            "select set_config('statement_timeout', %(milliseconds)s, true), set_config('role', %(role)s, true),"
            " set_config('flowgres.traceparent', %(traceparent)s, true),"
            " set_config('flowgres.tracestate', %(tracestate)s, true)",
            traceparent=trace[0],
            tracestate=trace[1],
            milliseconds=str(int(self._settings.statement_seconds * 1000)),
            # The front's own login may assume a caller, and do what nobody is the caller of; nobody works as it.
            role=ANONYMOUS_ROLE if credentials is None else FRONT_ROLE,
        )
        if credentials is not None:
            await caller.call(
                "select flowgres.assume_caller(p_api_key => %(api_key)s, p_claims => %(claims)s)",
                api_key=credentials.api_key,
                claims=Jsonb(credentials.claims) if credentials.claims is not None else None,
            )
