"""How uvicorn serves the front."""

from __future__ import annotations

import resource
import socket
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from flowgres_front.app import create_app
from flowgres_front.connections import MAX_HEAD_BYTES, Connections, Patience
from flowgres_front.settings import FrontSettings

MAX_CONNECTIONS = 1024
"""One of a stranger takes about 50 KiB: all of them together less than 64 MiB."""
_BACKLOG = 2048
"""Connections that may wait to be accepted; what comes to a full line waits for a second before it tries again."""
_ACCEPTED_AT_ONCE = 64
"""Those that give way for these are closed after all of them were accepted: so many more files are open meanwhile."""
_OTHER_FILES = 256
"""Those, connections to the database, pipes to reading processes, logs."""


def most_connections() -> int:
    """As many as the system lets this process have, up to MAX_CONNECTIONS; its soft limit is raised for that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(MAX_CONNECTIONS, soft - _OTHER_FILES))


class FrontServer(uvicorn.Server):
    """Accepts few connections at once, however many wait; and its streams end when it is told to stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Make the line long again: to asyncio its length is how many are accepted at once."""
        await super().startup(sockets)
        for listening in sockets or []:
            listening.listen(_BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let those who wait go: streams have no end of their own; then do as ever."""
        app = self.config.app
        assert isinstance(app, Starlette)  # noqa: S101 - server_config made it
        app.state.front.watcher.end_streams()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A socket that connections come to, which are sent what is written at once. Raises OSError.

    asyncio asks for that on sockets alone that name their protocol; without it the body of each answer waits for the
    head to be acknowledged, 40 ms on every connection that is kept.
    """
    listening = socket.create_server((host, port), backlog=_BACKLOG)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def server_config(settings: FrontSettings) -> uvicorn.Config:
    """Bounded, quiet, and without uvicorn's access log, which would print tokens that stand in paths."""
    head_seconds = min(Patience().head_seconds, settings.body_seconds)
    connections = Connections(H11Protocol, most=most_connections(), patience=Patience(head_seconds=head_seconds))
    return uvicorn.Config(
        create_app(settings, connections),
        host=settings.host,
        port=settings.port,
        # uvicorn calls it as it would call a class of its own.
        http=cast("Any", connections.accept),
        ws="none",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        # Ours is asked first, and answers as we do.
        h11_max_incomplete_event_size=4 * MAX_HEAD_BYTES,
        backlog=_ACCEPTED_AT_ONCE,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
        lifespan="on",
    )
