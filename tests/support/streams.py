"""A client of the front's streams: real sockets, Server-Sent Events as they come."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.api import Api


@dataclass(frozen=True, slots=True)
class Received:
    """One event: its id, its name, and its data."""

    id: str
    name: str
    data: dict[str, Any]


class Feed:
    """Reads Server-Sent Events from bytes, however they are cut; `last_id` is what a client has to say to go on."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._rest = b""

    def take(self, received: bytes) -> Iterator[Received]:
        """The events that these bytes complete; what is not complete has not been seen."""
        *blocks, self._rest = (self._rest + received).split(b"\n\n")
        for block in blocks:
            fields = [line.partition(":") for line in block.decode().split("\n")]
            values = {name: value.removeprefix(" ") for name, _, value in fields if name}
            self.last_id = values.get("id", self.last_id)
            if "data" in values:
                yield Received(self.last_id or "", values.get("event", "message"), json.loads(values["data"]))


class Stream:
    """An open stream: its events, as they come."""

    def __init__(self, response: httpx.Response, last_id: str | None) -> None:
        self.response = response
        self._events = self._received(Feed(last_id))

    def __iter__(self) -> Iterator[Received]:
        return self._events

    def take(self, count: int) -> list[Received]:
        """The next so many events."""
        return [next(self._events) for _ in range(count)]

    def _received(self, feed: Feed) -> Iterator[Received]:
        for chunk in self.response.iter_raw():
            yield from feed.take(chunk)


class Wanderer:
    """A client that loses its connection after any byte, and comes back with the last id that it has.

    Nothing that happens to the front makes it give up: it comes again, as an EventSource does.
    """

    def __init__(self, api: Api, path: str, *, last_id: str | None = None, seed: int) -> None:
        self.events: list[Received] = []
        self.connections = 0
        self._path, self._last_id = path, last_id
        self._dice = random.Random(seed)
        self._client = httpx.Client(base_url=api.url, headers=api.headers)

    def __enter__(self) -> Wanderer:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def come(self, *, seconds: float = 20, is_enough: Callable[[], bool] = lambda: False) -> bool:
        """Read up to some byte; False when there is nothing more, and never will be."""
        return self._read(self._dice.randrange(self._dice.choice([1, 2, 500, 5_000, 200_000])), seconds, is_enough)

    def stay(self, *, seconds: float) -> None:
        """Read on until nothing has come for so long."""
        self._read(sys.maxsize, seconds, lambda: False)

    def _read(self, room: int, seconds: float, is_enough: Callable[[], bool]) -> bool:
        self.connections += 1
        feed = Feed(self._last_id)
        said = {} if self._last_id is None else {"Last-Event-ID": self._last_id}
        try:
            with self._client.stream("GET", self._path, headers=said, timeout=seconds) as response:
                if response.status_code == 204:
                    return False
                assert response.status_code in (200, 503), (response.status_code, response.read())
                for chunk in response.iter_raw() if response.status_code == 200 else ():
                    self.events += (event for event in feed.take(chunk[:room]) if event.name != "closed")
                    room -= len(chunk)
                    if room <= 0 or is_enough():
                        break
        except httpx.TransportError:
            # A front that was killed is not there for a moment.
            time.sleep(0.02)
        finally:
            self._last_id = feed.last_id
        return True


@contextmanager
def streaming(
    api: Api, path: str, *, last_id: str | None = None, seconds: float = 20, **parameters: Any
) -> Iterator[Stream]:
    """Open a stream, as a client that waits for so many seconds at most for the next bytes."""
    headers = {**api.headers, **({"Last-Event-ID": last_id} if last_id is not None else {})}
    with (
        httpx.Client(base_url=api.url, headers=headers, timeout=seconds) as client,
        client.stream("GET", path, params=parameters) as response,
    ):
        assert response.status_code == 200, (response.status_code, response.read())
        yield Stream(response, last_id)


def beginning_of(api: Api) -> str:
    """The id that a tenant's stream has before its first event."""
    with streaming(api, "/events/stream") as stream:
        lines = stream.response.iter_lines()
        return next(line.removeprefix("id: ") for line in lines if line.startswith("id: "))


def stored(db: Any, execution_id: str) -> list[tuple[int, str]]:
    """Number and type of all events of an execution, as the database has them."""
    rows = db.all("select seq, type from flowgres.all_events where execution_id = %s order by seq", execution_id)
    return [(row["seq"], row["type"]) for row in rows]
