"""A tenant on a whole stack, PostgreSQL, PostgREST, a runner and the front: import a definition, run it, compare."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.api import Api
from tests.support.database import Database
from tests.support.front import Front
from tests.support.runner import Runner, wait_for

TERMINAL = ("completed", "failed", "cancelled")
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Stack:
    """One tenant on a whole stack: `api` is PostgREST, `front` the front, both called with its key."""

    api: Api
    front: Api
    database: Database

    def import_file(self, path: Path) -> dict[str, Any]:
        """Upload a definition as it is."""
        kind = "application/json" if path.suffix == ".json" else "application/yaml"
        sent = self.front.request("POST", "/workflows", content=path.read_bytes(), headers={"Content-Type": kind})
        assert sent.status_code in (200, 201), sent.text
        imported: dict[str, Any] = sent.json()
        return imported

    def start(self, workflow: str, given: dict[str, Any]) -> str:
        """Start an execution and return its id."""
        started = self.api.rpc("start_execution", workflow=workflow, input=given)
        assert started.status_code == 201, started.text
        execution_id: str = started.json()["execution_id"]
        return execution_id

    def get(self, execution_id: str) -> dict[str, Any]:
        """An execution with its steps, as it is now."""
        found = self.api.rpc("get_execution", execution_id=execution_id)
        assert found.status_code == 200, found.text
        execution: dict[str, Any] = found.json()
        return execution

    def run(self, workflow: str, given: dict[str, Any]) -> dict[str, Any]:
        """Start an execution and return it when it has ended."""
        return self.wait(self.start(workflow, given))

    def wait(self, execution_id: str) -> dict[str, Any]:
        """An execution when it has ended."""
        wait_for(
            lambda: self.get(execution_id)["status"] in TERMINAL,
            timeout_seconds=TIMEOUT_SECONDS,
            what=f"the end of {execution_id}",
        )
        return self.get(execution_id)

    def flowgres(self, command: str, *, folder: Path) -> str:
        """What a call of the command line writes to stdout, in a folder, as this tenant."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
        called, *arguments = shlex.split(command)
        assert called == "flowgres", command
        done = subprocess.run(
            [sys.executable, "-m", "flowgres_cli", *arguments],
            capture_output=True,
            text=True,
            env={
                **inherited,
                "XDG_CONFIG_HOME": "/nonexistent",
                "FLOWGRES_API_URL": self.api.url,
                "FLOWGRES_FRONT_URL": self.front.url,
                "FLOWGRES_API_KEY": self.api.headers["X-API-Key"],
            },
            cwd=folder,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout

    def messages(self, execution: dict[str, Any]) -> list[str]:
        """What an execution wrote into its events."""
        rows = self.api.get(
            "/execution_events", params={"execution_id": f"eq.{execution['id']}", "type": "eq.log"}
        ).json()
        return [row["message"] for row in rows]


@contextmanager
def running_stack(database: Database, api: Api, folder: Path) -> Iterator[Stack]:
    """A runner and the front on a database that PostgREST serves already, for a tenant of their own."""
    with database.connect() as db:
        key = db.call("flowgres.register_tenant", p_name="Examples")["api_key"]
    with Front(database.url("front"), log_path=folder / "front.log") as front:
        environment = {"DATABASE_SQL_URL": database.url("sql"), "PUBLIC_URL": front.url}
        with Runner(database, log_path=folder / "runner.log", environment=environment):
            yield Stack(api=api.as_key(key), front=Api(front.url).as_key(key), database=database)


def check(execution: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare an execution with an expected.json: its status, its output, and what is named of its steps."""
    steps = {step["step"]: step for step in execution["steps"]}
    assert execution["status"] == expected["status"], execution["error"]
    if "output" in expected:
        assert execution["output"] == expected["output"]
    for name, wanted in expected["steps"].items():
        assert {key: steps[name][key] for key in wanted} == wanted, name
    assert set(steps) == set(expected["steps"])
