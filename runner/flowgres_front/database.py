"""The front's one way to the database: a transaction that is the caller, and nobody else."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection, AsyncCursor, OperationalError
from psycopg import Error as DatabaseError
from psycopg.errors import InsufficientPrivilege, PipelineAborted
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from flowgres_front.credentials import Credentials
from flowgres_front.problems import Problem, database_unreachable, database_unusable, outcome_unknown
from flowgres_front.settings import FRONT_ROLE, FrontSettings
from flowgres_postgres import State, state_of_connect, state_of_server
from flowgres_postgres.pooling import prepare_where_direct
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
Statement = tuple[LiteralString, Mapping[str, Any] | None]
_BEGIN: Statement = ("begin", None)
_COMMIT: Statement = ("commit", None)
_LOCAL: LiteralString = (
    "select set_config('statement_timeout', %(milliseconds)s, true), set_config('role', %(role)s, true),"
    " set_config('flowgres.traceparent', %(traceparent)s, true),"
    " set_config('flowgres.tracestate', %(tracestate)s, true)"
)
# Who it is is read behind it, by what nobody needs a right for.
_ASSUME: LiteralString = (
    "select current_setting('flowgres.tenant_id') as tenant_id, current_user::text as role,"
    " current_setting('flowgres.actor') as actor, current_setting('flowgres.roles')::jsonb as roles"
    " from (select flowgres.assume_caller(p_api_key => %(api_key)s, p_claims => %(claims)s) offset 0) as assumed"
)
# A plan of before an upgrade, and one that is not there any more: a new connection has neither.
_OUTDATED = frozenset({"0A000", "26000"})
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

    It begins with the first statement, and all that makes it the caller's goes to the server together with that one, in
    a pipeline: the server takes them in order, and skips whatever comes after an error. So none can run as somebody
    whom those before it have not made the caller of, and one way to the server does for all.
    """

    def __init__(self, connection: AsyncConnection[DictRow], opening: Sequence[Statement]) -> None:
        """`opening` begins the transaction; its last statement assumes the caller, and says who that is."""
        self._connection = connection
        self._opening = opening
        self._assuming: AsyncCursor[DictRow] | None = None
        self._identity: Identity | None = None
        self.is_ending = False
        """From here on it may be committed, whatever is heard of it."""
        self.is_over = False

    async def call(self, sql: LiteralString, /, **arguments: Any) -> Any:
        """Run one statement that gives one value, and return that value (None without a row)."""
        row = await self.row(sql, **arguments)
        return next(iter(row.values())) if row else None

    async def row(self, sql: LiteralString, /, **arguments: Any) -> DictRow | None:
        """Run one statement and return its first row."""
        return await (await self._run((sql, arguments))).fetchone()

    async def rows(self, sql: LiteralString, /, **arguments: Any) -> list[DictRow]:
        """Run one statement and return all its rows."""
        return await (await self._run((sql, arguments))).fetchall()

    async def last(self, sql: LiteralString, /, **arguments: Any) -> DictRow | None:
        """Run one statement and commit, in one way to the server; return its first row. Nothing comes after it.

        Where there may be a pooler it is two ways, as ever: psycopg ends a pipeline with a Flush, and after a commit
        that would be for another session.
        """
        if self._connection.prepare_threshold is None:
            return await self.row(sql, **arguments)
        opening = self._opening if self._assuming is None else ()
        if not opening:
            self.check()
        self.is_ending = True
        *_, cursor, _ = await self._send((*opening, (sql, arguments), _COMMIT))
        self.is_over = True
        return await cursor.fetchone()

    async def commit(self) -> None:
        """End it, unless that is done."""
        if self.is_over:
            return
        await self.enter()
        self.check()
        self.is_ending = True
        await self._connection.execute(*_COMMIT)

    @property
    def is_known(self) -> bool:
        """Whether SQL has taken the caller for good."""
        return self._assuming is not None and self._assuming.statusmessage is not None

    async def identity(self) -> Identity:
        """Who the caller is; refused by SQL when it is nobody. No way to the server after the first statement."""
        if self._identity is None:
            await self.enter()
            assert self._assuming is not None  # noqa: S101 - it has entered
            row = await self._assuming.fetchone()
            assert row is not None  # noqa: S101 - a select without a table has one row
            self._identity = Identity(row["tenant_id"], row["role"], row["actor"], row["roles"] or [])
        return self._identity

    async def enter(self) -> None:
        """Begin, if no statement has: a caller that SQL refuses is refused here."""
        if self._assuming is None:
            await self._send(self._opening)

    async def _run(self, statement: Statement) -> AsyncCursor[DictRow]:
        if self._assuming is None:
            return (await self._send((*self._opening, statement)))[-1]
        self.check()
        return await self._connection.execute(*statement)

    async def _send(self, statements: Sequence[Statement]) -> list[AsyncCursor[DictRow]]:
        """Run all of them in one go; a cursor of each. Raises what the first of them raises that fails."""
        cursors = [self._connection.cursor() for _ in statements]
        if self._assuming is None:
            self._assuming = cursors[len(self._opening) - 1]
        try:
            async with self._connection.pipeline() as pipeline:
                try:
                    for cursor, statement in zip(cursors, statements, strict=True):
                        await cursor.execute(*statement)
                except BaseException:
                    # What was still on its way is not worth a word.
                    with suppress(DatabaseError):
                        await pipeline.sync()
                    raise
        except PipelineAborted as aborted:
            # The end of a pipeline may speak of what was skipped: what comes before that in its context is why.
            raise aborted.__context__ or aborted from None
        return cursors

    def check(self) -> None:
        """Refuse to go on after an error: what was begun is over, and what came next would be nobody's."""
        if self._connection.info.transaction_status != TransactionStatus.INTRANS:
            raise OperationalError("the transaction is over")


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
                await prepare_where_direct(connection)
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
                # A pooler may not keep prepared statements; where there is none, they are prepared at once.
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
        raises, refusals of flowgres.authenticate included, with the first statement or else at the end; Problem when
        nobody can say whether it was committed.
        """
        async with self._pool.connection() as connection:
            caller = Caller(connection, self._opening(credentials, trace))
            try:
                yield caller
                await caller.commit()
            except InsufficientPrivilege as error:
                if caller.is_known:
                    raise
                raise _lacking(error) from error
            except DatabaseError as error:
                if caller.is_ending and connection.closed:
                    raise outcome_unknown() from error
                if error.sqlstate in _OUTDATED:
                    log.warning("database_changed", sqlstate=error.sqlstate)
                    await connection.close()
                    raise database_unreachable() from error
                raise

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
                raise _lacking(error) from error

    def _opening(self, credentials: Credentials | None, trace: Trace) -> Sequence[Statement]:
        """The front's own login may assume a caller, and do what nobody is the caller of; nobody works as it."""
        local = {
            "milliseconds": str(int(self._settings.statement_seconds * 1000)),
            "role": ANONYMOUS_ROLE if credentials is None else FRONT_ROLE,
            "traceparent": trace[0],
            "tracestate": trace[1],
        }
        if credentials is None:
            return (_BEGIN, (_LOCAL, local))
        claims = Jsonb(credentials.claims) if credentials.claims is not None else None
        return (
            _BEGIN,
            (_LOCAL, local),
            (_ASSUME, {"api_key": credentials.api_key, "claims": claims}),
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


def _lacking(error: InsufficientPrivilege) -> Problem:
    """Nobody was let in yet: it is the front itself that lacks a right."""
    log.error("database_unusable", code=FRONT_LACKS.code, error=str(error), hint=FRONT_LACKS.hint)
    return database_unusable(FRONT_LACKS)
