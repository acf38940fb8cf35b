"""A real front process on the database that the tests of one file share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from flowgres_cli.stack.ports import free_port
from flowgres_cli.stack.process import ManagedProcess
from tests.support.api import Api
from tests.support.database import Database, Db
from tests.support.server import JWT_SECRET

SECRET_KEY = "dGVzdC1zZWNyZXQta2V5LW9mLTMyLWJ5dGVzLWxvbmc="
READY_TIMEOUT_SECONDS = 30


@pytest.fixture(scope="module")
def start_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Api]]:
    """`start_front(dsn)` starts `python -m flowgres_runner.front`; all are stopped after the file."""
    with ExitStack() as stack:

        def start(dsn: str, *, log_path: Path | None = None, **environment: str) -> Api:
            port = free_port()
            process = ManagedProcess(
                "front",
                [sys.executable, "-m", "flowgres_runner.front"],
                log_path=log_path or tmp_path_factory.mktemp("front") / "front.log",
                environment=_environment(dsn, port, environment),
            )
            process.start()
            stack.callback(process.stop)
            front = Api(f"http://127.0.0.1:{port}")
            process.wait_until(lambda: _answers(front), timeout_seconds=READY_TIMEOUT_SECONDS)
            return front

        yield start


@pytest.fixture(scope="module")
def front(start_front: Callable[..., Api], module_database: Database) -> Api:
    """The front, called as nobody; `front.as_key(...)` gives it credentials."""
    return start_front(module_database.url("front"))


@pytest.fixture
def tenant(module_database: Database) -> Iterator[TenantKeys]:
    """A new tenant with one API key of each role."""
    with module_database.connect() as db:
        yield TenantKeys(db)


class TenantKeys:
    """A tenant, its keys by role, and a connection that sees everything."""

    def __init__(self, db: Db) -> None:
        self.db = db
        registered = db.call("flowgres.register_tenant", p_name="Front Tenant")
        self.tenant_id = registered["tenant_id"]
        self.admin = registered["api_key"]
        self.member = self._key("member")
        self.viewer = self._key("viewer")

    def _key(self, role: str) -> str:
        issued = self.db.call(
            "flowgres.issue_api_key",
            p_tenant_id=self.tenant_id,
            p_name=role,
            p_role=role,
            p_roles="{}",
            p_expires_at=None,
            p_created_by="test",
        )
        return str(issued["api_key"])


def _environment(dsn: str, port: int, more: dict[str, str]) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return {
        **inherited,
        "FRONT_DATABASE_URL": dsn,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PGRST_JWT_SECRET": JWT_SECRET,
        "FLOWGRES_SECRET_KEY": SECRET_KEY,
        "LOG_FORMAT": "json",
        **more,
    }


def _answers(front: Api) -> bool:
    try:
        return front.get("/health").status_code in (200, 503)
    except httpx.TransportError:
        return False
