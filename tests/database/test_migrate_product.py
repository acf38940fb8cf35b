"""The product's own SQL: installed by a superuser and by others, as a script, and applied twice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg

from flowgres_cli.bundle import load_bundle
from flowgres_cli.migrate import script, status, upgrade
from flowgres_cli.stack.binaries import find_postgres
from tests.support.database import Database, Db
from tests.support.dumps import dump_schema
from tests.support.server import INSTALLER


def test_template_was_installed_by_a_role_that_is_no_superuser(database: Database, db: Db) -> None:
    assert db.value("select rolsuper from pg_roles where rolname = %s", INSTALLER) is False
    assert status(database.server.dsn(database.name, user=INSTALLER)).is_current


def test_superuser_installs_the_same(empty: Database, database: Database) -> None:
    upgrade(empty.dsn())
    assert dump_schema(empty) == dump_schema(database)


def test_script_installs_the_same(empty: Database, database: Database) -> None:
    text = script().removeprefix("\\set ON_ERROR_STOP on\n")
    with psycopg.connect(empty.server.dsn(empty.name, user=INSTALLER), autocommit=True) as connection:
        connection.execute(text)
    assert dump_schema(empty) == dump_schema(database)


def test_applying_every_schema_file_again_changes_nothing(database: Database, db: Db) -> None:
    before = dump_schema(database)
    db.run("update flowgres.schema_files set fingerprint = 'old'")
    applied = upgrade(database.server.dsn(database.name, user=INSTALLER))
    assert [file.name for file in applied] == [file.name for file in load_bundle().schema_files]
    assert dump_schema(database) == before


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
        # The description of the language is data.
        if len(file.text.splitlines()) > 400 and file.name.endswith(".sql")
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
