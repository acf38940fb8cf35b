"""The data directory of a private server: who may use it now, and what was chosen once for it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flowgres_cli.errors import CliError, ConflictError

REST_SECONDS = 75.0
"""For what is left of a server that was killed: its PostgreSQL may write for as long as it may stop (60 s)."""


@dataclass(frozen=True, slots=True)
class State:
    """What is chosen once for a data directory."""

    password: str
    jwt_secret: str
    secret_key: str
    api_key: str = ""
    database_port: int | None = None

    @classmethod
    def load(cls, path: Path) -> State:
        """The state of the directory, or a new one."""
        try:
            found = json.loads(path.read_text())
            return cls(**found)
        except FileNotFoundError:
            return cls(
                password=secrets.token_urlsafe(24),
                jwt_secret=secrets.token_urlsafe(48),
                secret_key=secrets.token_urlsafe(32),
            )
        except (OSError, ValueError, TypeError) as error:
            raise CliError(
                f"the state of this data directory cannot be read: {error}",
                where=str(path),
                hint="Remove the data directory to begin anew; its database goes with it.",
            ) from error

    def save(self, path: Path) -> None:
        """Write it whole or not at all; nobody else may read it."""
        document = {name: getattr(self, name) for name in self.__slots__}
        write_private(path, json.dumps(document, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all; nobody else may read it."""
    temporary = path.with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


@contextlib.contextmanager
def occupied(directory: Path) -> Iterator[int]:
    """Have a data directory to oneself; made when it is not there. Gives the descriptor that all parts hold.

    Two locks, because a server can be killed before its parts have stopped: ours, and the parts'. Whoever has both
    knows that nothing of an earlier server is at work.
    """
    _make(directory)
    with (directory / "lock").open("a+") as ours, (directory / "parts.lock").open("a+") as parts:
        if not _lock(ours):
            ours.seek(0)
            raise ConflictError(
                f"a server already runs in {directory} (process {ours.read().strip() or 'unknown'})",
                hint="Use that one, stop it, or give this one its own --data-dir.",
            )
        ours.truncate(0)
        ours.write(f"{os.getpid()}\n")
        ours.flush()
        deadline = time.monotonic() + REST_SECONDS
        while not _lock(parts):
            if time.monotonic() > deadline:
                raise ConflictError(
                    f"parts of an earlier server still run in {directory}",
                    hint=f"Their logs are there; `fuser {directory}/parts.lock` names them.",
                )
            time.sleep(0.05)
        yield parts.fileno()


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # As root, PostgreSQL's own user must be able to walk through; the files inside are private.
        directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
        ignore = directory / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        for name in ("lock", "parts.lock"):
            (directory / name).open("a+").close()
    except OSError as error:
        raise CliError(
            f"the data directory cannot be written: {error.strerror or error}",
            where=str(error.filename or directory),
            hint="Name another place for it: --data-dir /path/to/folder.",
        ) from error


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
