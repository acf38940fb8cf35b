"""Local HTTP peers, friendly and hostile, over real sockets.

`Peer` is an asyncio server: a request's first path segment names its behaviour, the query its numbers
(`/status/503?retry_after=2`, `/drip?bytes_per_s=5`). A test may give it one fixed behaviour instead. Run as a program
it serves until it is killed and, with `--record FILE`, writes one JSON line per request, on disk before it answers:

    python -m tests.support.peers --port 0 --record /tmp/keys.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from tests.support.behaviours import BEHAVIOURS, Behaviour, Received, answer, echo


@dataclass
class Peer:
    """An HTTP server on a loopback address; use as an async context manager.

    `requests` lists what arrived, `connections` counts accepted ones. `behaviour` overrides the path's. With `record`
    each request is one JSON line in that file, on disk before the answer leaves.
    """

    behaviour: Behaviour | None = None
    host: str = "127.0.0.1"
    port: int = 0
    record: str | None = None
    tls: ssl.SSLContext | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Peer:
        self._tasks: set[asyncio.Task[None]] = set()
        self._record = os.open(self.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if self.record else None
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, backlog=1024, ssl=self.tls, limit=1 << 20
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._record is not None:
            os.close(self._record)

    @property
    def url(self) -> str:
        """The base address, without a slash at the end."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                if self._record is not None:
                    self._write_down(self._record, request)
                behaviour = self.behaviour or BEHAVIOURS.get(request.path.split("/")[1], echo)
                await behaviour(self, request, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            writer.transport.abort()

    def _write_down(self, descriptor: int, request: Received) -> None:
        line = {
            "key": request.headers.get("idempotency-key"),
            "method": request.method,
            "path": request.path,
            "trace": request.headers.get("traceparent"),
        }
        os.write(descriptor, json.dumps(line).encode() + b"\n")
        os.fsync(descriptor)


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("utf-8", "replace").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join([chunk async for chunk in _chunks(reader)])
    method, address, _ = first.split(" ", 2)
    parts = urlsplit(address)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return Received(method, parts.path, query, headers, body, head)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()


@contextlib.contextmanager
def serving(behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """A peer in a thread, for tests that wait for other programs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    peer = Peer(behaviour=behaviour, tls=tls)
    asyncio.run_coroutine_threadsafe(peer.__aenter__(), loop).result(10)
    try:
        yield peer
    finally:
        asyncio.run_coroutine_threadsafe(peer.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Listener:
    """A TCP port that accepts and stays silent after its `greeting` (a TLS handshake hangs), and counts who came.

    With `also_ipv6` the same port listens on ::1 too, where the machine has it.
    """

    def __init__(self, host: str = "127.0.0.1", *, also_ipv6: bool = False, greeting: bytes = b"") -> None:
        self.host = host
        self.greeting = greeting
        self.connections = 0
        self._also_ipv6 = also_ipv6

    async def __aenter__(self) -> Listener:
        self._writers: list[asyncio.StreamWriter] = []
        self._servers = [await asyncio.start_server(self._accept, self.host, 0)]
        self.port: int = self._servers[0].sockets[0].getsockname()[1]
        if self._also_ipv6:
            with contextlib.suppress(OSError):
                self._servers.append(await asyncio.start_server(self._accept, "::1", self.port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        writer.write(self.greeting)


@contextlib.contextmanager
def blackhole(host: str = "127.0.0.1") -> Iterator[int]:
    """A port whose accept queue is full, so that further connections hang in the handshake."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


class FastEcho(asyncio.Protocol):
    """An echo server that costs little, for benchmarks: POST bodies come back as JSON after `delay_seconds`."""

    delay_seconds = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"\r\ncontent-length:")
            length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length] or b"{}"
            self._buffer = self._buffer[end + 4 + length :]
            if self.delay_seconds:
                asyncio.get_running_loop().call_later(self.delay_seconds, self._reply, body)
            else:
                self._reply(body)

    def _reply(self, body: bytes) -> None:
        if isinstance(self._transport, asyncio.WriteTransport) and not self._transport.is_closing():
            self._transport.write(answer(body))


async def _serve(arguments: argparse.Namespace) -> None:
    if arguments.fast:
        FastEcho.delay_seconds = arguments.delay
        loop_ = asyncio.get_running_loop()
        server = await loop_.create_server(FastEcho, "127.0.0.1", arguments.port, backlog=1024)
        sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve_forever()
    async with Peer(port=arguments.port, record=arguments.record) as peer:
        sys.stdout.write(f"{peer.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Serve until killed; the address is the first line on standard output."""
    parser = argparse.ArgumentParser(description="A local HTTP peer for tests")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--record", help="file that gets one JSON line per request")
    parser.add_argument("--fast", action="store_true", help="echo only, as cheap as can be")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before an answer, with --fast")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
