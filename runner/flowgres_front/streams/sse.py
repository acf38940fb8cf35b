"""Server-Sent Events over HTTP: what is there, then what comes, until the end or until the client is gone.

Nothing waits in a queue for a client. What comes next is fetched when the former has left, a comment every 15 seconds
shows that the line stands, and a client that takes nothing for 20 seconds is cut off.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flowgres_front.problems import Problem, from_database
from flowgres_front.streams.sources import Source, Turn
from flowgres_front.streams.topics import Event
from flowgres_front.streams.watcher import TROUBLES, Watcher, is_refusal
from flowgres_front.visits import Visit
from flowgres_process.logs import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "text/event-stream"
HEARTBEAT_SECONDS = 15.0
STALL_SECONDS = 20.0
RENEW_SECONDS = 60.0
_EVENTS_AT_ONCE = 64
_RETRY_MILLISECONDS = 1000
_TROUBLE_PAUSE_SECONDS = 1.0


class _Closed(Exception):
    """The stream ends here, with a word to the client about why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class EventStream(Response):
    """The answer that goes on. `holding` is given back when it ends; `first` was read before it began."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        source: Source,
        turn: Turn,
        *,
        watcher: Watcher,
        visit: Visit,
        holding: AsyncExitStack,
        first: Sequence[Event],
        has_caught_up: bool,
        expires_at: float | None,
    ) -> None:
        # A proxy in between is not to wait for the end.
        super().__init__(headers={"X-Accel-Buffering": "no"}, media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self._source = source
        self._turn = turn
        self._watcher = watcher
        self._visit = visit
        self._holding = holding
        self._first = first
        self._has_caught_up = has_caught_up
        self._expires_at = expires_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._holding:
            self._visit.stream()
            writing = asyncio.create_task(self._write(send))
            leaving = asyncio.create_task(_leave(receive))
            try:
                await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (writing, leaving):
                    task.cancel()
                results = await asyncio.gather(writing, leaving, return_exceptions=True)
            error = results[0]
            if isinstance(error, TimeoutError):
                log.info("slow_reader_cut", path=scope["path"][:200])
                self._visit.cut()
            elif isinstance(error, Exception):
                raise error

    async def _write(self, send: Send) -> None:
        async with asyncio.timeout(STALL_SECONDS):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        mark = self._source.mark
        await _send(send, (f"retry: {_RETRY_MILLISECONDS}\n" + (f"id: {mark}\n" if mark else "") + "\n").encode())
        try:
            await self._send_events(send, self._first)
            await self._follow(send)
        except _Closed as closed:
            data = json.dumps({"type": "closed", "code": closed.code, "message": closed.message})
            await _send(send, f"event: closed\ndata: {data}\n\n".encode())
        async with asyncio.timeout(STALL_SECONDS):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, send: Send) -> None:
        """Send all that comes, until there is nothing more to come."""
        source, topic, news = self._source, self._source.topic, self._source.subscriber.news
        clock = asyncio.get_running_loop().time
        place = topic.first
        renewed_at = spoken_at = clock()
        while True:
            news.clear()
            if not self._has_caught_up or place < topic.first:
                place = await self._catch_up(send)
                spoken_at = clock()
            events = topic.since(place, _EVENTS_AT_ONCE)
            place += len(events)
            taken = source.take(events)
            if taken:
                await self._send_events(send, taken)
                spoken_at = clock()
            if source.has_ended:
                return
            self._check()
            if clock() - renewed_at >= RENEW_SECONDS:
                await self._renew()
                renewed_at = clock()
            if clock() - spoken_at >= HEARTBEAT_SECONDS:
                await _send(send, (": still here\n" + (f"id: {source.mark}\n" if source.mark else "") + "\n").encode())
                spoken_at = clock()
            if place == topic.end:
                until = min(spoken_at + HEARTBEAT_SECONDS, renewed_at + RENEW_SECONDS, clock() + self._lifetime())
                await _wait(news, until - clock())

    async def _catch_up(self, send: Send) -> int:
        """Read from the database until the topic has what comes next; returns its place in the topic."""
        topic = self._source.topic
        while True:
            # All that is in the topic by now was read before the page is, so the page has it as well.
            end = topic.end
            try:
                async with self._turn() as caller:
                    events, is_last = await self._source.page(caller)
            except (*TROUBLES, Problem) as error:
                await self._get_over(error)
                continue
            await self._send_events(send, events)
            if is_last and topic.first <= end:
                self._has_caught_up = True
                return topic.first

    async def _renew(self) -> None:
        try:
            async with self._turn() as caller:
                await self._source.renew(caller)
        except (*TROUBLES, Problem) as error:
            await self._get_over(error)

    async def _get_over(self, error: Exception) -> None:
        """A database that is away for a while comes back; credentials that it refuses do not."""
        problem = error if isinstance(error, Problem) else from_database(error)
        if is_refusal(error) or problem.status == 404:
            raise _Closed(problem.code, problem.detail) from error
        self._check()
        await asyncio.sleep(_TROUBLE_PAUSE_SECONDS)

    def _check(self) -> None:
        if self._watcher.is_closed:
            raise _Closed("front_stopping", "the front is about to stop; come back with Last-Event-ID")
        if self._lifetime() <= 0:
            raise _Closed("token_expired", "the token has expired; come back with another, and Last-Event-ID")
        if self._source.subscriber.is_refused:
            raise _Closed("invalid_credentials", "the credentials are no longer valid")

    def _lifetime(self) -> float:
        """Seconds for which the token is good."""
        return float("inf") if self._expires_at is None else self._expires_at - time.time()

    async def _send_events(self, send: Send, events: Sequence[Event]) -> None:
        for start in range(0, len(events), _EVENTS_AT_ONCE):
            await _send(send, b"".join(event.encode() for event in events[start : start + _EVENTS_AT_ONCE]))


async def _send(send: Send, body: bytes) -> None:
    """Write, once what was written before has left."""
    async with asyncio.timeout(STALL_SECONDS):
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await news.wait()
    except TimeoutError:
        pass


async def _leave(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
