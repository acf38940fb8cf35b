"""A real runner process against the database of a test."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowgres_cli.stack.process import ManagedProcess
from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, get, import_workflow, start
from tests.support.front import SECRET_KEY

READY_TIMEOUT_SECONDS = 30


class Runner:
    """`python -m flowgres_runner`; `kill()` is a crash, `stop()` is SIGTERM."""

    def __init__(self, database: Database, *, log_path: Path, environment: dict[str, str] | None = None) -> None:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
        self.process = ManagedProcess(
            "runner",
            [sys.executable, "-m", "flowgres_runner"],
            log_path=log_path,
            environment={
                **inherited,
                "DATABASE_URL": database.url("runner"),
                "FLOWGRES_SECRET_KEY": SECRET_KEY,
                "HTTP_ALLOW_PRIVATE_NETWORKS": "true",
                "LOG_FORMAT": "json",
                **(environment or {}),
            },
        )
        self._database = database

    @property
    def log(self) -> str:
        """Everything that it has logged."""
        return self.process.log_tail(100_000)

    def start(self) -> Runner:
        """Start it, and wait until the database knows one runner more that lives."""
        with self._database.connect() as db:
            before = db.value("select count(*) from flowgres.runners")
            self.process.start()
            self.process.wait_until(
                lambda: bool(db.value("select count(*) from flowgres.runners") > before),
                timeout_seconds=READY_TIMEOUT_SECONDS,
            )
        return self

    def stop(self) -> None:
        """Ask it to finish, and wait."""
        self.process.stop(grace_seconds=40)

    def kill(self) -> None:
        """Kill it, and its evaluators, at whatever it is doing."""
        self.process.kill()

    def __enter__(self) -> Runner:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_for(condition: Callable[[], object], *, timeout_seconds: float = 15, what: str = "the condition") -> None:
    """Wait for something that another process does; the failure names it."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_seconds:g} s"
        time.sleep(0.02)


def run_to_end(database: Database, db: Db, tenant: Tenant, *steps: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Run a workflow of these steps; the execution when it has ended."""
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("subject", list(steps))), input=given)
    ended = "select finished_at is not null from flowgres.executions where id = %s"
    wait_for(lambda: bool(db.value(ended, execution_id)), timeout_seconds=60, what="the end")
    assert_invariants(db)
    return get(database, tenant, execution_id)
