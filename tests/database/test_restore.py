"""A dump and its restore by a login that is no superuser, into a server that knows none of our roles."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowgres_cli.migrate import status
from flowgres_cli.stack.binaries import find_postgres
from flowgres_cli.stack.postgres import THROW_AWAY_OPTIONS, Cluster
from flowgres_cli.stack.postgrest import start_postgrest
from tests.support.api import Api
from tests.support.database import Database, Db
from tests.support.dumps import dump_schema
from tests.support.runner import Runner
from tests.support.server import INSTALLER, JWT_SECRET, ROLE_PASSWORD, Server

README = Path(__file__).parents[2] / "deploy/README.md"
RESTORER = "restorer"
STEP = {"id": "hello", "type": "log", "config": {"message": "hello"}}
DEFINITION: dict[str, Any] = {"name": "greet", "steps": [STEP]}
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Database]:
    """An empty database of a login that may create roles, on a server of its own."""
    cluster = Cluster(tmp_path / "target", options=THROW_AWAY_OPTIONS)
    cluster.start()
    try:
        with psycopg.connect(cluster.superuser_dsn(), autocommit=True) as connection:
            connection.execute(f"create role {RESTORER} login createrole password '{ROLE_PASSWORD}'")
            connection.execute(f"create database restored owner {RESTORER}")
        yield Database("restored", Server(superuser_dsn=cluster.superuser_dsn(), template="", description=""))
    finally:
        cluster.destroy()


@pytest.fixture
def shell(database: Database, target: Database, tmp_path: Path) -> Shell:
    """Run commands of the documentation, with the programs of the PostgreSQL that the tests run on."""
    paths = [str(find_postgres().directory), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "FLOWGRES_"))} | {
        "PATH": ":".join(paths),
        "SOURCE": database.server.dsn(database.name, user=INSTALLER),
        "TARGET": target.server.dsn(target.name, user=RESTORER),
        **{f"FLOWGRES_{name}_PASSWORD": ROLE_PASSWORD for name in ("RUNNER", "FRONT", "AUTHENTICATOR", "OPERATOR")},
    }

    def run(commands: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            ["/bin/sh", "-ec", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert not check or answer.returncode == 0, answer.stderr
        return answer

    return run


@pytest.fixture
def half_done(database: Database, db: Db) -> str:
    """A tenant with one execution that waits for a runner; its key."""
    tenant = database.make_tenant()
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.import_workflow", definition=DEFINITION)
    with database.connect("runner") as runner:
        for version_id in runner.column("select version_id from flowgres.unchecked_versions(10, 9)"):
            runner.call("flowgres.confirm_version", p_version_id=version_id, p_errors=None)
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_execution", workflow="greet")
    return tenant.key


def documented(title: str) -> str:
    """The commands under a title of the documentation's one block about dumps."""
    block = next(b for b in re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL) if "pg_restore" in b)
    parts = re.split(r"^# ", block, flags=re.MULTILINE)
    return next(part.partition("\n")[2] for part in parts if part.startswith(title))


def access_of(database: Database) -> list[str]:
    """What there is, who owns it, who may use it, and which rows of it.

    Not the bodies of views and constraints: PostgreSQL prints them otherwise once they were restored.
    """
    lines = re.findall(
        r"^(?:(?:ALTER|GRANT|REVOKE|CREATE (?!INDEX|UNIQUE))|    SET search_path).*",
        "\n".join(dump_schema(database)),
        re.MULTILINE,
    )
    assert len(lines) > 1000
    # The roles of a policy are printed in the order in which they were created.
    return sorted(re.sub(r" TO ([\w, ]+?) (?=USING|WITH)", _in_order, line) for line in lines)


def _in_order(match: re.Match[str]) -> str:
    return f" TO {', '.join(sorted(match[1].split(', ')))} "


def contents_of(db: Db) -> dict[str, str]:
    """A fingerprint of the rows of every table; an installation sets the time of a setting, whatever it finds."""
    tables = db.column(
        "select c.relname from pg_class as c"
        " where c.relnamespace = 'flowgres'::regnamespace and c.relkind in ('r', 'p')"
    )
    db.run("set timezone to 'UTC'")
    fingerprint = "select count(*) || ' ' || coalesce(md5(string_agg({}, ';' order by {})), '') from flowgres.{} as t"
    rows = {"settings": "concat(t.name, t.value)"}
    return {
        table: db.value(fingerprint.format(text, text, table))
        for table in tables
        if (text := rows.get(table, "t::text"))
    }


def assert_same(database: Database, target: Database) -> None:
    assert status(target.server.dsn(target.name, user=RESTORER)).is_current
    assert access_of(target) == access_of(database)
    with database.connect() as ours, target.connect() as theirs:
        assert contents_of(theirs) == contents_of(ours)


def assert_works(target: Database, key: str, directory: Path) -> None:
    """A runner finishes what was half done, a new start too, and PostgREST tells it."""
    server = start_postgrest(
        db_uri=target.url("authenticator"), jwt_secret=JWT_SECRET, directory=directory, log_level="warn", pool_size=2
    )
    runner = Runner(target, log_path=directory / "runner.log")
    try:
        api = Api(server.url).as_key(key)
        runner.start()
        assert api.rpc("start_execution", workflow="greet").status_code == 201
        with target.connect() as db:
            runner.process.wait_until(
                lambda: db.value("select count(*) from flowgres.executions where finished_at is null") == 0,
                timeout_seconds=30,
            )
            assert db.call("flowgres.maintain_history") is not None
            assert db.all("select * from flowgres.check_invariants()") == []
        rows = api.get("/executions", params={"select": "status,step_executions(step,status)"}).json()
        assert [row["status"] for row in rows] == ["completed", "completed"]
        assert all(row["step_executions"] for row in rows)
    finally:
        runner.stop()
        server.stop()


@pytest.mark.slow
def test_documented_commands_restore_into_a_new_server(
    shell: Shell, database: Database, target: Database, half_done: str, tmp_path: Path
) -> None:
    shell(documented("Dump"))
    commands = documented("Restore").splitlines()
    install = next(n for n, line in enumerate(commands) if "db install" in line)
    shell("\n".join(commands[:install]))
    before = shell('flowgres db status --dsn "$TARGET" -o json', check=False)
    assert before.returncode == 1
    assert "belongs to restorer, not to flowgres_engine" in before.stdout
    with target.connect() as db:
        theirs = "select count(*) from pg_proc where prosecdef and proowner = 'restorer'::regrole"
        assert db.value(theirs) > 40
        shell("\n".join(commands[install:]))
        assert db.value(theirs) == 0
    assert_same(database, target)
    shell(documented("Once"))
    assert_works(target, half_done, tmp_path)


@pytest.mark.slow
def test_restore_without_roles_is_mended_as_well(
    shell: Shell, database: Database, target: Database, half_done: str, tmp_path: Path
) -> None:
    shell(documented("Dump"))
    answer = shell('pg_restore --no-owner --no-privileges --dbname="$TARGET" flowgres.dump', check=False)
    assert 'role "flowgres_definer" does not exist' in answer.stderr
    assert shell('flowgres db status --dsn "$TARGET"', check=False).returncode == 1
    shell('flowgres db install --dsn "$TARGET"')
    assert_same(database, target)
    shell('flowgres db adopt --dsn "$TARGET"')
    assert_works(target, half_done, tmp_path)


@pytest.mark.slow
def test_restore_that_could_not_set_owners_is_mended(shell: Shell, database: Database, target: Database) -> None:
    # Owners before rights: those who may not yet create in the schema get nothing.
    shell(documented("Dump"))
    shell('flowgres db roles --dsn "$TARGET"')
    answer = shell('pg_restore --dbname="$TARGET" flowgres.dump', check=False)
    assert answer.returncode == 1
    with target.connect() as db:
        assert db.value("select count(*) from pg_proc where prosecdef and proowner = 'restorer'::regrole") > 40
    assert not status(target.server.dsn(target.name, user=RESTORER)).is_current
    shell('flowgres db upgrade --dsn "$TARGET"')
    assert_same(database, target)


def test_dump_without_row_security_refuses_rather_than_leaves_out(shell: Shell) -> None:
    command = documented("Dump").partition("pg_dump")[2].replace("--enable-row-security", "")
    answer = shell("pg_dump" + command, check=False)
    assert answer.returncode != 0
    assert "row-level security" in answer.stderr
