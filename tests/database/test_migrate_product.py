"""The product's own SQL: installed by a superuser and by others, as a script, and applied twice."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flowgres_cli.bundle import load_bundle
from flowgres_cli.migrate import script, status, upgrade
from flowgres_cli.stack.binaries import find_postgres
from tests.support.database import Database, Db
from tests.support.server import INSTALLER, Server


@pytest.fixture
def empty(server: Server) -> Iterator[Database]:
    """A database without flowgres, owned by a role that is no superuser."""
    with server.new_database(template="template0") as name:
        yield Database(name=name, server=server)


def dump(database: Database) -> list[str]:
    """The schema of a database as text, without what differs between any two dumps; partitions follow the day."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    output = subprocess.run(
        [str(find_postgres().path("pg_dump")), "--schema-only", "--dbname", database.dsn()],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout
    # A random token of newer pg_dump.
    return [line for line in output.splitlines() if not re.match(r"\\(un)?restrict ", line)]


def test_template_was_installed_by_a_role_that_is_no_superuser(database: Database, db: Db) -> None:
    assert db.value("select rolsuper from pg_roles where rolname = %s", INSTALLER) is False
    assert status(database.server.dsn(database.name, user=INSTALLER)).is_current


def test_superuser_installs_the_same(empty: Database, database: Database) -> None:
    upgrade(empty.dsn())
    assert dump(empty) == dump(database)


def test_script_installs_the_same(empty: Database, database: Database) -> None:
    text = script().removeprefix("\\set ON_ERROR_STOP on\n")
    with psycopg.connect(empty.server.dsn(empty.name, user=INSTALLER), autocommit=True) as connection:
        connection.execute(text)
    assert dump(empty) == dump(database)


def test_applying_every_schema_file_again_changes_nothing(database: Database, db: Db) -> None:
    before = dump(database)
    db.run("update flowgres.schema_files set fingerprint = 'old'")
    applied = upgrade(database.server.dsn(database.name, user=INSTALLER))
    assert [file.name for file in applied] == [file.name for file in load_bundle().schema_files]
    assert dump(database) == before


def test_no_login_role_is_a_superuser_or_bypasses_row_security(db: Db) -> None:
    powerful = db.column(
        "select rolname from pg_roles where starts_with(rolname, 'flowgres_')"
        " and (rolsuper or rolbypassrls or rolreplication)"
    )
    assert powerful == []


def test_sql_files_stay_readable() -> None:
    long = [
        f"{file.name}: {len(file.text.splitlines())} lines"
        for file in (*load_bundle().migrations, *load_bundle().schema_files)
        if len(file.text.splitlines()) > 400
    ]
    assert long == []


def test_psql_refuses_nothing_of_the_script(empty: Database, tmp_path: Path) -> None:
    path = tmp_path / "install.sql"
    path.write_text(script())
    psql = find_postgres().path("psql")
    answer = subprocess.run(
        [str(psql), "--no-psqlrc", "--quiet", "--dbname", empty.dsn(), "--file", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert status(empty.dsn()).is_current
