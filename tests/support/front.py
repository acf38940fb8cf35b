"""A real front process against a database."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import httpx

from flowgres_cli.stack.ports import free_port
from flowgres_cli.stack.process import ManagedProcess
from tests.support.server import JWT_SECRET

SECRET_KEY = "dGVzdC1zZWNyZXQta2V5LW9mLTMyLWJ5dGVzLWxvbmc="
READY_TIMEOUT_SECONDS = 30


class Front:
    """`python -m flowgres_front` on `url`, as the login that `dsn` names.

    `environment` adds variables, `open_files` is how many the system lets it have.
    """

    def __init__(
        self, dsn: str, *, log_path: Path, environment: dict[str, str] | None = None, open_files: int | None = None
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
        self.process = ManagedProcess(
            "front",
            [sys.executable, "-m", "flowgres_front"] if open_files is None else _limited(open_files),
            log_path=log_path,
            environment={
                **inherited,
                "FRONT_DATABASE_URL": dsn,
                "HOST": "127.0.0.1",
                "PORT": str(self.port),
                "PGRST_JWT_SECRET": JWT_SECRET,
                "FLOWGRES_SECRET_KEY": SECRET_KEY,
                "LOG_FORMAT": "json",
                **(environment or {}),
            },
        )

    @property
    def log(self) -> str:
        """Everything that it has logged."""
        return self.process.log_tail(100_000)

    def start(self) -> Front:
        """Start it, and wait until it answers, whatever it says of database and runners."""
        self.process.start()
        self.process.wait_until(self._answers, timeout_seconds=READY_TIMEOUT_SECONDS)
        return self

    def stop(self) -> None:
        """Ask it to finish, and wait."""
        self.process.stop()

    def __enter__(self) -> Front:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").status_code in (200, 503)
        except httpx.TransportError:
            return False


def _limited(open_files: int) -> list[str]:
    """The front, with a hard limit of open files."""
    limit = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({open_files}, {open_files}))"
    return [
        sys.executable,
        "-c",
        f"import resource, runpy; {limit}; runpy.run_module('flowgres_front', run_name='__main__')",
    ]
