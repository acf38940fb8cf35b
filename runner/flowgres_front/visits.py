"""Around every request, first of all: its connection learns of it, and strangers are answered at a bounded rate.

Any answer to a caller that has not shown who it is costs the same little; many of them at once would take the processor
from those who have. So those answers leave one after the other, and wait for their turn outside of everything that is
scarce. In quiet times nobody notices.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowgres_front.connections import MAX_DRAINED_BYTES, Connection, Connections

_KEY = "flowgres.visit"
_WATCHED = ("/health", "/metrics")


@dataclass(slots=True)
class Visit:
    """What is known of whoever sent a request."""

    is_proven: bool = False
    connection: Connection | None = None

    def may_take(self, seconds: float) -> None:
        """Give the answer this much more time than any other has."""
        if self.connection is not None:
            self.connection.may_take(seconds)

    def stream(self) -> None:
        """Take every clock off: from now on whoever writes the answer watches how it is taken."""
        if self.connection is not None:
            self.connection.stream()

    def cut(self) -> None:
        """End the connection, with what was written and not taken."""
        if self.connection is not None:
            self.connection.abort()


def visit_of(request: Request) -> Visit:
    """The visit that a request is."""
    visit = request.scope[_KEY]
    assert isinstance(visit, Visit)  # noqa: S101 - Visits put it there
    return visit


class Line:
    """Where strangers wait: `per_second` leave, of each party that waits one after the other; `burst` need not wait.

    However many one party sends, another's next answer is at most as many turns away as there are parties.
    """

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._burst_seconds = (burst - 1) / per_second
        self._next = 0.0
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, party: Hashable) -> asyncio.Future[None]:
        """A future that is done when it is this one's turn. Whoever leaves the line sets its result, too."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        if not self._waiting:
            self._next = max(self._next, loop.time() - self._burst_seconds)
        self._waiting.setdefault(party, deque()).append(turn)
        if self._timer is None:
            self._serve()
        return turn

    def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._waiting and self._next <= loop.time():
            party, turns = next(iter(self._waiting.items()))
            turn = turns.popleft()
            if turns:
                self._waiting.move_to_end(party)
            else:
                del self._waiting[party]
            if not turn.done():
                turn.set_result(None)
                self._next += self._interval
        if self._waiting:
            self._timer = loop.call_at(self._next, self._serve)


class Visits:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, connections: Connections, line: Line) -> None:
        self._app = app
        self._connections = connections
        self._line = line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = self._connections.of(scope["client"])
        visit = scope[_KEY] = Visit(connection=connection)
        if connection is None:  # it was lost in the meantime
            await self._app(scope, receive, send)
            return
        connection.request_arrived()
        has_body_left = any(
            (name == b"content-length" and value != b"0") or name == b"transfer-encoding"
            for name, value in scope["headers"]
        )

        async def receive_and_note() -> Message:
            nonlocal has_body_left
            connection.body_wanted()
            message = await receive()
            connection.body_taken()
            has_body_left = bool(message.get("more_body"))
            return message

        async def send_in_turn(message: Message) -> None:
            if message["type"] == "http.response.start" and not visit.is_proven:
                # Whoever watches the front does not wait behind those who ask for all the rest.
                address = scope["client"] and scope["client"][0]
                turn = self._line.enter((address, scope["path"] in _WATCHED))
                if not turn.done():
                    connection.wait_for(turn)
                    await turn
            if message["type"] == "http.response.start" and has_body_left and _may_be_long(scope):
                connection.answer_last()
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        try:
            await self._app(scope, receive_and_note, send_in_turn)
        finally:
            connection.request_answered(is_proven=visit.is_proven, has_body_left=has_body_left)


def _may_be_long(scope: Scope) -> bool:
    """Whether a body may be more than is read of one that nobody wanted."""
    sizes = [value for name, value in scope["headers"] if name == b"content-length"]
    return not sizes or not sizes[0].isdigit() or int(sizes[0][:19]) > MAX_DRAINED_BYTES
