"""Server-Sent Events over HTTP: what is there, then what comes, until the end or until the client is gone.

Nothing waits in a queue for a client. What comes next is fetched when the former has left, a comment every 15 seconds
shows that the line stands, and a client that takes nothing for 20 seconds is cut off (`FrontSettings.stream_...`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from flowgres_front.problems import Problem, from_database
from flowgres_front.settings import FrontSettings
from flowgres_front.streams.sources import Source, Turn
from flowgres_front.streams.topics import Event
from flowgres_front.streams.watcher import TROUBLES, Watcher, is_refusal
from flowgres_front.visits import Visit
from flowgres_process.logs import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "text/event-stream"
_EVENTS_AT_ONCE = 64
_CHUNK_BYTES = 16 << 10
_RETRY_MILLISECONDS = 1000
_TROUBLE_PAUSE_SECONDS = 1.0
_QUICK_SECONDS = 0.5
FIRST_PAGE_EVENTS = 50
FEWEST_PAGE_EVENTS = 20
MOST_PAGE_EVENTS = 1000


class _Closed(Exception):
    """The stream ends here, with a word to the client about why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class EventStream(Response):
    """The answer that goes on. `holding` is given back when it ends; `first` was read before it began.

    `place` is where what comes behind `first` stands in the topic; None when that is yet to be read.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        source: Source,
        turn: Turn,
        *,
        settings: FrontSettings,
        watcher: Watcher,
        visit: Visit,
        holding: AsyncExitStack,
        first: Sequence[Event],
        place: int | None,
        expires_at: float | None,
    ) -> None:
        # A proxy in between is not to wait for the end.
        super().__init__(headers={"X-Accel-Buffering": "no"}, media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self._source = source
        self._turn = turn
        self._settings = settings
        self._watcher = watcher
        self._visit = visit
        self._holding = holding
        self._first = first
        self._place = place
        self._expires_at = expires_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._holding:
            self._visit.stream()
            writing = asyncio.create_task(self._write(send))
            leaving = asyncio.create_task(_leave(receive))
            try:
                await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if writing.done() and isinstance(writing.exception(), TimeoutError):
                    log.info("slow_reader_cut", path=scope["path"][:200])
                    self._visit.cut()
                    # uvicorn has to see that before this is over.
                    await asyncio.wait({leaving}, timeout=1)
                elif writing.done():
                    writing.result()
            finally:
                for task in (writing, leaving):
                    task.cancel()
                await asyncio.gather(writing, leaving, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        await self._send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._say(send, f"retry: {_RETRY_MILLISECONDS}\n\n".encode())
        try:
            await self._send_events(send, self._first)
            # Not before: it stands behind them, and a client may be cut off anywhere.
            if self._source.mark is not None:
                await self._say(send, f"{self._mark()}\n".encode())
            await self._follow(send)
        except _Closed as closed:
            data = json.dumps({"type": "closed", "code": closed.code, "message": closed.message})
            await self._say(send, f"event: closed\ndata: {data}\n\n".encode())
        await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, send: Send) -> None:
        """Send all that comes, until there is nothing more to come."""
        source, topic, news = self._source, self._source.topic, self._source.subscriber.news
        clock, settings = asyncio.get_running_loop().time, self._settings
        place = self._place
        renewed_at = spoken_at = clock()
        while True:
            news.clear()
            # What it has yet to take may have given way to what came after.
            if place is None or place < topic.first:
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
            if clock() - renewed_at >= settings.stream_check_seconds:
                await self._renew()
                renewed_at = clock()
            if clock() - spoken_at >= settings.stream_heartbeat_seconds:
                await self._say(send, f": still here\n{self._mark()}\n".encode())
                spoken_at = clock()
            if place == topic.end:
                until = min(
                    spoken_at + settings.stream_heartbeat_seconds,
                    renewed_at + settings.stream_check_seconds,
                    clock() + self._lifetime(),
                )
                await _wait(news, until - clock())

    async def _catch_up(self, send: Send) -> int:
        """Read from the database until the topic has what comes next; returns its place in the topic."""
        clock = asyncio.get_running_loop().time
        size = FIRST_PAGE_EVENTS
        while True:
            page = None
            try:
                async with self._turn() as caller:
                    page = await self._source.page(caller, size)
            except (*TROUBLES, Problem) as error:
                # What was read is good, whatever became of its transaction; and the source will not read it again.
                if page is None:
                    await self._get_over(error)
                    continue
            events, place = page
            began = clock()
            await self._send_events(send, events)
            # A page is in memory until it was taken: who is slow gets less at a time, and who is quick more.
            size = min(2 * size, MOST_PAGE_EVENTS) if clock() - began < _QUICK_SECONDS else FEWEST_PAGE_EVENTS
            if place is not None:
                return place

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

    def _mark(self) -> str:
        """A line that tells the client how far it is, where events alone do not."""
        mark = self._source.mark
        return "" if mark is None else f"id: {mark}\n"

    def _lifetime(self) -> float:
        """Seconds for which the token is good."""
        return float("inf") if self._expires_at is None else self._expires_at - time.time()

    async def _say(self, send: Send, body: bytes) -> None:
        await self._send(send, {"type": "http.response.body", "body": body, "more_body": True})

    async def _send(self, send: Send, message: Message) -> None:
        """Write, once what was written before has left. Raises TimeoutError when it does not."""
        async with asyncio.timeout(self._settings.stream_stall_seconds):
            await send(message)

    async def _send_events(self, send: Send, events: Sequence[Event]) -> None:
        """Write them some kilobytes at a time."""
        chunk = bytearray()
        for event in events:
            chunk += event.encode()
            if len(chunk) >= _CHUNK_BYTES:
                await self._say(send, bytes(chunk))
                chunk.clear()
        if chunk:
            await self._say(send, bytes(chunk))


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
