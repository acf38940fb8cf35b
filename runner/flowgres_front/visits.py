"""Around every request, first of all: its connection learns of it, and strangers are answered at a bounded rate.

Any answer to a caller that has not shown who it is costs the same little; many of them at once would take the processor
from those who have. So those answers leave one after the other, at most so many in a second, and wait for their turn
outside of everything that is scarce. In quiet times nobody notices.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowgres_front.connections import Connections

_KEY = "flowgres.visit"


@dataclass(slots=True)
class Visit:
    """What is known of whoever sent a request."""

    is_proven: bool = False


def visit_of(request: Request) -> Visit:
    """The visit that a request is."""
    visit = request.scope[_KEY]
    assert isinstance(visit, Visit)  # noqa: S101 - Visits put it there
    return visit


class Pace:
    """A bucket that leaks `per_second`, and holds `burst`; nobody waits longer than `most_seconds`."""

    def __init__(self, *, per_second: float, burst: int, most_seconds: float) -> None:
        self._interval = 1 / per_second
        self._burst_seconds = burst / per_second
        self._most_seconds = most_seconds
        self._next = 0.0

    def seconds_to_wait(self, now: float) -> float:
        """Take a turn, and learn how long it is until then."""
        self._next = min(max(self._next, now - self._burst_seconds) + self._interval, now + self._most_seconds)
        return max(0.0, self._next - now)


class Visits:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, *, connections: Connections, pace: Pace) -> None:
        self._app = app
        self._connections = connections
        self._pace = pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = scope[_KEY] = Visit()
        connection = self._connections.of(scope["client"])
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
            has_body_left = bool(message.get("more_body"))
            return message

        async def send_in_turn(message: Message) -> None:
            if message["type"] == "http.response.start" and not visit.is_proven:
                seconds = self._pace.seconds_to_wait(asyncio.get_running_loop().time())
                if seconds:
                    connection.may_give_way()
                    await asyncio.sleep(seconds)
            await send(message)

        try:
            await self._app(scope, receive_and_note, send_in_turn)
        finally:
            connection.request_answered(is_proven=visit.is_proven, has_body_left=has_body_left)
