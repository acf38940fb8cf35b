"""The tour of the README, run as it is written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.api import Api
from tests.support.database import Database
from tests.support.runner import Runner

from .conftest import Flowgres, start_front

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TENANT = "dev"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def _lines(program: str) -> list[str]:
    return [line for block in _blocks("sh") for line in block.splitlines() if line.split()[:1] == [program]]


@pytest.fixture(scope="module")
def toured(module_database: Database, module_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flowgres]:
    """The server that the tour assumes: what `flowgres dev examples/hello` starts."""
    folder = tmp_path_factory.mktemp("tour")
    (folder / "examples").symlink_to(ROOT / "examples")
    runner = Runner(module_database, log_path=folder / "runner.log")
    runner.start()
    try:
        with start_front(module_database, module_api, folder) as front:
            bare = Flowgres(folder, {"FLOWGRES_API_URL": module_api.url, "FLOWGRES_FRONT_URL": front.url})
            tenant = bare("tenants", "register", TENANT, "--dsn", module_database.dsn("operator")).json
            flowgres = bare.with_environment(FLOWGRES_API_KEY=tenant["api_key"])
            assert flowgres("import", "examples/hello").code == 0
            yield flowgres
    finally:
        runner.stop()


def test_commands_of_the_tour_work(toured: Flowgres) -> None:
    commands = _lines("flowgres")
    assert len(commands) >= 7
    for command in commands:
        answer = toured(*shlex.split(command)[1:])
        assert answer.code == 0, f"{command}\n{answer.err}"


def test_requests_of_the_tour_work(toured: Flowgres) -> None:
    toured("run", "hello")
    values = {"API": toured.environment["FLOWGRES_API_URL"], "KEY": toured.environment["FLOWGRES_API_KEY"]}
    requests = _lines("curl")
    assert len(requests) >= 3
    for line in requests:
        words = shlex.split(re.sub(r"\$(API|KEY)\b", lambda match: values[match[1]], line))[1:]
        headers: dict[str, str] = {}
        body, url = None, ""
        while words:
            word = words.pop(0)
            if word == "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = words.pop(0)
            else:
                url = word
        answer = httpx.request("POST" if body else "GET", url, headers=headers, content=body)
        assert answer.is_success, f"{line}\n{answer.text}"
        assert answer.json(), line


def test_sql_of_the_tour_works(toured: Flowgres, module_database: Database) -> None:
    del toured
    with psycopg.connect(module_database.dsn("operator"), autocommit=True) as connection:
        for block in _blocks("sql"):
            answers = [connection.execute(line.encode()) for line in block.splitlines()]
            assert answers[-1].fetchall()
            never = connection.execute(
                "select count(*) from flowgres_api.executions where input ->> 'name' = 'never'"
            ).fetchone()
            assert never == (0,)


def test_links_of_the_readme_lead_somewhere() -> None:
    for name in ("README.md", "cli/README.md"):
        path = ROOT / name
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{name}: {target}"


def test_files_that_the_room_lists_exist_and_all_are_listed() -> None:
    package = ROOT / "cli" / "flowgres_cli"
    table = (ROOT / "cli" / "README.md").read_text().partition("## Conventions")[0]
    listed = set(re.findall(r"`(\w+\.py)`", table))
    assert listed == {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}
