"""Fixtures of the command line's tests: the program as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Database
from tests.support.front import Front
from tests.support.runner import Runner

from .texts import BREAK, GREET, INNER, OUTER, SLEEP

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
        return [json.loads(line) for line in self.out.split("\n") if line]


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


@pytest.fixture(scope="module")
def anonymous(
    module_database: Database, module_api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flowgres]:
    """The program with a server, a runner and a front, but without credentials."""
    folder = tmp_path_factory.mktemp("cli")
    runner = Runner(module_database, log_path=folder / "runner.log")
    runner.start()
    try:
        with start_front(module_database, module_api, folder) as front:
            yield Flowgres(folder, {"FLOWGRES_API_URL": module_api.url, "FLOWGRES_FRONT_URL": front.url})
    finally:
        runner.stop()


def start_front(database: Database, api: Api, folder: Path) -> Front:
    """A front beside a PostgREST, to be entered."""
    return Front(database.url("front"), log_path=folder / "front.log", environment={"FLOWGRES_API_URL": api.url})


@pytest.fixture(scope="module")
def live(anonymous: Flowgres, module_database: Database) -> Flowgres:
    """The program as the administrator of a tenant that has the workflows above."""
    registered = anonymous("tenants", "register", "Acme Corp", "--dsn", module_database.dsn("operator"))
    assert registered.code == 0, registered.err
    live = anonymous.with_environment(FLOWGRES_API_KEY=registered.json["api_key"])
    flows = live.folder / "flows"
    flows.mkdir()
    texts = {"a_outer": OUTER, "b_inner": INNER, "break": BREAK, "greet": GREET, "sleep": SLEEP}
    for name, text in texts.items():
        (flows / f"{name}.yaml").write_text(text)
    imported = live("import", "flows")
    assert imported.code == 0, imported.err
    assert [row["name"] for row in imported.json] == ["inner", "outer", "break", "greet", "sleep"]
    assert all(row["created"] for row in imported.json)
    return live
