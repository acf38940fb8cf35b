"""`flowgres dev` in the background, and its fixtures."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Flowgres

START_SECONDS = 90


class Dev:
    """`flowgres dev` (or demo) in the background."""

    def __init__(self, flowgres: Flowgres, *arguments: str, command: str = "dev") -> None:
        self.flowgres = flowgres
        self.log = flowgres.folder / "dev.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                flowgres.command(command, *arguments),
                stdout=log,
                stderr=log,
                env=flowgres.environment,
                cwd=flowgres.folder,
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while text not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)

    def address(self, name: str) -> str:
        match = re.search(rf"^{name} +(\S+)$", self.text, re.MULTILINE)
        assert match is not None, self.text
        return match[1]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can walk through when the tests run as root; pytest's are closed to it."""
    with tempfile.TemporaryDirectory(prefix="flowgres-cli-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def dev(flowgres: Flowgres) -> Iterator[Callable[..., Dev]]:
    """`dev("flows")` starts one and waits until it is up; whatever still runs at the end is stopped."""
    started: list[Dev] = []

    def start(*arguments: str) -> Dev:
        server = Dev(flowgres, *arguments)
        started.append(server)
        server.wait_for("Ctrl-C stops it.")
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop(signal.SIGTERM)
