"""What MACHINES.md shows is taken as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import psycopg
import pytest

from tests.support import curl
from tests.support.database import Database
from tests.support.machines import faults_of_export

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


def test_files_of_the_page_work(loan: Flowgres) -> None:
    (loan.folder / "loans.jsonl").write_text(blocks("json")[0])
    for line in blocks("sh")[2].splitlines():
        out = ""
        for command in line.split(" | "):
            answer = loan(*shlex.split(command)[1:], stdin=out)
            assert answer.code == 0, f"{line}\n{answer.err}"
            out = answer.out
    found = loan("instances", "list", "--workflow", "loan").json
    assert {row["entity_id"]: row["current_state"] for row in found}.items() >= {
        ("5001", "checked"),
        ("5002", "checked"),
    }


def test_migration_of_the_page_works(loan: Flowgres) -> None:
    (loan.folder / "loan.yaml").write_text(blocks("yaml")[0].replace("refused", "declined"))
    ended = loan("instances", "start", "loans", "6000", "loan", "-o", "id").out.strip()
    assert loan("instances", "transition", ended, "refused").code == 0
    assert loan("import", "loan.yaml").code == 0
    for line in blocks("sh")[3].splitlines():
        answer = loan(*shlex.split(line)[1:])
        assert (answer.code, answer.json["problems"]) == (0, []), f"{line}\n{answer.err}"
    assert loan("instances", "show", ended).json["current_state"] == "declined"
    assert {row["workflow_version"] for row in loan("instances", "list", "--workflow", "loan").json} == {"2"}


def test_export_of_the_page_is_checked_by_its_program(loan: Flowgres) -> None:
    values = {"API": loan.environment["FLOWGRES_API_URL"], "KEY": loan.environment["FLOWGRES_API_KEY"]}
    instance = loan("instances", "start", "loans", "7000", "loan", "-o", "id").out.strip()
    exported = 0
    (commands,) = (block for block in blocks("sh") if "instances export" in block)
    for line in commands.splitlines():
        if line.startswith("curl"):
            lines = curl.request(line, values).json()["lines"]
        else:
            answer = loan(*shlex.split(line.replace("INSTANCE", instance))[1:])
            assert answer.code == 0, f"{line}\n{answer.err}"
            lines = answer.out.splitlines() if " export" in line else []
        assert faults_of_export(lines) == []
        exported += len(lines)
    assert exported > 3


@pytest.mark.parametrize("text", blocks("yaml")[1:])
def test_definition_of_the_page_is_one(loan: Flowgres, text: str) -> None:
    (loan.folder / "more.yaml").write_text(text)
    answer = loan("import", "more.yaml")
    assert answer.code == 0, answer.err


def test_sql_of_the_page_works(loan: Flowgres, module_database: Database) -> None:
    (row, *_) = loan("workflows", "list").json
    with psycopg.connect(module_database.dsn("operator"), autocommit=True) as connection:
        connection.execute("select flowgres.use_tenant(%s)", [_slug(module_database, row["tenant_id"])])
        instance = ""
        for block in blocks("sql"):
            row = connection.execute(block.replace("INSTANCE", instance).encode()).fetchone()
            assert row
            instance = instance or str(row[0])
        # The last one asks for a report of what is refused.
        assert row[0]["results"][0]["error"]["code"] == "transition_not_allowed"


def test_execution_of_the_page_moves_its_instance(loan: Flowgres) -> None:
    for number, text in enumerate(block for block in blocks("yaml") if "check-claim" in block):
        (loan.folder / f"claim{number}.yaml").write_text(text)
        imported = loan("import", f"claim{number}.yaml")
        assert imported.code == 0, imported.err
    (commands,) = (block for block in blocks("sh") if "instances start claims" in block)
    instance, shown = "", {}
    for line in commands.splitlines():
        answer = loan(*shlex.split(line.replace("INSTANCE", instance))[1:])
        assert answer.code == 0, f"{line}\n{answer.err}"
        shown = answer.json
        instance = instance or shown["id"]
    (execution,) = shown["executions"]
    assert loan("executions", "watch", execution["execution_id"], "--timeout", "60").code == 0
    (execution,) = loan("instances", "show", instance).json["executions"]
    assert (execution["status"], execution["moved_to"], execution["reason"]) == ("completed", "paid", None)
    shown = loan("executions", "show", execution["execution_id"]).json
    assert shown["input"] == {"claim": "17", "amount": 250, "urgent": True}


def _slug(database: Database, tenant_id: str) -> str:
    with database.connect() as db:
        return str(db.value("select slug from flowgres.tenants where tenant_id = %s", tenant_id))
