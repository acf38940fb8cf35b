"""What the local HTTP peers of `peers` do with a request: one function each, named as the path calls it."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.peers import Peer


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived: `head` holds the exact bytes before the body."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    head: bytes

    def number(self, name: str, default: float) -> float:
        """A number of the query."""
        return float(self.query.get(name, default))


Behaviour = Callable[["Peer", Received, asyncio.StreamWriter], Awaitable[None]]


def answer(
    body: bytes = b"",
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a whole answer."""
    lines = [f"HTTP/1.1 {status} Status"]
    if status not in (204, 304):
        lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def echo(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Give back the body, or without one the request as JSON (for HEAD nothing)."""
    if request.method == "HEAD":
        writer.write(answer())
        return
    if request.body:
        writer.write(answer(request.body, content_type=request.headers.get("content-type", "text/plain")))
        return
    seen = {
        "method": request.method,
        "path": request.path,
        "headers": dict(request.headers),
        "query": dict(request.query),
    }
    writer.write(answer(json.dumps(seen).encode()))


async def delay(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Echo after `seconds`."""
    await asyncio.sleep(request.number("seconds", 0.02))
    await echo(peer, request, writer)


async def status(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """`/status/503?retry_after=2`: that status, with a JSON body that names it."""
    code = int(request.path.split("/")[2])
    headers = {"Retry-After": request.query["retry_after"]} if "retry_after" in request.query else {}
    body = b"" if code in (204, 304) else json.dumps({"status": code}).encode()
    writer.write(answer(body, status=code, headers=headers))


async def flaky(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """`/flaky?n=2`: 503 for the first n requests with the same Idempotency-Key, then an echo."""
    key = request.headers.get("idempotency-key", "")
    if sum(one.headers.get("idempotency-key", "") == key for one in peer.requests) <= request.number("n", 1):
        writer.write(answer(b"{}", status=503))
    else:
        await echo(peer, request, writer)


async def redirect(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """`/redirect?to=URL&status=302`."""
    code = int(request.number("status", 302))
    writer.write(answer(status=code, headers={"Location": request.query["to"]}))


async def loop(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Redirect to itself for ever."""
    writer.write(answer(status=302, headers={"Location": "/loop"}))


async def hang(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Take the request and say nothing."""
    await peer.stopping.wait()


async def drip(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """A body of `total` bytes, `bytes_per_s` at a time, each within any read timeout."""
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % request.number("total", 1e5)
    )
    pause = 1 / request.number("bytes_per_s", 5)
    while not peer.stopping.is_set():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(pause)


async def slow_head(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Headers, a byte at a time, that never end."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not peer.stopping.is_set():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(request.number("pause", 0.05))


async def slow(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """A good body whose second half comes after `seconds`."""
    body = b'{"ok": true}'
    whole = answer(body)
    writer.write(whole[:-6])
    await writer.drain()
    await asyncio.sleep(request.number("seconds", 0.2))
    writer.write(whole[-6:])


async def reset(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Break the connection with a RST after the request."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def cut_chunk(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Close in the middle of a chunk."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nhello")
    await writer.drain()
    writer.close()


async def close(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Close politely, without an answer."""
    writer.close()


async def truncate(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Announce more than is sent."""
    announced, sent = int(request.number("length", 1000)), int(request.number("send", 10))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % announced + b"x" * sent)
    await writer.drain()
    writer.close()


async def garbage(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """No HTTP at all."""
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()
    writer.close()


async def bad_chunk(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """A chunk whose size is no number; with `late=1` after a good one."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    if "late" in request.query:
        writer.write(b"5\r\nhello\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)
    writer.write(b"zz\r\nhello\r\n0\r\n\r\n")
    await writer.drain()
    writer.close()


async def continues(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """100 Continue for ever."""
    while not peer.stopping.is_set():
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)
        await writer.drain()
        await asyncio.sleep(0.001)


async def endless(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """`mb` megabytes of body; with `chunked=1` without saying so before."""
    megabytes = int(request.number("mb", 2000))
    chunked = "chunked" in request.query
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (megabytes << 20)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n" + framing + b"\r\n\r\n")
    block = b"x" * 65536
    frame = b"10000\r\n" + block + b"\r\n" if chunked else block
    for _ in range(megabytes * 16):
        writer.write(frame)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")


async def big_headers(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """`kb` kilobytes of headers, in one header or (`many=1`) in many."""
    size = int(request.number("kb", 2000)) << 10
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
    if "many" in request.query:
        for number in range(size // 1024):
            writer.write(b"X-%d: " % number + b"x" * 1000 + b"\r\n")
            await writer.drain()
    else:
        writer.write(b"X-Long: " + b"x" * size + b"\r\n")
    writer.write(b"\r\n")


async def bomb(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """`mb` megabytes of zeros, gzipped `layers` times, declared as such."""
    layers = int(request.number("layers", 1))
    body = gzip_bomb(megabytes=int(request.number("mb", 300)), layers=layers)
    encoding = ", ".join(["gzip"] * layers)
    writer.write(answer(body, content_type="text/plain", headers={"Content-Encoding": encoding}))


def gzip_bomb(*, megabytes: int, layers: int) -> bytes:
    """Zeros, gzipped; made piecewise, so the bomb does not hurt its maker."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    block = bytes(1 << 20)
    body = b"".join(squeeze.compress(block) for _ in range(megabytes)) + squeeze.flush()
    for _ in range(layers - 1):
        body = gzip.compress(body, 9)
    return body


async def deep(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """JSON nested `n` levels deep."""
    levels = int(request.number("n", 50_000))
    writer.write(answer(b"[" * levels + b"]" * levels))


async def html(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """HTML that is declared as JSON."""
    writer.write(answer(b"<html><body>It works!</body></html>"))


async def raw(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """Answer with the request's own body, under the content type that `type` names."""
    writer.write(answer(request.body, content_type=request.query.get("type", "application/json")))


async def fat(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    """About `mb` megabytes of JSON of a `shape` (see `fat_json`), gzipped if `gzip=1`."""
    body = fat_json(request.query.get("shape", "records"), int(request.number("mb", 5) * (1 << 20)))
    headers = {"Content-Encoding": "gzip"} if "gzip" in request.query else {}
    writer.write(answer(gzip.compress(body, 1) if headers else body, headers=headers))
    await writer.drain()


@lru_cache(maxsize=32)
def fat_json(shape: str, size: int) -> bytes:
    """A JSON list of at most so many bytes: `records` as APIs send them, `numbers`, `texts`, or `empties`."""
    item = {
        "records": b'{"id": 1234567, "name": "Ann Example", "email": "ann@example.com", "tags": ["a", "b"], '
        b'"address": {"street": "Main Street 5", "city": "Springfield"}, "active": true, "score": 17.25}',
        "numbers": b"0.12345678",
        "texts": b'"' + b"lorem ipsum " * 100 + b'"',
        "empties": b"{}",
    }[shape]
    return b"[" + b",".join([item] * ((size - 2) // (len(item) + 1))) + b"]"


BEHAVIOURS: dict[str, Behaviour] = {
    function.__name__: function
    for function in (
        fat, slow_head, echo, delay, status, flaky, redirect, loop, hang, drip, slow, reset, close, truncate, garbage,
        bad_chunk, cut_chunk, continues, endless, big_headers, bomb, deep, html, raw,
    )
}  # fmt: skip
