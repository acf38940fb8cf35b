"""The verbs of the justfile, run by `just` itself; those of machines take the arguments of other systems' verbs."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from flowgres_cli.stack.binaries import find_postgres
from tests.support.database import Database

from .conftest import TIMEOUT_SECONDS, Answer, Flowgres

ROOT = Path(__file__).parents[2]
KNOWN = """
    dev down clean build test cli logs db-shell api-docs swagger pgadmin init-db import-workflow list-workflows
    list-instances start-workflow start-workflow-by-id transition history test-file format lint typecheck check status
    logs-service restart db-exec backup restore db-stats shell db-admin test-api get-workflow-id api-info setup
"""
JUST = str(Path(sysconfig.get_path("scripts")) / "just")


class Just:
    """`just VERB ARGUMENTS...` of this repository, with the server and the key of a command line."""

    def __init__(self, flowgres: Flowgres) -> None:
        # With the programs of the PostgreSQL that the tests run on.
        paths = f"{Path(sys.executable).parent}:{find_postgres().directory}:{flowgres.environment['PATH']}"
        self.environment = flowgres.environment | {"PATH": paths}

    def __call__(self, *arguments: str, **environment: str) -> Answer:
        done = subprocess.run(
            [JUST, "--no-dotenv", "--justfile", str(ROOT / "justfile"), *arguments],
            capture_output=True,
            text=True,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def just(live: Flowgres) -> Just:
    """The verbs, after `just init-db` has brought the machines of the examples."""
    just = Just(live)
    done = just("init-db")
    assert done.code == 0, done.err
    return just


def started(answer: Answer) -> str:
    assert answer.code == 0, answer.err
    return str(answer.json["id"])


def test_verbs_of_machines_work_with_the_arguments_they_have_had(just: Just) -> None:
    names = {row["name"] for row in just("list-workflows").json}
    assert {"fraud_detection", "order_processing"} <= names
    workflow = just("get-workflow-id", "fraud_detection").out.strip()

    by_name = started(just("start-workflow", "transactions", "12345", "fraud_detection", '{"amount": 5000}'))
    by_id = started(just("start-workflow-by-id", "transactions", "12346", workflow))
    bare = started(just("start-workflow", "transactions", "it's", "fraud_detection", "--metadata", '{"a": "b c"}'))
    listed = {row["id"]: row for row in just("list-instances", "--workflow-name", "fraud_detection").json}
    assert set(listed) == {by_name, by_id, bare}
    assert [listed[one]["metadata"] for one in (by_name, by_id, bare)] == [{"amount": 5000}, {}, {"a": "b c"}]

    assert just("transition", by_name, "investigating").code == 0
    placed = ("security_analyst_1", '{"kind": "manual"}', '{"department": "fraud"}', "Suspicious pattern's here")
    assert just("transition", by_id, "investigating", *placed).code == 0
    options = ("--executed-by", "analyst1", "--context", '{"priority": "high"}', "--notes", "Begin now")
    assert just("transition", bare, "investigating", *options).code == 0

    def newest(instance: str) -> dict[str, object]:
        row = just("history", instance).json[0]
        return {name: row[name] for name in ("executed_by", "metadata", "context", "notes")}

    assert newest(by_name) == {"executed_by": "api_user", "metadata": {}, "context": {}, "notes": None}
    assert newest(by_id) == {
        "executed_by": "security_analyst_1",
        "metadata": {"kind": "manual"},
        "context": {"department": "fraud"},
        "notes": "Suspicious pattern's here",
    }
    assert newest(bare) == {
        "executed_by": "analyst1",
        "metadata": {},
        "context": {"priority": "high"},
        "notes": "Begin now",
    }
    found = just("list-instances", "--workflow-name", "fraud_detection", "--state", "investigating").json
    assert len(found) == 3


def test_verbs_say_what_was_wrong_and_end_as_the_command_does(just: Just) -> None:
    assert just("get-workflow-id", "nobody").code != 0
    twice = ("start-workflow", "transactions", "twice", "fraud_detection")
    assert just(*twice).code == 0
    again = just(*twice)
    assert (again.code, "[instance_exists]" in again.err) == (6, True)
    assert just("start-workflow", "transactions", "x", "fraud_detection", "{").code == 2


def test_import_takes_a_file(just: Just) -> None:
    file = next((ROOT / "examples" / "fraud_detection").glob("*.yaml"))
    answer = just("import-workflow", str(file.relative_to(ROOT)))
    assert (answer.code, answer.json[0]["name"]) == (0, "fraud_detection"), answer.err


def test_verbs_that_look_and_pass_on_work(just: Just) -> None:
    done = just("test-api")
    assert done.code == 0, done.err
    assert "fraud_detection" in done.out
    assert just("cli", "workflows", "list", "-o", "id").code == 0
    assert just("run", "greet", "-f", "name=Ann").code == 0
    (row,) = just("cli", "executions", "list", "--workflow", "greet", "--limit", "1").json
    assert just("logs", row["id"]).code == 0


def test_verbs_of_the_database_work(just: Just, module_database: Database, tmp_path: Path) -> None:
    here = {"DATABASE_URL": module_database.dsn()}
    assert just("start-workflow", "transactions", "saved", "fraud_detection").code == 0
    assert "instance_history" in just("db-stats", **here).out
    shown = just("db-shell", "-Atc", "select count(*) from flowgres.instances", **here)
    assert (shown.code, int(shown.out) > 0) == (0, True), shown.err
    assert just("shell", **here).code == 0
    assert just("db-stats").code != 0

    file = str(tmp_path / "all.dump")
    saved = just("backup", file, **here)
    assert saved.code == 0, saved.err
    name = f"{module_database.name}_restored"
    with module_database.connect() as db:
        db.run(f"create database {name}")
        try:
            there = module_database.server.dsn(name)
            restored = just("restore", file, DATABASE_URL=there)
            assert restored.code == 0, restored.err
            again = just("db-shell", "-Atc", "select count(*) from flowgres.instances", DATABASE_URL=there)
            assert again.out == shown.out
        finally:
            db.run(f"drop database {name}")


COMPOSE = "docker compose -f deploy/docker-compose.yml"
CALLS = {
    "dev machines": ["flowgres dev machines"],
    "setup": ["python3 -m venv .venv", "pip install -q -e .[dev]"],
    "swagger": ["python -m webbrowser http://127.0.0.1:8000/docs"],
    "api-docs": ["python -m webbrowser http://127.0.0.1:8000/docs"],
    "pgadmin": [f"{COMPOSE} --profile tools up pgadmin"],
    "db-admin": [f"{COMPOSE} --profile tools up pgadmin"],
    "down": [f"{COMPOSE} down"],
    "build": [f"{COMPOSE} build"],
    "status": [f"{COMPOSE} ps"],
    "restart runner": [f"{COMPOSE} restart runner"],
    "logs": [f"{COMPOSE} logs --follow"],
    "logs-service runner": [f"{COMPOSE} logs --follow runner"],
    "db-exec psql -c 1": [f"{COMPOSE} exec postgres psql -c 1"],
    "test -k some": ["pytest -n 2 -k some"],
    "test-file tests/a.py -x": ["pytest tests/a.py -x"],
    "format": ["ruff check --fix .", "ruff format ."],
    "lint": ["ruff check .", "lint-imports", "sqruff lint database"],
    "typecheck": ["mypy"],
    "check": ["run"],
    "clean": [],
}
"""Verbs that no other test runs for good, and the programs that each calls."""


@pytest.mark.parametrize("verb", CALLS)
def test_verb_calls_its_programs(verb: str, tmp_path: Path) -> None:
    (tmp_path / "justfile").write_bytes((ROOT / "justfile").read_bytes())
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (tmp_path / ".ci").mkdir()
    (tmp_path / "build").mkdir()
    told = tmp_path / "told"
    names = {call.split()[0] for calls in CALLS.values() for call in calls} - {"run"}
    for program in (*(programs / name for name in names), tmp_path / ".ci" / "run"):
        program.write_text(f'#!/bin/sh\necho "${{0##*/}} $*" >> {told}\n')
        program.chmod(0o755)
    told.touch()
    done = subprocess.run(
        [JUST, "--no-dotenv", "--justfile", str(tmp_path / "justfile"), *verb.split()],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.strip() for line in told.read_text().splitlines()] == CALLS[verb]
    assert (tmp_path / "build").exists() is (verb != "clean")


def test_every_verb_that_is_known_from_elsewhere_is_there() -> None:
    listing = [JUST, "--justfile", str(ROOT / "justfile"), "--dump", "--dump-format", "json"]
    dumped = json.loads(subprocess.run(listing, capture_output=True, check=True).stdout)
    assert set(KNOWN.split()) - dumped["recipes"].keys() - dumped["aliases"].keys() == set()
