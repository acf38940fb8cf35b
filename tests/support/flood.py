"""Many clients at once that mean no good, in a process of their own: `python -m tests.support.flood URL KIND CLIENTS`.

Each client does the same over and over, on a new connection each time, until the process is stopped. Real ones have
machines of their own: this process gives way to all others, so that its work is not taken for the front's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

MIB = 1 << 20
OBJECTS = b"[" + b",".join([b"{}"] * (MIB // 3 - 1)) + b"]"
_STEP = "  - id: s{n}\n    type: transform\n    config: {{expression: '{{{{{{{{ input.x + {n} }}}}}}}}'}}\n"
STEPS = "".join(_STEP.format(n=n) for n in range(12_000))
DEFINITION = f"name: flood\nsteps:\n{STEPS}".encode()[:MIB]
KEY_VARIABLE = "FLOOD_KEY"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Client = Callable[[Streams], Awaitable[None]]


def head(method: str, path: str, *lines: str) -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: front", *lines, "", ""]).encode()


async def send(streams: Streams, data: bytes) -> None:
    """Send, and read whatever comes back to the end of its first part."""
    reader, writer = streams
    writer.write(data)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    await reader.read(65_536)


async def objects(streams: Streams) -> None:
    """A megabyte of small objects where a key is expected."""
    await send(streams, head("POST", "/token", f"Content-Length: {len(OBJECTS)}") + OBJECTS)


async def small_objects(streams: Streams) -> None:
    """As many objects as the route takes bytes."""
    body = b"[" + b",".join([b"{}"] * 1300) + b"]"
    await send(streams, head("POST", "/token", f"Content-Length: {len(body)}") + body)


async def chunks(streams: Streams) -> None:
    """The same in pieces, without a word of how much it will be."""
    pieces = b"".join(b"10000\r\n" + OBJECTS[at : at + 65_536] + b"\r\n" for at in range(0, MIB - 65_536, 65_536))
    await send(streams, head("POST", "/token", "Transfer-Encoding: chunked") + pieces)


async def forged_keys(streams: Streams) -> None:
    """Keys that have the form of one, and a body after them."""
    key = f"fg_live_{random.randbytes(16).hex()}_{random.randbytes(32).hex()}"
    await send(streams, head("PUT", "/secrets/X", f"X-API-Key: {key}", f"Content-Length: {len(OBJECTS)}") + OBJECTS)


async def health(streams: Streams) -> None:
    """What anybody may ask."""
    await send(streams, head("GET", "/health"))


async def slow_heads(streams: Streams) -> None:
    """A head that comes byte by byte."""
    await drip(streams, head("POST", "/token", "X-Long: " + "x" * 4096))


async def slow_bodies(streams: Streams) -> None:
    """A body that comes byte by byte."""
    streams[1].write(head("POST", "/token", "Content-Length: 4000"))
    await drip(streams, b" " * 4000)


async def silence(streams: Streams) -> None:
    """Nothing at all."""
    await streams[0].read(1)


async def imports(streams: Streams) -> None:
    """A tenant's imports, each as large as one may be."""
    key = os.environ[KEY_VARIABLE]
    lines = (f"X-API-Key: {key}", "Content-Type: application/yaml", f"Content-Length: {len(DEFINITION)}")
    await send(streams, head("POST", "/workflows", *lines) + DEFINITION)


async def drip(streams: Streams, data: bytes) -> None:
    """A byte a second, until the other side has had enough."""
    reader, writer = streams
    closed = asyncio.create_task(reader.read())
    for at in range(len(data)):
        if closed.done():
            break
        writer.write(data[at : at + 1])
        await asyncio.wait([closed], timeout=1)
    await closed


KINDS: dict[str, Client] = {
    client.__name__: client
    for client in (objects, small_objects, chunks, forged_keys, health, slow_heads, slow_bodies, silence, imports)
}


@asynccontextmanager
async def connected(host: str, port: int) -> AsyncIterator[Streams]:
    """A connection for one round."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def go_on(host: str, port: int, client: Client) -> None:
    """One client, for ever."""
    while True:
        try:
            async with connected(host, port) as streams:
                await client(streams)
        except OSError:
            await asyncio.sleep(0.01)


async def main(url: str, kind: str, count: int) -> None:
    """So many clients of one kind, until the process is stopped."""
    os.nice(19)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    address = urlsplit(url)
    clients = [go_on(str(address.hostname), int(address.port or 80), KINDS[kind]) for _ in range(count)]
    await asyncio.gather(*clients)


@contextmanager
def flooding(url: str, kind: str, clients: int, *, key: str = "") -> Iterator[None]:
    """A flood while the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.flood", json.dumps([url, kind, clients])],
        env={**os.environ, KEY_VARIABLE: key},
    )
    try:
        yield
        assert process.poll() is None, "the flood ended by itself"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(main(*json.loads(sys.argv[1])))
