"""What MACHINES.md shows is taken as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import psycopg
import pytest

from tests.support import curl
from tests.support.database import Database

from .conftest import Flowgres

PAGE = (Path(__file__).parents[2] / "runner/flowgres_definitions/MACHINES.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


@pytest.fixture(scope="module")
def loan(live: Flowgres) -> Flowgres:
    """The tenant, with the machine of the page."""
    (live.folder / "loan.yaml").write_text(blocks("yaml")[0])
    for line in blocks("")[0].splitlines():
        answer = live(*shlex.split(line)[1:])
        assert answer.code == 0, f"{line}\n{answer.err}"
    return live


def test_picture_of_the_page_is_that_of_the_machine(loan: Flowgres) -> None:
    assert loan("graph", "loan", "--format", "mermaid").out == blocks("mermaid")[0]


def test_commands_of_the_page_work(loan: Flowgres) -> None:
    instance = ""
    for line in blocks("sh")[0].splitlines():
        answer = loan(*shlex.split(line.replace("INSTANCE", instance))[1:])
        assert answer.code == 0, f"{line}\n{answer.err}"
        if line.startswith("flowgres instances start "):
            instance = answer.json["id"]
    rows = loan("instances", "history", instance).json
    assert [(row["from_state"], row["to_state"], row["executed_by"]) for row in rows] == [
        ("asked", "checked", "ann"),
        (None, "asked", "system"),
    ]


def test_calls_of_the_page_work(loan: Flowgres) -> None:
    values = {"API": loan.environment["FLOWGRES_API_URL"], "KEY": loan.environment["FLOWGRES_API_KEY"]}
    instance = ""
    for line in blocks("sh")[1].splitlines():
        answer = curl.request(line.replace("INSTANCE", instance), values)
        assert answer.is_success, f"{line}\n{answer.text}"
        assert answer.json(), line
        if "/rpc/start_workflow" in line:
            instance = answer.json()


@pytest.mark.parametrize("text", blocks("yaml")[1:])
def test_definition_of_the_page_is_one(loan: Flowgres, text: str) -> None:
    (loan.folder / "more.yaml").write_text(text)
    answer = loan("import", "more.yaml")
    assert answer.code == 0, answer.err


def test_sql_of_the_page_works(loan: Flowgres, module_database: Database) -> None:
    (row, *_) = loan("workflows", "list").json
    with psycopg.connect(module_database.dsn("operator"), autocommit=True) as connection:
        connection.execute("select flowgres.use_tenant(%s)", [_slug(module_database, row["tenant_id"])])
        for block in blocks("sql"):
            assert connection.execute(block.encode()).fetchone()


def _slug(database: Database, tenant_id: str) -> str:
    with database.connect() as db:
        return str(db.value("select slug from flowgres.tenants where tenant_id = %s", tenant_id))
