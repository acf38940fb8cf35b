"""A small load generator: one request over and over, on keep-alive connections, as cheap as Python can be.

It shares the machine with what it measures, so it parses no more of an answer than its status and where it ends.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

END_OF_HEAD = b"\r\n\r\n"
END_OF_CHUNKS = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Load:
    """What a load did: requests per second, and the milliseconds that each took."""

    per_second: float
    milliseconds: list[float]


class _Client(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, request: bytes, milliseconds: list[float], failed: asyncio.Future[None]) -> None:
        self._request = request
        self._milliseconds = milliseconds
        self._failed = failed
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.is_stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not is_whole(self._buffer):
            return
        answer, self._buffer = self._buffer, b""
        if answer[9:10] != b"2":
            self._fail(f"answered {answer[:400].decode(errors='replace')}")
            return
        self._milliseconds.append((time.perf_counter() - self._sent_at) * 1000)
        if not self.is_stopping:
            self._send()
        elif self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_stopping:
            self._fail(f"the connection was closed: {exc}")

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        assert self._transport is not None
        self._transport.write(self._request)

    def _fail(self, reason: str) -> None:
        if not self._failed.done():
            self._failed.set_exception(RuntimeError(reason))


def post_repeatedly(
    url: str, body: Any, *, headers: dict[str, str], connections: int, seconds: float, warm_up_seconds: float = 0.5
) -> Load:
    """POST `body` on that many connections for so long; raises RuntimeError at the first answer that is not 2xx."""
    return asyncio.run(_post_repeatedly(url, body, headers, connections, seconds, warm_up_seconds))


async def _post_repeatedly(
    url: str, body: Any, headers: dict[str, str], connections: int, seconds: float, warm_up_seconds: float
) -> Load:
    loop = asyncio.get_running_loop()
    address = urlsplit(url)
    content = json.dumps(body).encode()
    lines = [
        f"POST {address.path} HTTP/1.1",
        f"Host: {address.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    request = "\r\n".join(lines).encode() + END_OF_HEAD + content
    milliseconds: list[float] = []
    failed: asyncio.Future[None] = loop.create_future()
    clients: list[_Client] = []
    try:
        for _ in range(connections):
            _, client = await loop.create_connection(
                lambda: _Client(request, milliseconds, failed), str(address.hostname), address.port or 80
            )
            clients.append(client)
        await asyncio.wait([failed], timeout=warm_up_seconds)
        milliseconds.clear()
        began = time.perf_counter()
        await asyncio.wait([failed], timeout=seconds)
        elapsed = time.perf_counter() - began
        measured = list(milliseconds)
    finally:
        for client in clients:
            client.is_stopping = True
    if failed.done():
        failed.result()
    return Load(per_second=len(measured) / elapsed, milliseconds=measured)


def is_whole(answer: bytes) -> bool:
    """Tell whether the bytes are a whole answer: by its length, or by its last chunk."""
    end = answer.find(END_OF_HEAD)
    if end < 0:
        return False
    head = answer[: end + 2].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        return len(answer) >= end + len(END_OF_HEAD) + int(head[at + 17 : head.index(b"\r\n", at + 17)])
    if b"\r\ntransfer-encoding: chunked" in head:
        return answer.endswith((END_OF_CHUNKS, END_OF_HEAD + b"0\r\n\r\n"))
    return True
