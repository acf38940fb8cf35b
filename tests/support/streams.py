"""A client of the front's streams: real sockets, Server-Sent Events as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


class Stream:
    """An open stream; `last_id` is what a client would send when it comes back."""

    def __init__(self, response: httpx.Response, last_id: str | None) -> None:
        self.response = response
        self.last_id = last_id
        self.comments = 0
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[Received]:
        name, data, seen_id = "message", "", self.last_id
        for line in self._lines:
            if line == "":
                self.last_id = seen_id
                if data:
                    yield Received(seen_id or "", name, json.loads(data))
                name, data = "message", ""
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "":
                self.comments += 1
            elif field == "id":
                seen_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data += value

    def take(self, count: int) -> list[Received]:
        """The next so many events."""
        events = iter(self)
        return [next(events) for _ in range(count)]


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


def stored(db: Any, execution_id: str) -> list[tuple[int, str]]:
    """Number and type of all events of an execution, as the database has them."""
    rows = db.all("select seq, type from flowgres.all_events where execution_id = %s order by seq", execution_id)
    return [(row["seq"], row["type"]) for row in rows]
