"""Whoever opens a stream reads what is there and then joins those who read it already: nothing is lost in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest
from starlette.types import Message

from flowgres_front.credentials import Credentials
from flowgres_front.database import Caller
from flowgres_front.database import Database as FrontDatabase
from flowgres_front.settings import FrontSettings
from flowgres_front.streams.positions import Snapshot, TenantPosition
from flowgres_front.streams.reading import read_executions, read_tenant
from flowgres_front.streams.sources import ExecutionSource, Filter, Source, TenantSource
from flowgres_front.streams.sse import EventStream
from flowgres_front.streams.topics import MAX_KEPT_BYTES, Event, ExecutionTopic, Subscriber, TenantTopic
from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, dag, hands, import_workflow, start
from tests.support.server import JWT_SECRET
from tests.support.streams import Feed

EVERYTHING = Filter(frozenset(), frozenset(), frozenset())
CHAIN: list[dict[str, Any]] = [{"id": f"s{n}", "depends_on": [f"s{n - 1}"] if n else []} for n in range(6)]


@pytest.fixture
async def front(database: Database) -> AsyncIterator[FrontDatabase]:
    opened = FrontDatabase(FrontSettings(dsn=database.dsn("front"), jwt_secret=JWT_SECRET, pool_size=2))
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


class Late:
    """A caller who has read, and to whom the answer comes when `came` is set."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.has_read, self.came = asyncio.Event(), asyncio.Event()

    async def call(self, statement: Any, **parameters: Any) -> Any:
        return await self._caller.call(statement, **parameters)

    async def rows(self, statement: Any, **parameters: Any) -> list[dict[str, Any]]:
        rows = await self._caller.rows(statement, **parameters)
        self.has_read.set()
        await self.came.wait()
        return rows


class Stage:
    """An execution of which some steps have ended, a topic, and clients who are about to read it."""

    def __init__(
        self, front: FrontDatabase, tenant: Tenant, runner: Hands, execution_id: str, beginning: TenantPosition | None
    ) -> None:
        self.runner, self.execution_id, self.beginning = runner, execution_id, beginning
        self.topic: ExecutionTopic | TenantTopic = (
            TenantTopic(tenant.tenant_id) if beginning else ExecutionTopic(tenant.tenant_id, execution_id=execution_id)
        )
        self._front = front
        self._credentials = Credentials(api_key=tenant.key)

    def source(self) -> Source:
        """One more client, who has read nothing yet."""
        subscriber = Subscriber(self._credentials)
        self.topic.subscribers[subscriber] = None
        if isinstance(self.topic, ExecutionTopic):
            return ExecutionSource(self.topic, subscriber, 0)
        assert self.beginning is not None
        return TenantSource(self.topic, subscriber, self.beginning, EVERYTHING)

    def caller(self) -> AbstractAsyncContextManager[Caller]:
        return self._front.caller(self._credentials)

    async def page(self, source: Source, late: asyncio.Future[Late] | None = None) -> tuple[list[Event], int | None]:
        async with self.caller() as caller:
            if late is None:
                events, place = await source.page(caller, 1000)
            else:
                late.set_result(wrapped := Late(caller))
                events, place = await source.page(wrapped, 1000)  # type: ignore[arg-type]
        return list(events), place

    async def read_news(self) -> None:
        """What the watcher does once it has seen that there is something new."""
        async with self.caller() as caller:
            if isinstance(self.topic, ExecutionTopic):
                assert self.topic.seq is not None
                events = await read_executions(caller, [(self.execution_id, self.topic.seq)], 500)
                self.topic.seq = events[-1].seq
            else:
                assert self.topic.position is not None
                page = await read_tenant(caller, self.topic.position, 500)
                events, self.topic.position = page.events, page.position
        self.topic.append(events)

    def go_on(self) -> None:
        """One more step ends."""
        (lease,) = self.runner.claim(1)
        self.runner.report_once([self.runner.result(lease, {"o": "completed", "output": {}})], room=0)

    async def finish(self, source: Source, events: list[Event], place: int | None) -> list[int]:
        """Numbers of all that the client has once it has caught up and taken what the topic has."""
        while place is None:
            more, place = await self.page(source)
            events += more
        events += source.take(self.topic.since(place, 1000))
        return [event.seq for event in events]


async def beginning_of(front: FrontDatabase, tenant: Tenant) -> TenantPosition:
    """From here on all changes of the tenant are written down."""
    while True:
        async with front.caller(Credentials(api_key=tenant.key)) as caller:
            found = await caller.call("select flowgres.watch_tenant()")
        if found["is_complete"]:
            return TenantPosition(Snapshot.parse(found["snapshot"]))


@pytest.fixture(params=["execution", "tenant"])
async def stage(
    request: pytest.FixtureRequest, front: FrontDatabase, database: Database, db: Db
) -> AsyncIterator[Stage]:
    tenant = database.make_tenant()
    beginning = await beginning_of(front, tenant) if request.param == "tenant" else None
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("chain", CHAIN)))
    with hands(database) as runner:
        made = Stage(front, tenant, runner, execution_id, beginning)
        made.go_on()
        yield made


async def read_late(stage: Stage, source: Source) -> tuple[Late, asyncio.Task[tuple[list[Event], int | None]]]:
    """A client whose page has been read, and has not come yet."""
    made: asyncio.Future[Late] = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(stage.page(source, made))
    late = await made
    has_read = asyncio.create_task(late.has_read.wait())
    await asyncio.wait({reading, has_read}, return_when=asyncio.FIRST_COMPLETED)
    assert not reading.done(), reading.exception()
    return late, reading


async def test_page_that_was_read_before_the_one_that_begins_the_topic(stage: Stage) -> None:
    slow = stage.source()
    late, reading = await read_late(stage, slow)
    stage.go_on()
    quick = stage.source()
    begun = await stage.page(quick)
    assert begun[1] is not None
    late.came.set()
    events, place = await reading
    # Between both is what only the other one has read.
    assert len(events) < len(begun[0])
    assert place is None
    stage.go_on()
    await stage.read_news()
    numbers = await stage.finish(slow, events, place)
    assert numbers == list(range(1, numbers[-1] + 1)) == await stage.finish(quick, *begun)


async def test_what_gives_way_while_a_page_is_read_is_read_again(stage: Stage) -> None:
    quick = stage.source()
    begun = await stage.page(quick)
    slow = stage.source()
    late, reading = await read_late(stage, slow)
    stage.go_on()
    await stage.read_news()
    # What is for everybody pushes out all that came before it.
    stage.topic.append([Event("", 0, "reset", "", "", "x" * MAX_KEPT_BYTES, "1:1:", xid=-1)])
    assert stage.topic.first > 0
    late.came.set()
    events, place = await reading
    assert place is None
    numbers = await stage.finish(slow, events, place)
    assert numbers == list(range(1, numbers[-1] + 1))
    assert len(numbers) > len(begun[0])


async def test_whoever_has_read_while_the_topic_went_on_takes_the_rest_from_it(stage: Stage) -> None:
    begun = await stage.page(stage.source())
    slow = stage.source()
    late, reading = await read_late(stage, slow)
    stage.go_on()
    await stage.read_news()
    late.came.set()
    events, place = await reading
    assert place == begun[1] == 0
    numbers = await stage.finish(slow, events, place)
    assert numbers == list(range(1, numbers[-1] + 1))
    assert len(numbers) > len(events) - 1


async def test_page_whose_transaction_did_not_end_well_is_sent(stage: Stage, db: Db) -> None:
    turns: list[int] = []

    @asynccontextmanager
    async def turn() -> AsyncIterator[Caller]:
        async with stage.caller() as caller:
            yield caller
            turns.append(await caller.call("select pg_backend_pid()"))
            if len(turns) == 1:
                db.run("select pg_terminate_backend(%s, 5000)", turns[0])

    sent = bytearray()

    async def send(message: Message) -> None:
        sent.extend(message["body"])

    stream = EventStream(
        stage.source(),
        turn,
        settings=FrontSettings(dsn="", jwt_secret=JWT_SECRET),
        watcher=cast("Any", None),
        visit=cast("Any", None),
        holding=AsyncExitStack(),
        first=[],
        place=None,
        expires_at=None,
    )
    await stream._catch_up(send)
    numbers = [event.data["seq"] for event in Feed().take(bytes(sent))]
    assert numbers == list(range(1, len(numbers) + 1)) != []
