"""What many streams share: the last events of an execution, or of a tenant, once in memory however many read them.

A stream has no queue of its own. It takes from the topic at its own pace; one that falls behind what the topic still
has reads from the database, as it did at first. So a client that reads slowly costs nothing, and takes nothing from
others.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from flowgres_front.credentials import Credentials
from flowgres_front.streams.positions import TenantPosition

MAX_KEPT_BYTES = 256 << 10
EVERYBODYS = -1
"""In the place of a transaction: an event that is for all, whatever they have read."""
_EVENT_OVERHEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class Event:
    """One event, ready to be sent. `xid` is the transaction that made it, where a tenant's stream reads it."""

    execution_id: str
    seq: int
    type: str
    workflow: str
    status: str
    data: str
    id: str
    xid: int = 0

    def encode(self) -> bytes:
        """As Server-Sent Events have it; the data is JSON on one line."""
        return f"id: {self.id}\nevent: {self.type}\ndata: {self.data}\n\n".encode()

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory."""
        return len(self.data) + _EVENT_OVERHEAD_BYTES


@dataclass(eq=False, slots=True)
class Subscriber:
    """One who reads a topic. `is_refused`: the database no longer takes its credentials."""

    credentials: Credentials = field(repr=False)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_refused: bool = False

    def refuse(self) -> None:
        """Let it find out."""
        self.is_refused = True
        self.news.set()


@dataclass(eq=False, slots=True)
class Topic(ABC):
    """The last events, each with a place that only grows: the first one kept has the place `first`."""

    tenant_id: str
    first: int = 0
    subscribers: dict[Subscriber, None] = field(default_factory=dict)
    _events: deque[Event] = field(default_factory=deque)
    _bytes: int = 0

    @property
    def end(self) -> int:
        """The place that the next event gets."""
        return self.first + len(self._events)

    @property
    @abstractmethod
    def is_begun(self) -> bool:
        """Whether somebody has read up to now, so that what comes after that is added here."""

    def end_if_begun(self) -> int | None:
        """To be asked before a page is read: where what the page does not have will stand; None while none is added."""
        return self.end if self.is_begun else None

    def joined(self, end: int | None) -> int | None:
        """The place from which one goes on who has read all there was after that end was asked for.

        None when something in between may be missing here: it gave way, or was read by the one with whom the topic
        began. Then another page is to be read.
        """
        return None if end is None or end < self.first else end

    def since(self, place: int, most: int) -> list[Event]:
        """Up to so many events from a place on, which is not before the first."""
        start = place - self.first
        return [self._events[at] for at in range(start, min(start + most, len(self._events)))]

    def append(self, events: Sequence[Event]) -> None:
        """Add what comes next; the oldest give way."""
        for event in events:
            self._events.append(event)
            self._bytes += event.size
            while self._bytes > MAX_KEPT_BYTES:
                self._bytes -= self._events.popleft().size
                self.first += 1
        self.tell()

    def tell(self) -> None:
        """Wake who reads it."""
        for subscriber in self.subscribers:
            subscriber.news.set()


@dataclass(eq=False, slots=True)
class ExecutionTopic(Topic):
    """An execution: numbers of the last event that was read, None before the first reading, and of the last known."""

    execution_id: str = ""
    seq: int | None = None
    known_seq: int = 0
    has_ended: bool = False
    is_gone: bool = False

    @property
    def is_begun(self) -> bool:
        return self.seq is not None

    def begin(self, seq: int) -> int:
        """The first has read this far; returns the place from which the topic goes on."""
        self.seq = self.known_seq = seq
        return self.end


@dataclass(eq=False, slots=True)
class TenantTopic(Topic):
    """A tenant: how far it was read, None before anybody began, and whether there is more."""

    position: TenantPosition | None = None
    has_news: bool = False

    @property
    def is_begun(self) -> bool:
        return self.position is not None

    def begin(self, position: TenantPosition) -> int:
        """The first has read this far; returns the place from which the topic goes on."""
        self.position = position
        return self.end
