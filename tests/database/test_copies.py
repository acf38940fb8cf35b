"""A copy of an installation is told from it, and no work is handed out there until somebody adopts it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.support.database import Database, Db
from tests.support.engine import Hands
from tests.support.runner import Runner
from tests.support.server import INSTALLER, Server

INFO = {"name": "r", "version": "0", "protocol": 2, "environment": "development", "step_types": []}


@pytest.fixture
def copy(database: Database, server: Server) -> Iterator[Database]:
    """The test's database, copied as an operator would copy it."""
    name = f"{database.name}_copy"
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} owner {}").format(
                sql.Identifier(name), sql.Identifier(database.name), sql.Identifier(INSTALLER)
            )
        )
    yield Database(name=name, server=server)
    server.drop_database(name)


def code_of(error: pytest.ExceptionInfo[psycopg.Error]) -> Any:
    return error.value.diag.constraint_name


def register(database: Database) -> Any:
    with database.connect("runner") as db:
        return db.call("flowgres.register_runner", p_runner_id=str(uuid.uuid4()), p_info=INFO)


def test_original_is_no_copy(db: Db, database: Database) -> None:
    assert db.value("select flowgres.is_copy()") is False
    assert register(database)["lease_seconds"] == 10


def test_copy_by_template_registers_no_runner_until_it_is_adopted(copy: Database) -> None:
    with pytest.raises(psycopg.Error) as refused:
        register(copy)
    assert (refused.value.sqlstate, code_of(refused)) == ("FG409", "installation_copied")
    assert "flowgres db adopt" in str(refused.value.diag.message_hint)
    with copy.connect("operator") as operator:
        before = operator.value("select id::text from flowgres.installation")
        health = operator.call("flowgres_api.health")
        assert (health["status"], health["live_runners"], health["is_copy"]) == ("degraded", 0, True)
        adopted = operator.call("flowgres_api.adopt_installation")
        assert adopted["is_adopted"] is True
        assert adopted["installation_id"] != before
        assert operator.call("flowgres_api.health")["is_copy"] is False
        audited = operator.one("select actor, subject, details from flowgres.audit_log")
        assert audited["actor"] == "login:flowgres_operator"
        assert (audited["subject"], audited["details"]["was"]) == (adopted["installation_id"], before)
        assert operator.call("flowgres_api.adopt_installation")["is_adopted"] is False
    register(copy)


def test_runner_that_finds_itself_in_a_copy_is_given_up(database: Database, server: Server) -> None:
    # Its address leads elsewhere from one connection to the next; the copy's rows know it as one that lives.
    with database.connect("runner") as db:
        hands = Hands(db)
        assert db.call("flowgres.heartbeat", p_runner_id=hands.id, p_running=[], p_stats={})["alive"] is True
    with server.new_database(template=database.name) as name:
        copied = Database(name=name, server=server)
        with copied.connect() as db:
            db.run("update flowgres.installation set place = 'elsewhere'")
        with copied.connect("runner") as db:
            assert db.call("flowgres.heartbeat", p_runner_id=hands.id, p_running=[], p_stats={})["alive"] is False


@pytest.mark.parametrize("part", ["server", "database", "table"])
def test_each_part_of_the_place_counts(part: str, db: Db) -> None:
    db.run("update flowgres.installation set place = regexp_replace(place, %s || ' \\d+', %s || ' 1')", part, part)
    assert db.value("select flowgres.is_copy()") is True


@pytest.mark.parametrize("role", ["admin", "member"])
def test_nobody_but_an_operator_adopts(role: Any, database: Database, as_role: Callable[..., Any]) -> None:
    tenant = database.make_tenant()
    with as_role(role, tenant_id=tenant.tenant_id) as caller, pytest.raises(psycopg.errors.InsufficientPrivilege):
        caller.call("flowgres_api.adopt_installation")


def test_runner_says_why_it_does_not_work_in_a_copy(copy: Database, tmp_path: Any) -> None:
    runner = Runner(copy, log_path=tmp_path / "runner.log")
    done = subprocess.run(
        [sys.executable, "-m", "flowgres_runner"],
        env=runner.process.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "this database is a copy of an installation" in done.stderr
    assert "[installation_copied]" in done.stderr
    assert "flowgres db adopt" in done.stderr


def test_runners_that_live_are_given_up_when_the_environment_changes(database: Database, db: Db) -> None:
    with database.connect("runner") as own:
        hands = Hands(own)
        assert hands.beat()["alive"] is True
        db.call("flowgres.keep_environment", p_environment="staging", p_is_change=True)
        assert hands.beat()["alive"] is False
        with pytest.raises(psycopg.Error) as refused:
            register(database)
    assert code_of(refused) == "environment_mismatch"
    assert db.value("select count(*) from flowgres.audit_log where action = 'environment_changed'") == 1
