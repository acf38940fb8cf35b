"""Fixtures of the command line's tests: the program as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call of the program gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Flowgres:
    """Calls the program in a folder of its own, with an environment that has nothing of the developer's in it."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = {
            **{
                name: os.environ[name]
                for name in ("PATH", "LANG", "PYTHONPATH", "XDG_CACHE_HOME")
                if name in os.environ
            },
            # The cache of the fetched PostgREST stays; the configuration of the developer does not come in.
            "HOME": os.environ.get("HOME", "/"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            **(environment or {}),
        }

    def __call__(self, *arguments: str, stdin: str | bytes = b"", **environment: str) -> Answer:
        done = subprocess.run(
            self.command(*arguments),
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=self.environment | environment,
            cwd=self.folder,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        answer = Answer(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in answer.err, answer.err
        return answer

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """The argument list that starts the program."""
        return [sys.executable, "-m", "flowgres_cli", *arguments]

    def with_environment(self, **environment: str) -> Flowgres:
        """The same, with more variables."""
        return Flowgres(self.folder, self.environment | environment)


@pytest.fixture
def flowgres(tmp_path: Path) -> Flowgres:
    """The program, without a server."""
    return Flowgres(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write("order.yaml", text)` makes a file in the folder of the call."""

    def make(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return make
