"""What a stream is of: an execution, or a tenant. Both are read in pages until they have caught up with their topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from flowgres_front.context import Front
from flowgres_front.credentials import Credentials
from flowgres_front.database import Caller
from flowgres_front.problems import Problem
from flowgres_front.streams.positions import TenantPosition
from flowgres_front.streams.reading import read_execution, read_tenant, reset_at
from flowgres_front.streams.topics import EVERYBODYS, Event, ExecutionTopic, Subscriber, TenantTopic, Topic

Turn = Callable[[], AbstractAsyncContextManager[Caller]]


def turns(front: Front, tenant_id: str, credentials: Credentials) -> Turn:
    """Transactions as the caller, each at the expense of its tenant for as long as it runs."""

    @asynccontextmanager
    async def turn() -> AsyncIterator[Caller]:
        async with front.transactions.take(tenant_id), front.database.caller(credentials) as caller:
            yield caller

    return turn


class Source(Protocol):
    """Where a stream takes its events from, and how far it has come."""

    @property
    def topic(self) -> Topic:
        """What it shares with others."""

    @property
    def subscriber(self) -> Subscriber:
        """Its place in there."""

    @property
    def has_ended(self) -> bool:
        """Whether all was taken, and nothing will come."""

    @property
    def mark(self) -> str | None:
        """What tells a client how far it is when nothing was for it; None where each event does."""

    async def page(self, caller: Caller, most: int) -> tuple[Sequence[Event], int | None]:
        """Read on from the database: the next events, about so many, and the place in the topic of what comes next.

        None: there may be more that the topic does not have, so another page is to be read.
        """

    def take(self, events: Sequence[Event]) -> list[Event]:
        """Those events of the topic that come next and are wanted."""

    async def renew(self, caller: Caller) -> None:
        """Once a minute: whoever calls is still welcome, and still there."""


@dataclass(eq=False, slots=True)
class ExecutionSource:
    """One execution, from behind a number on."""

    topic: ExecutionTopic
    subscriber: Subscriber
    seq: int
    is_over: bool = False

    @property
    def has_ended(self) -> bool:
        return self.is_over or self.topic.is_gone or (self.topic.has_ended and self.seq >= self.topic.known_seq)

    @property
    def mark(self) -> str | None:
        return None

    async def page(self, caller: Caller, most: int) -> tuple[Sequence[Event], int | None]:
        end = self.topic.end_if_begun()
        page = await read_execution(caller, self.topic.execution_id, self.seq, most)
        if self.seq > page.event_seq:
            raise Problem(
                400,
                "last_event_id_invalid",
                f"Last-Event-ID {self.seq} lies behind the last event of this execution, {page.event_seq}",
                hint="Leave it away to begin at the beginning.",
            )
        if page.events:
            self.seq = page.events[-1].seq
        self.is_over = page.has_ended and self.seq >= page.event_seq
        if not page.is_last:
            return page.events, None
        return page.events, self.topic.joined(end) if self.topic.is_begun else self.topic.begin(self.seq)

    def take(self, events: Sequence[Event]) -> list[Event]:
        taken = [event for event in events if event.seq > self.seq]
        if taken:
            self.seq = taken[-1].seq
        return taken

    async def renew(self, caller: Caller) -> None:
        del caller


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events of a tenant are wanted; an empty set is all."""

    workflows: frozenset[str]
    types: frozenset[str]
    statuses: frozenset[str]

    def wants(self, event: Event) -> bool:
        """Whether this one is; what is for everybody always is."""
        return event.xid == EVERYBODYS or (
            (not self.workflows or event.workflow in self.workflows)
            and (not self.types or event.type in self.types)
            and (not self.statuses or event.status in self.statuses)
        )


@dataclass(eq=False, slots=True)
class TenantSource:
    """All executions of a tenant, from a position on."""

    topic: TenantTopic
    subscriber: Subscriber
    position: TenantPosition
    filter: Filter

    @property
    def has_ended(self) -> bool:
        return False

    @property
    def mark(self) -> str | None:
        return str(self.position)

    async def page(self, caller: Caller, most: int) -> tuple[Sequence[Event], int | None]:
        end = self.topic.end_if_begun()
        page = await read_tenant(caller, self.position, most)
        self.position = page.position
        events = page.events if page.is_complete else [reset_at(self.position)]
        wanted = [event for event in events if self.filter.wants(event)]
        if not page.is_last:
            return wanted, None
        return wanted, self.topic.joined(end) if self.topic.is_begun else self.topic.begin(self.position)

    def take(self, events: Sequence[Event]) -> list[Event]:
        taken = []
        for event in events:
            if event.xid != EVERYBODYS and self.position.covers(event.xid, event.execution_id, event.seq):
                continue
            position = TenantPosition.parse(event.id)
            assert position is not None  # noqa: S101 - its id was made of one
            self.position = self.position.onward(position) if event.xid != EVERYBODYS else position
            if self.filter.wants(event):
                taken.append(replace(event, id=str(self.position)))
        return taken

    async def renew(self, caller: Caller) -> None:
        await caller.call("select flowgres.watch_tenant()")
