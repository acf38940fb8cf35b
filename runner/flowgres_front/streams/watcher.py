"""The one who watches the database for all who wait: for the next event of a stream, the end of an execution,
or a task.

However many wait, it looks once for all of them, and asks no more than which executions and tenants have something new.
The events are then read as one of those who wait for them, once for each tenant. It looks every 50 ms while things
happen and four times a second while they do not, and rests at least nine times as long as a round of looking and
reading took. While nobody waits it does not look, and some time later it has no connection either.

The end of an execution that a call waits for is notified (`flowgres_ends`). That is a hint, which saves up to a pause:
a notification that gets lost costs a quarter of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

from psycopg import AsyncConnection, OperationalError
from psycopg import Error as DatabaseError
from psycopg.rows import DictRow, dict_row
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from flowgres_front.budget import Budget
from flowgres_front.credentials import Credentials
from flowgres_front.database import KEEPALIVES, Caller, Database
from flowgres_front.problems import Problem
from flowgres_front.settings import FrontSettings
from flowgres_front.streams.ends import Ends, Key
from flowgres_front.streams.queues import TaskLines
from flowgres_front.streams.reading import read_executions, read_tenant, reset_at
from flowgres_front.streams.topics import Event, ExecutionTopic, Subscriber, TenantTopic, Topic
from flowgres_postgres.pooling import prepare_where_direct
from flowgres_process.logs import get_logger

log = get_logger(__name__)

CHANNEL = "flowgres_ends"
_SHORTEST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.25
_REST_PER_WORK = 9
_READ_EVENTS = 500
"""At a time, of an execution or of a tenant."""
_LOOK_SECONDS = 5.0
_IDLE_SECONDS = 60.0
_LONGEST_BACKOFF_SECONDS = 5.0
TROUBLES = (DatabaseError, OSError, TimeoutError, PoolClosed, PoolTimeout, TooManyRequests)
_REFUSALS = frozenset({"FG401", "FG403"})


class Watcher:
    """Looks for all who wait in this front. Nothing runs before somebody does."""

    def __init__(self, settings: FrontSettings, database: Database, transactions: Budget) -> None:
        self._dsn = settings.direct_dsn or settings.dsn
        self._database = database
        self._transactions = transactions
        self._executions: dict[Key, ExecutionTopic] = {}
        self._tenants: dict[str, TenantTopic] = {}
        self.ends = Ends()
        self._lines = TaskLines()
        self._task: asyncio.Task[None] | None = None
        self._reads: dict[str, asyncio.Task[float]] = {}
        self._is_listening = asyncio.Event()
        self._is_closed = False
        self._wanted_at = 0.0

    async def close(self) -> None:
        """End all that waits, and stop."""
        self.end_streams()
        tasks = [task for task in (self._task, *self._reads.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def end_streams(self) -> None:
        """Let all streams and waiting calls come to their end: the front is about to stop."""
        self._is_closed = True
        for topic in self._topics():
            topic.tell()
        self.ends.end()
        self._lines.end()

    @property
    def is_closed(self) -> bool:
        """Whether the front is about to stop."""
        return self._is_closed

    async def listen(self) -> None:
        """Be ready to hear of an end; does not wait for long, as looking finds it too."""
        self._want()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._is_listening.wait()

    @contextlib.contextmanager
    def end_of(self, tenant_id: str, execution_id: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done when the execution has ended, or the front is about to stop."""
        with self.ends.wait_for((tenant_id, execution_id)) as future:
            self._want()
            yield future

    @contextlib.contextmanager
    def task_of(self, tenant_id: str, queue: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done when a task of the queue may be there, or the front is about to stop."""
        with self._lines.enter(tenant_id, queue) as future:
            self._want()
            yield future

    @contextlib.contextmanager
    def execution(
        self, tenant_id: str, execution_id: str, credentials: Credentials
    ) -> Iterator[tuple[ExecutionTopic, Subscriber]]:
        """Subscribe to an execution; it is watched from `topic.begin` on."""
        key = tenant_id, execution_id
        topic = self._executions.setdefault(key, ExecutionTopic(tenant_id, execution_id=execution_id))
        try:
            with self._subscribe(topic, credentials) as subscriber:
                yield topic, subscriber
        finally:
            if not topic.subscribers and self._executions.get(key) is topic:
                del self._executions[key]

    @contextlib.contextmanager
    def tenant(self, tenant_id: str, credentials: Credentials) -> Iterator[tuple[TenantTopic, Subscriber]]:
        """Subscribe to a tenant; it is watched once the topic has a position."""
        topic = self._tenants.setdefault(tenant_id, TenantTopic(tenant_id))
        try:
            with self._subscribe(topic, credentials) as subscriber:
                yield topic, subscriber
        finally:
            if not topic.subscribers and self._tenants.get(tenant_id) is topic:
                del self._tenants[tenant_id]

    @contextlib.contextmanager
    def _subscribe(self, topic: Topic, credentials: Credentials) -> Iterator[Subscriber]:
        subscriber = Subscriber(credentials)
        topic.subscribers[subscriber] = None
        self._want()
        try:
            yield subscriber
        finally:
            del topic.subscribers[subscriber]

    def _topics(self) -> Iterator[Topic]:
        yield from self._executions.values()
        yield from self._tenants.values()

    def _want(self) -> None:
        self._wanted_at = asyncio.get_running_loop().time()
        if (self._task is None or self._task.done()) and not self._is_closed:
            self._task = asyncio.create_task(self._run())

    def _is_wanted(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._executions or self._tenants or self.ends or self._lines:
            self._wanted_at = now
        return now - self._wanted_at < _IDLE_SECONDS

    async def _run(self) -> None:
        backoff = _SHORTEST_PAUSE_SECONDS
        while self._is_wanted():
            try:
                async with self._connection() as connection:
                    backoff = _SHORTEST_PAUSE_SECONDS
                    await self._watch(connection)
                continue
            except TROUBLES as error:
                log.warning("watching_interrupted", error=" ".join(str(error).split()) or type(error).__name__)
            except Exception:
                # A fault of ours; those who wait are not to wait for ever.
                log.exception("watching_failed")
            finally:
                self._is_listening.clear()
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311 - no secret
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[DictRow]]:
        connection = await AsyncConnection[DictRow].connect(
            self._dsn,
            autocommit=True,
            row_factory=dict_row,
            prepare_threshold=None,
            connect_timeout=3,
            application_name="flowgres-front watch",
            **KEEPALIVES,
        )
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await prepare_where_direct(connection)
                await connection.execute(f"listen {CHANNEL}")
            self._is_listening.set()
            yield connection
        finally:
            with contextlib.suppress(OperationalError):
                await connection.close()

    async def _watch(self, connection: AsyncConnection[DictRow]) -> None:
        """Look, pause, look. What came before the first look is found by it, as it listens already."""
        clock = asyncio.get_running_loop().time
        pause = _SHORTEST_PAUSE_SECONDS
        next_look = clock()
        while self._is_wanted():
            if clock() >= next_look:
                work = self._read_seconds()
                began = clock()
                has_news = await self._look(connection)
                work += clock() - began
                pause = _SHORTEST_PAUSE_SECONDS if has_news else min(1.5 * pause, _LONGEST_PAUSE_SECONDS)
                next_look = clock() + max(pause, _REST_PER_WORK * work)
            # The loop holds the connection until it is over; what arrives during other calls is kept for the next one.
            notified = [one async for one in connection.notifies(timeout=max(next_look - clock(), 0.001), stop_after=1)]
            if notified and self.ends.notify():
                await self._look_at_ends(connection)

    def _read_seconds(self) -> float:
        """How long the reads took that have ended since."""
        done = [tenant_id for tenant_id, task in self._reads.items() if task.done()]
        return sum(self._reads.pop(tenant_id).result() for tenant_id in done)

    async def _look(self, connection: AsyncConnection[DictRow]) -> bool:
        """Look for all, and have read what is new; says whether anything is."""
        await self._look_at_ends(connection)
        tenants = {topic.tenant_id for topic in await self._look_at_executions(connection)}
        tenants |= {topic.tenant_id for topic in await self._look_at_tenants(connection)}
        for tenant_id in tenants - self._reads.keys():
            self._reads[tenant_id] = asyncio.create_task(self._read(tenant_id))
        async with asyncio.timeout(_LOOK_SECONDS):
            has_tasks = await self._lines.look(connection)
        return bool(tenants) or has_tasks

    async def _look_at_ends(self, connection: AsyncConnection[DictRow]) -> None:
        keys = self.ends.keys()
        # Numbers that none reaches: the end alone is asked for.
        for row in await self._changed(connection, keys, [2**31 - 1] * len(keys)):
            # One that is not there is about to be committed.
            if row["has_ended"]:
                self.ends.tell(_key_of(row))

    async def _look_at_executions(self, connection: AsyncConnection[DictRow]) -> list[ExecutionTopic]:
        known = {key: topic for key, topic in self._executions.items() if _is_open(topic)}
        found = []
        for row in await self._changed(connection, list(known), [topic.seq or 0 for topic in known.values()]):
            topic = known[_key_of(row)]
            if row["event_seq"] is None:
                topic.is_gone = True
                topic.tell()
                continue
            topic.known_seq, topic.has_ended = row["event_seq"], row["has_ended"]
            if topic.seq is not None and topic.known_seq > topic.seq:
                found.append(topic)
            elif topic.has_ended:
                topic.tell()
        return found

    async def _changed(self, connection: AsyncConnection[DictRow], keys: list[Key], seqs: list[int]) -> list[DictRow]:
        if not keys:
            return []
        async with asyncio.timeout(_LOOK_SECONDS):
            cursor = await connection.execute(
                "select * from flowgres.look_at_executions(p_tenant_ids => %s::uuid[],"
                " p_execution_ids => %s::uuid[], p_event_seqs => %s::integer[])",
                ([key[0] for key in keys], [key[1] for key in keys], seqs),
            )
            return await cursor.fetchall()

    async def _look_at_tenants(self, connection: AsyncConnection[DictRow]) -> list[TenantTopic]:
        watched = {topic.tenant_id: topic for topic in self._tenants.values() if topic.position is not None}
        if not watched:
            return []
        async with asyncio.timeout(_LOOK_SECONDS):
            cursor = await connection.execute(
                "select * from flowgres.look_at_tenants(p_tenant_ids => %s::uuid[],"
                " p_snapshots => %s::text[]::pg_snapshot[])",
                (list(watched), [str(topic.position.snapshot) for topic in watched.values() if topic.position]),
            )
            found = [watched[str(row["tenant_id"])] for row in await cursor.fetchall()]
        for topic in found:
            topic.has_news = True
        return found

    async def _read(self, tenant_id: str) -> float:
        """Read what is new of a tenant, as one of those who wait for it; returns how long that took, in seconds."""
        clock = asyncio.get_running_loop().time
        while True:
            reader = self._reader_of(tenant_id)
            if reader is None:
                return 0.0
            try:
                async with self._transactions.take(tenant_id):
                    began = clock()
                    async with self._database.caller(reader.credentials) as caller:
                        await self._read_as(caller, tenant_id)
                return clock() - began
            except TROUBLES as error:
                if not is_refusal(error):
                    log.warning("stream_not_read", error=type(error).__name__)
                    return 0.0
                reader.refuse()
            except Problem as problem:
                log.warning("stream_not_read", code=problem.code)
                return 0.0

    def _reader_of(self, tenant_id: str) -> Subscriber | None:
        """One of those who wait for the tenant, as whom to read."""
        topics = (topic for topic in self._topics() if topic.tenant_id == tenant_id)
        return next((one for topic in topics for one in topic.subscribers if not one.is_refused), None)

    async def _read_as(self, caller: Caller, tenant_id: str) -> None:
        executions = {
            topic.execution_id: (topic, topic.seq)
            for topic in self._executions.values()
            if topic.tenant_id == tenant_id and topic.seq is not None and topic.known_seq > topic.seq
        }
        if executions:
            events: dict[str, list[Event]] = defaultdict(list)
            wanted = [(execution_id, seq) for execution_id, (_, seq) in executions.items()]
            for event in await read_executions(caller, wanted, _READ_EVENTS):
                events[event.execution_id].append(event)
            for execution_id, found in events.items():
                topic, _ = executions[execution_id]
                topic.seq = found[-1].seq
                if len(found) < _READ_EVENTS:
                    topic.known_seq = max(topic.known_seq, topic.seq)
                topic.append(found)
        tenant = self._tenants.get(tenant_id)
        if tenant is not None and tenant.has_news and tenant.position is not None:
            page = await read_tenant(caller, tenant.position, _READ_EVENTS)
            tenant.has_news = False
            tenant.position = page.position
            tenant.append(page.events if page.is_complete else [reset_at(page.position), *page.events])


def _key_of(row: DictRow) -> Key:
    return str(row["tenant_id"]), str(row["execution_id"])


def _is_open(topic: ExecutionTopic) -> bool:
    """Whether there may be more of it than was read."""
    return topic.seq is not None and not topic.is_gone and not (topic.has_ended and topic.seq >= topic.known_seq)


def is_refusal(error: BaseException) -> bool:
    """Whether the database says that it does not take the caller's credentials, or no longer."""
    return isinstance(error, DatabaseError) and error.sqlstate in _REFUSALS
