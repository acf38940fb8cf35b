"""A load that comes whether it is answered or not: so many requests a second, each timed from when it was due.

A generator that waits for answers would wait with its next request as well, and hide what a slow one costs the others.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.benchmarks.load import END_OF_HEAD, Load, is_whole


class _Connection(asyncio.Protocol):
    """One connection that is handed requests, one at a time."""

    def __init__(self, steady: _Steady) -> None:
        self._steady = steady
        self._buffer = b""
        self._due_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._steady.idle.append(self)

    def send(self, request: bytes, due_at: float) -> None:
        self._due_at = due_at
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if is_whole(self._buffer):
            answer, self._buffer = self._buffer, b""
            self._steady.answered(self, answer, self._due_at)

    def connection_lost(self, exc: Exception | None) -> None:
        self._steady.fail(f"the connection was closed: {exc}")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Steady:
    def __init__(self) -> None:
        self.idle: deque[_Connection] = deque()
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.milliseconds: list[float] = []
        self.is_over = False
        self.trouble = ""

    def send(self, request: bytes, due_at: float) -> None:
        if self.idle:
            self.idle.popleft().send(request, due_at)
        else:
            self.waiting.append((request, due_at))

    def answered(self, connection: _Connection, answer: bytes, due_at: float) -> None:
        if answer[9:10] != b"2":
            self.fail(f"answered {answer[:400].decode(errors='replace')}")
        self.milliseconds.append((time.perf_counter() - due_at) * 1000)
        if self.waiting:
            connection.send(*self.waiting.popleft())
        else:
            self.idle.append(connection)

    def fail(self, reason: str) -> None:
        if not self.is_over:
            self.trouble = self.trouble or reason


def post_steadily(
    url: str,
    body: bytes,
    headers: Callable[[int], dict[str, str]],
    *,
    per_second: float,
    seconds: float,
    connections: int,
) -> Load:
    """POST `body` so often, with the headers of the request's number, and wait for all answers.

    Raises RuntimeError when one was not 2xx, or when they did not come within half a minute.
    """
    return asyncio.run(_post_steadily(url, body, headers, per_second, seconds, connections))


async def _post_steadily(
    url: str, body: bytes, headers: Callable[[int], dict[str, str]], per_second: float, seconds: float, connections: int
) -> Load:
    loop = asyncio.get_running_loop()
    address = urlsplit(url)
    steady = _Steady()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: _Connection(steady), str(address.hostname), address.port or 80)
        clients.append(client)
    count = int(per_second * seconds)
    began = time.perf_counter()
    for number in range(count):
        due_at = began + number / per_second
        if (wait := due_at - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        lines = [f"POST {address.path} HTTP/1.1", f"Host: {address.netloc}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers(number).items()]
        steady.send("\r\n".join(lines).encode() + END_OF_HEAD + body, due_at)
        if steady.trouble:
            break
    deadline = time.perf_counter() + 30
    while len(steady.milliseconds) < count and not steady.trouble and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    elapsed = time.perf_counter() - began
    steady.is_over = True
    for client in clients:
        client.close()
    if steady.trouble or len(steady.milliseconds) < count:
        raise RuntimeError(steady.trouble or f"{len(steady.milliseconds)} of {count} requests were answered")
    return Load(per_second=count / elapsed, milliseconds=steady.milliseconds)
