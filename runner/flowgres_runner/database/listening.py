"""LISTEN on a connection of its own, straight to PostgreSQL.

A notification is a hint that saves up to a poll of waiting, never a guarantee. The connection proves every 5 s that it
still hears: it notifies itself and must hear that within 4 s, which finds a stopped backend that keepalives cannot see.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable

import psycopg
from psycopg import sql

from flowgres_process.logs import get_logger
from flowgres_runner.database.connection import Backoff, Connection, Deadline, connect
from flowgres_runner.errors import DatabaseError

log = get_logger(__name__)

CHANNEL = "flowgres_work"
PING_SECONDS = 5.0
PING_DEADLINE_SECONDS = 4.0


class Listener:
    """Calls `on_work` for every notification, and after each (re)connection, because some may have been missed."""

    def __init__(self, url: str, on_work: Callable[[], None]) -> None:
        self._url = url
        self._on_work = on_work
        self._ping_channel = f"flowgres_ping_{uuid.uuid4().hex[:12]}"
        self._has_heard = False
        self._deaf_since: float | None = time.monotonic()

    @property
    def deaf_seconds(self) -> float:
        """For how long nothing could be heard, as far as is known; 0 while it listens."""
        return 0.0 if self._deaf_since is None else time.monotonic() - self._deaf_since

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff = Backoff()
        was_lost = False
        while True:
            try:
                connection = await connect(self._url, application_name="flowgres-runner listen", prepare=False)
                try:
                    await self._subscribe(connection)
                    backoff.reset()
                    self._deaf_since = None
                    if was_lost:
                        log.info("listening_resumed")
                        was_lost = False
                    # LISTEN first, then look: what came in between is found by one of the two.
                    self._on_work()
                    await self._listen(connection)
                finally:
                    with contextlib.suppress(Exception):
                        await connection.close()
            except (DatabaseError, psycopg.Error, OSError) as error:
                if not was_lost:
                    log.warning("listening_interrupted", error=" ".join(str(error).split()) or type(error).__name__)
                was_lost = True
                if self._deaf_since is None:
                    self._deaf_since = time.monotonic()
                await asyncio.sleep(backoff.next_seconds())

    async def _subscribe(self, connection: Connection) -> None:
        for channel in (CHANNEL, self._ping_channel):
            await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))

    async def _listen(self, connection: Connection) -> None:
        while True:
            # What arrives during other calls is kept by psycopg for the next loop.
            async for notification in connection.notifies(timeout=PING_SECONDS):
                self._take(notification)
            self._has_heard = False
            with Deadline(connection, PING_DEADLINE_SECONDS):
                await connection.execute("select pg_notify(%s, '')", (self._ping_channel,))
                while not self._has_heard:
                    async for notification in connection.notifies(timeout=0.1):
                        self._take(notification)

    def _take(self, notification: psycopg.Notify) -> None:
        if notification.channel == CHANNEL:
            self._on_work()
        else:
            self._has_heard = True
