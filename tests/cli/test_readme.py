"""The tour of the README, run as it is written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support import curl
from tests.support.api import Api
from tests.support.database import Database
from tests.support.runner import Runner

from .conftest import Flowgres, start_front

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TENANT = "dev"


def _blocks(language: str) -> list[str]:
    # All of them, so that the end of one is not taken for the beginning of another.
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


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
    instance = ""
    for command in commands:
        words = shlex.split(
            command.replace("$API", toured.environment["FLOWGRES_API_URL"]).replace("INSTANCE", instance)
        )
        answer = toured(*words[1:])
        assert answer.code == 0, f"{command}\n{answer.err}"
        if words[1:3] == ["instances", "start"]:
            instance = answer.json["id"]
        if words[1:3] == ["run", "service_health"]:
            assert answer.json["output"] == {"service": "api", "is_up": True}


@pytest.mark.parametrize("name", ["fraud_detection", "order_state_machine"])
def test_commands_of_examples_of_machines_work(toured: Flowgres, name: str) -> None:
    page = (ROOT / "examples" / name / "README.md").read_text()
    instance = ""
    for line in re.findall(r"^flowgres .*$", page, re.MULTILINE):
        # The tour has an instance of that entity already.
        words = shlex.split(line.replace("INSTANCE", instance).replace("12345", "12346"))
        answer = toured(*words[1:])
        assert answer.code == 0, f"{line}\n{answer.err}"
        if words[1:3] == ["instances", "start"]:
            instance = answer.json["id"]
    assert instance


def test_application_starts_with_its_own_login_as_the_readme_says(toured: Flowgres, module_database: Database) -> None:
    blocks = _blocks("")
    (command,) = [block for block in blocks if "tenants logins add" in block]
    (transaction,) = [block for block in blocks if block.startswith("begin;")]
    with psycopg.connect(module_database.dsn(), autocommit=True) as owner:
        owner.execute("create role shop login password 'secret'")
        owner.execute("create table orders (id int primary key); grant insert on orders to shop")
        try:
            words = shlex.split(command.replace("$DATABASE_URL", module_database.dsn()))
            added = toured(*words[1:])
            assert (added.code, added.json["role"]) == (0, "member"), added.err
            shop = make_conninfo(module_database.dsn(), user="shop", password="secret")
            with psycopg.connect(shop, autocommit=True) as application:
                for ending, started in (("rollback;", 0), ("commit;", 1)):
                    for line in transaction.replace("commit;", ending).splitlines():
                        application.execute(line.encode())
                    found = owner.execute(
                        "select count(*) from flowgres.executions where created_by = 'login:shop'"
                    ).fetchone()
                    assert found == (started,)
            assert toured("tenants", "logins", "remove", "shop", "--dsn", module_database.dsn()).code == 0
        finally:
            owner.execute("drop owned by shop; drop role shop")


def test_requests_of_the_tour_work(toured: Flowgres) -> None:
    toured("run", "hello")
    toured("import", "examples/fraud_detection")
    instance = toured("instances", "start", "transactions", "1", "fraud_detection").json["id"]
    names = {"API": "FLOWGRES_API_URL", "FRONT": "FLOWGRES_FRONT_URL", "KEY": "FLOWGRES_API_KEY"}
    values = {name: toured.environment[variable] for name, variable in names.items()}
    requests = _lines("curl")
    assert len(requests) >= 3
    for line in requests:
        answer = curl.request(line.replace("INSTANCE", instance), values)
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
