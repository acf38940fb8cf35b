"""A pooler before a real PostgreSQL that gives each transaction the next of its sessions, as PgBouncer can.

Logins go through to the server, each making one session more; from then on sessions belong to nobody.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_NO_TLS_REQUESTS = (80877103, 80877104)
_CANCEL = 80877102
_ASKS_FOR_MORE = (3, 5, 10, 11)
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def pooling(*, host: str, port: int) -> Iterator[int]:
    """Run a pooler before the server; gives its port."""
    loop = asyncio.new_event_loop()
    pooler = _Pooler(host, port)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(pooler.open(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(pooler.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Pooler:
    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._pools: dict[bytes, asyncio.Queue[Ends]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            startup = await self._startup(reader, writer)
            if startup is not None and await self._login(startup, (reader, writer)):
                await self._transactions((reader, writer), self._pools[_who(startup)])
        writer.close()
        self._tasks.discard(task)

    async def _startup(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        while True:
            head = await reader.readexactly(8)
            length, code = struct.unpack("!II", head)
            body = await reader.readexactly(length - 8)
            if code == _CANCEL:
                return None
            if code not in _NO_TLS_REQUESTS:
                return head + body
            writer.write(b"N")

    async def _login(self, startup: bytes, client: Ends) -> bool:
        session = await asyncio.open_connection(*self._address)
        self._writers.add(session[1])
        session[1].write(startup)
        while True:
            kind, body = await _message(session[0])
            if kind == b"K":
                # As poolers do: the process that it names is none.
                body = secrets.token_bytes(len(body))
            client[1].write(kind + struct.pack("!I", len(body) + 4) + body)
            if kind == b"E":
                return False
            if kind == b"R" and struct.unpack("!I", body[:4])[0] in _ASKS_FOR_MORE:
                kind, body = await _message(client[0])
                session[1].write(kind + struct.pack("!I", len(body) + 4) + body)
            elif kind == b"Z":
                self._pools.setdefault(_who(startup), asyncio.Queue()).put_nowait(session)
                return True

    async def _transactions(self, client: Ends, pool: asyncio.Queue[Ends]) -> None:
        """Take a session for each transaction, and give it back at the end."""
        while True:
            kind, body = await _message(client[0])
            if kind == b"X":
                return
            session = await pool.get()
            answers = asyncio.create_task(self._answers(session, client))
            while True:
                session[1].write(kind + struct.pack("!I", len(body) + 4) + body)
                if kind in (b"Q", b"S"):
                    if await answers:
                        break
                    answers = asyncio.create_task(self._answers(session, client))
                kind, body = await _message(client[0])
            pool.put_nowait(session)

    async def _answers(self, session: Ends, client: Ends) -> bool:
        """Pass answers on until the server is ready; tell whether it is in no transaction."""
        while True:
            kind, body = await _message(session[0])
            client[1].write(kind + struct.pack("!I", len(body) + 4) + body)
            if kind == b"Z":
                return body == b"I"


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    (length,) = struct.unpack("!I", await reader.readexactly(4))
    return kind, await reader.readexactly(length - 4)


def _who(startup: bytes) -> bytes:
    """User and database of a startup message, whose other parameters may differ."""
    words = startup[8:].split(b"\0")
    parameters = dict(zip(words[::2], words[1::2], strict=False))
    return parameters.get(b"user", b"") + b"/" + parameters.get(b"database", b"")
