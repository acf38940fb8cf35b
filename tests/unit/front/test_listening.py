"""Connections of the front send what is written at once."""

from __future__ import annotations

import socket

from flowgres_front.server import listen


def test_connections_do_not_hold_small_answers_back() -> None:
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
