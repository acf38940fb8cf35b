"""Connections as such, before anything is asked: what a front does that is offered more than it can have."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from tests.support.database import Database
from tests.support.front import Front

OPEN_FILES = 512
BURST = 700


@contextmanager
def asleep(front: Front) -> Iterator[None]:
    """Stop the process for the block: what comes meanwhile waits, and all of it at once for the front."""
    front.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        front.process.send_signal(signal.SIGCONT)


def test_a_burst_of_more_connections_than_files_costs_nobody_a_wait(module_database: Database, tmp_path: Path) -> None:
    log_path = tmp_path / "front.log"
    with Front(module_database.url("front"), log_path=log_path, open_files=OPEN_FILES) as front, ExitStack() as burst:
        with asleep(front):
            for _ in range(BURST):
                connection = burst.enter_context(socket.socket())
                connection.setblocking(False)
                connection.connect_ex(("127.0.0.1", front.port))
        for _ in range(5):
            assert httpx.get(f"{front.url}/health", timeout=10).status_code in (200, 503)

        # The loop says so at length for each, and then accepts nobody for a second.
        assert "Too many open files" not in log_path.read_text()
