"""Connections: how many there are, how long a client may take, and which give way when there are too many.

A client that is slow, or says nothing, costs a slot and no more: the head of a request has to arrive in time (408) and
be of a sensible size (431), an answer has to be taken in time, and what a client goes on sending after it was refused
is not read for ever. When all slots are taken, a newcomer gets that of the connection that has waited longest without
having shown who it is; so a flood of connections pushes out itself.

Each connection is a shell around uvicorn's protocol for one connection; it knows nothing of its insides. `Visits`
(in `visits.py`) tells the shell when a request has arrived and when it was answered.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Protocol, cast

from flowgres_front.problems import MEDIA_TYPE, Problem

MAX_HEAD_BYTES = 16 << 10
_READ_BYTES = 16 << 10
"""Read at once of a body that is waited for."""
_HEAD_READ_BYTES = 2 << 10
"""Of a head, which may have a body behind it: it stays in memory for as long as a stranger waits for the answer."""
_STREAM_BUFFER_BYTES = 16 << 10
_STREAM_KERNEL_BYTES = 64 << 10
"""Left to itself, the system would keep megabytes for a client that takes nothing."""
MAX_DRAINED_BYTES = 64 << 10
"""Of a body that nobody wanted; who has sent more has to open another connection."""
_DRAIN_SECONDS = 2.0
_CLOSE_SECONDS = 5.0

Client = tuple[str, int]


class _HttpProtocol(Protocol):
    """What uvicorn makes for each connection."""

    def __call__(
        self, *, config: Any, server_state: Any, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None
    ) -> asyncio.Protocol: ...


class _Phase(Enum):
    """What a connection is waiting for."""

    HEAD = auto()
    ANSWER = auto()
    NEXT = auto()
    DRAIN = auto()


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for the head of a request, for all until its answer has left, and between two requests."""

    head_seconds: float = 10.0
    answer_seconds: float = 120.0
    idle_seconds: float = 20.0


class Connections:
    """All connections of one front."""

    def __init__(self, http: _HttpProtocol, *, most: int, patience: Patience) -> None:
        self._http = http
        self._most = most
        self.patience = patience
        self.buffer = memoryview(bytearray(_READ_BYTES))
        self._open: dict[Client | None, Connection] = {}
        # Those that may give way, the longest waiting first: of strangers, and of callers that have shown who they are.
        self._strangers: OrderedDict[Connection, None] = OrderedDict()
        self._proven: OrderedDict[Connection, None] = OrderedDict()

    def accept(
        self,
        *,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """Make the protocol of a new connection; uvicorn calls this as it would call its own."""
        inner = self._http(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        return Connection(self, inner)

    def of(self, client: Client | None) -> Connection | None:
        """The connection that a request came from."""
        return self._open.get(client)

    def admit(self, connection: Connection) -> bool:
        """Take a slot, if need be from a connection that only waits; False when all are at work."""
        if len(self._open) >= self._most:
            for waiting in (self._strangers, self._proven):
                if waiting:
                    next(iter(waiting)).abort()
                    break
            else:
                return False
        self._open[connection.client] = connection
        return True

    def remove(self, connection: Connection) -> None:
        """It is gone; twice is no error."""
        self.keep(connection)
        if self._open.get(connection.client) is connection:
            del self._open[connection.client]

    def spare(self, connection: Connection) -> None:
        """It only waits now, and may give way to others."""
        self.keep(connection)
        (self._proven if connection.is_proven else self._strangers)[connection] = None

    def keep(self, connection: Connection) -> None:
        """It has something under way, and may not."""
        self._strangers.pop(connection, None)
        self._proven.pop(connection, None)


class Connection(asyncio.BufferedProtocol):
    """One connection: passes everything on to uvicorn's protocol, with a clock beside it."""

    def __init__(self, connections: Connections, inner: asyncio.Protocol) -> None:
        self.client: Client | None = None
        self.is_proven = False
        self._connections = connections
        self._inner = inner
        self._is_admitted = False
        self._transport: asyncio.Transport | None = None
        self._phase = _Phase.HEAD
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None
        self._turn: asyncio.Future[None] | None = None
        self._is_last = False

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        self._is_admitted = self._connections.admit(self)
        if not self._is_admitted:
            self._refuse(
                Problem(503, "front_busy", "the front has all the connections that it can have", hint="Later.")
            )
            return
        self._inner.connection_made(_Lingering(self._transport, self._end))
        self._enter(_Phase.HEAD, self._connections.patience.head_seconds)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        buffer = self._connections.buffer
        return buffer if self._phase is _Phase.ANSWER else buffer[:_HEAD_READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        if not self._is_admitted:
            return
        if self._phase is _Phase.NEXT:
            self._enter(_Phase.HEAD, self._connections.patience.head_seconds)
        self._received += nbytes
        data = bytes(self._connections.buffer[:nbytes])
        if self._phase is _Phase.HEAD and self._received - nbytes >= MAX_HEAD_BYTES:
            self._refuse(
                Problem(431, "headers_too_large", f"the head of the request has more than {MAX_HEAD_BYTES} bytes")
            )
        elif self._phase is _Phase.DRAIN and self._received > MAX_DRAINED_BYTES:
            # The answer has left; a client that does not look at it will see the connection end.
            self._pause()
        elif not (self._phase is _Phase.DRAIN and self._is_last):
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._is_admitted else None

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_timer(None)
        self._connections.remove(self)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)  # nobody waits for the answer
        if self._is_admitted:
            self._inner.connection_lost(exc)

    # The application tells of these.

    def request_arrived(self) -> None:
        """The head of a request is here, and somebody looks at it: nothing more is read until a body is wanted."""
        self._phase = _Phase.ANSWER
        self._pause()
        self._connections.keep(self)
        self._set_timer(self._connections.patience.answer_seconds)

    def body_wanted(self) -> None:
        """Somebody waits for a piece of the body."""
        self._resume()

    def body_taken(self) -> None:
        """They have it; the next is not read before it is wanted, so that a refused body takes no memory."""
        if self._phase is _Phase.ANSWER:
            self._pause()

    def request_answered(self, *, is_proven: bool, has_body_left: bool) -> None:
        """All of the answer was written; perhaps not all of the request was read."""
        self.is_proven = self.is_proven or is_proven
        self._resume()
        if has_body_left:
            self._enter(_Phase.DRAIN, _DRAIN_SECONDS)
        else:
            self._enter(_Phase.NEXT, self._connections.patience.idle_seconds)

    def answer_last(self) -> None:
        """The answer says that it is the last: more of the request may be on its way than is read.

        What is not read when a connection is closed takes the answer with it, and whoever had this connection kept, as
        proxies do, would send the next request on it in vain.
        """
        self._is_last = True

    def may_take(self, seconds: float) -> None:
        """The answer takes so much longer than another would."""
        self._set_timer(self._connections.patience.answer_seconds + seconds)

    def stream(self) -> None:
        """The answer has no end in sight; whoever writes it watches how it is taken, and little of it waits here."""
        self._set_timer(None)
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=_STREAM_BUFFER_BYTES)
            connected = self._transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STREAM_KERNEL_BYTES)

    def wait_for(self, turn: asyncio.Future[None]) -> None:
        """The answer is decided and holds nothing; it only waits for its turn, and may give way to others."""
        self._turn = turn
        self._connections.spare(self)

    def abort(self) -> None:
        """End it at once, with whatever is under way."""
        self._connections.remove(self)
        if self._transport is not None:
            self._transport.abort()

    def _enter(self, phase: _Phase, seconds: float) -> None:
        self._phase = phase
        self._received = 0
        self._connections.spare(self)
        self._set_timer(seconds)

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        if self._phase is _Phase.HEAD and self._received:
            self._refuse(
                Problem(
                    408,
                    "head_timeout",
                    "the head of the request did not arrive in time",
                    hint=f"All of it has to be here within {self._connections.patience.head_seconds:g} s.",
                )
            )
        elif self._phase is _Phase.ANSWER:
            self.abort()
        else:
            self._close()

    def _refuse(self, problem: Problem) -> None:
        """Answer in place of uvicorn, which has heard no request yet, and close."""
        if self._transport is not None and not self._transport.is_closing():
            body = json.dumps(problem.document()).encode()
            head = (
                f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\nContent-Type: {MEDIA_TYPE}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n"
            )
            if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
                head += "Retry-After: 1\r\n"
            self._transport.write(head.encode() + b"\r\n" + body)
        self._close()

    def _end(self) -> None:
        """uvicorn is done with it: the other side hears that, and may have to be given time to read the answer."""
        if self._transport is None:
            return
        if self._is_last and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _close(self) -> None:
        """End it once what was written has left, or after a while without that."""
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self._transport.abort)


class _Lingering(asyncio.Transport):
    """The transport as uvicorn sees it, whose end is the connection's to decide."""

    def __init__(self, transport: asyncio.Transport, end: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._end = end
        self._has_ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._has_ended or self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def close(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._end()
