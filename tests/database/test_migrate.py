"""Installing and upgrading, with small SQL bundles of our own in empty databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flowgres_cli.bundle import Bundle, BundleError, load_bundle
from flowgres_cli.errors import UnreachableError
from flowgres_cli.migrate import (
    LedgerMismatchError,
    MigrationError,
    SqlFileError,
    UpgradeBlockedError,
    create_database,
    script,
    status,
    upgrade,
)
from tests.support.database import Database
from tests.support.runner import wait_for
from tests.support.server import INSTALLER, Server

FOUNDATION = """
do $$ begin
  if not exists (select from pg_roles where rolname = 'flowgres_owner') then create role flowgres_owner; end if;
end $$;
grant flowgres_owner to current_user;
create schema flowgres authorization flowgres_owner;
set local role flowgres_owner;
create table flowgres.migrations (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000', number integer, name text, checksum text,
  applied_at timestamptz not null default clock_timestamp(), primary key (tenant_id, number));
create table flowgres.schema_files (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000', name text, fingerprint text,
  applied_at timestamptz not null default clock_timestamp(), primary key (tenant_id, name));
create table flowgres.things (id bigint, name text);
"""
ANSWER = """
set local role flowgres_owner;
create or replace function flowgres.answer() returns integer language sql as $$ select {answer} $$;
"""
DIFFERENCES = """-- differences
set local role flowgres_owner;
create or replace view flowgres.differences as
select 'table things' as object, 'is not readable' as problem, 'flowgres_owner' as actor,
  'grant select on flowgres.things to public' as repair
where not has_table_privilege('public', 'flowgres.things', 'select');
"""
HELD = """
select count(*) from pg_locks as l join pg_database as d on d.oid = l.database
where l.locktype = 'advisory' and d.datname = current_database()
"""


class SqlDirectory:
    """A directory of SQL files that a test writes and changes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / "migrations").mkdir(parents=True)
        (root / "schema").mkdir()
        self.write("migrations/0001_foundation.sql", FOUNDATION)
        self.write("schema/answer.sql", ANSWER.format(answer=42))
        self.write("schema/ORDER", "# in this order\nanswer.sql\n")

    def write(self, name: str, text: str) -> None:
        (self._root / name).write_text(text)

    def bundle(self) -> Bundle:
        return load_bundle(self._root)


@pytest.fixture
def sql(tmp_path: Path) -> SqlDirectory:
    return SqlDirectory(tmp_path / "sql")


@pytest.fixture
def empty(server: Server) -> Iterator[Database]:
    """A database without flowgres, owned by a role that is no superuser."""
    with server.new_database(template="template0") as name:
        yield Database(name=name, server=server)


@pytest.fixture
def dsn(empty: Database) -> str:
    return empty.server.dsn(empty.name, user=INSTALLER)


def names(applied: tuple[object, ...]) -> list[str]:
    return [getattr(file, "name", "") for file in applied]


def test_install_applies_everything_once(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    assert names(upgrade(dsn, bundle=sql.bundle())) == ["0001_foundation.sql", "answer.sql"]
    assert upgrade(dsn, bundle=sql.bundle()) == ()
    with empty.connect() as db:
        assert db.value("select flowgres.answer()") == 42


def test_status_tells_what_is_left(dsn: str, sql: SqlDirectory) -> None:
    assert not status(dsn, bundle=sql.bundle()).is_installed
    upgrade(dsn, bundle=sql.bundle())
    assert status(dsn, bundle=sql.bundle()).is_current
    sql.write("migrations/0002_more.sql", "create table flowgres.more ();")
    sql.write("schema/answer.sql", ANSWER.format(answer=43))
    found = status(dsn, bundle=sql.bundle())
    assert (found.applied, names(found.pending), names(found.changed)) == ((1,), ["0002_more.sql"], ["answer.sql"])


def test_changed_schema_file_alone_is_applied_again(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    sql.write("schema/other.sql", "set local role flowgres_owner; comment on table flowgres.things is 'things';")
    sql.write("schema/ORDER", "answer.sql\nother.sql\n")
    upgrade(dsn, bundle=sql.bundle())
    sql.write("schema/answer.sql", ANSWER.format(answer=43))
    assert names(upgrade(dsn, bundle=sql.bundle())) == ["answer.sql"]
    with empty.connect() as db:
        assert db.value("select flowgres.answer()") == 43


def test_file_that_follows_every_change_is_applied_after_each(dsn: str, sql: SqlDirectory) -> None:
    sql.write("schema/grants.sql", "-- after-every-change\ngrant usage on schema flowgres to public;")
    sql.write("schema/ORDER", "answer.sql\ngrants.sql\n")
    assert names(upgrade(dsn, bundle=sql.bundle())) == ["0001_foundation.sql", "answer.sql", "grants.sql"]
    assert upgrade(dsn, bundle=sql.bundle()) == ()
    sql.write("migrations/0002_more.sql", "set local role flowgres_owner;\ncreate table flowgres.more ();")
    assert names(upgrade(dsn, bundle=sql.bundle())) == ["0002_more.sql", "answer.sql", "grants.sql"]


def test_differences_are_mended_and_nothing_else_is_touched(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    sql.write("schema/access.sql", DIFFERENCES)
    sql.write("schema/ORDER", "answer.sql\naccess.sql\n")
    assert names(upgrade(dsn, bundle=sql.bundle())) == ["0001_foundation.sql", "answer.sql", "access.sql"]
    assert status(dsn, bundle=sql.bundle()).is_current
    with empty.connect() as db:
        rights = "select relacl::text, xmin::text from pg_class where oid = 'flowgres.things'::regclass"
        before = db.one(rights)
        sql.write("schema/answer.sql", ANSWER.format(answer=43))
        assert names(upgrade(dsn, bundle=sql.bundle())) == ["answer.sql"]
        assert db.one(rights) == before

        db.run("revoke select on flowgres.things from public")
        found = status(dsn, bundle=sql.bundle())
        assert (found.pending, found.changed, found.is_current) == ((), (), False)
        assert [str(problem) for problem in found.problems] == ["table things is not readable"]
        assert upgrade(dsn, bundle=sql.bundle()) == ()
        assert status(dsn, bundle=sql.bundle()).is_current
        assert db.one(rights)["relacl"] == before["relacl"]


def test_difference_that_nobody_can_mend_is_refused(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    sql.write("schema/access.sql", DIFFERENCES.replace("'grant select on flowgres.things to public'", "null::text"))
    sql.write("schema/ORDER", "answer.sql\naccess.sql\n")
    with pytest.raises(SqlFileError, match=r"1 of access\.sql cannot be mended: table things is not readable"):
        upgrade(dsn, bundle=sql.bundle())
    with empty.connect() as db:
        assert db.value("select to_regnamespace('flowgres')") is None


def test_file_of_differences_has_to_begin_with_a_view(sql: SqlDirectory) -> None:
    sql.write("schema/answer.sql", "-- differences\nselect 1;\n")
    with pytest.raises(BundleError, match="create or replace view"):
        _ = sql.bundle().difference_queries


def test_schema_file_that_is_gone_is_forgotten(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    sql.write("schema/other.sql", "select 1;")
    sql.write("schema/ORDER", "answer.sql\nother.sql\n")
    upgrade(dsn, bundle=sql.bundle())
    sql.write("schema/ORDER", "answer.sql\n")
    (sql._root / "schema/other.sql").unlink()
    upgrade(dsn, bundle=sql.bundle())
    with empty.connect() as db:
        assert db.column("select name from flowgres.schema_files") == ["answer.sql"]


def test_failing_file_changes_nothing_and_names_its_line(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    sql.write("migrations/0002_wrong.sql", "create table public.kept ();\n\nselect missing_column from pg_class;\n")
    with pytest.raises(SqlFileError, match=r"0002_wrong\.sql:3: column \"missing_column\" does not exist"):
        upgrade(dsn, bundle=sql.bundle())
    with empty.connect() as db:
        assert db.value("select to_regnamespace('flowgres')") is None
        assert db.value("select to_regclass('public.kept')") is None


def test_edited_migration_is_refused(dsn: str, sql: SqlDirectory) -> None:
    upgrade(dsn, bundle=sql.bundle())
    sql.write("migrations/0001_foundation.sql", FOUNDATION + "select 1;")
    with pytest.raises(LedgerMismatchError) as caught:
        upgrade(dsn, bundle=sql.bundle())
    assert caught.value.code == "migration_changed"


def test_white_space_at_line_ends_does_not_count_as_edit(dsn: str, sql: SqlDirectory) -> None:
    upgrade(dsn, bundle=sql.bundle())
    sql.write("migrations/0001_foundation.sql", FOUNDATION.replace("\n", " \r\n"))
    assert upgrade(dsn, bundle=sql.bundle()) == ()


def test_database_of_newer_version_is_refused(dsn: str, sql: SqlDirectory) -> None:
    sql.write("migrations/0002_more.sql", "select 1;")
    upgrade(dsn, bundle=sql.bundle())
    (sql._root / "migrations/0002_more.sql").unlink()
    with pytest.raises(LedgerMismatchError) as caught:
        status(dsn, bundle=sql.bundle())
    assert caught.value.code == "database_newer"


def test_file_without_transaction_builds_index_concurrently(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    sql.write(
        "migrations/0002_index.sql",
        "-- no-transaction\n-- Large tables: no lock for writers.\n"
        "create index concurrently if not exists things_name_idx on flowgres.things (name);\n"
        "create index concurrently if not exists things_id_idx on flowgres.things (id);\n",
    )
    sql.write("migrations/0003_after.sql", "set local role flowgres_owner;\ncreate table flowgres.after ();")
    applied = names(upgrade(dsn, bundle=sql.bundle()))
    assert applied == ["0001_foundation.sql", "0002_index.sql", "0003_after.sql", "answer.sql"]
    with empty.connect() as db:
        assert db.value("select count(*) from pg_indexes where tablename = 'things'") == 2
        assert db.value(HELD) == 0


def test_file_without_transaction_refuses_function_bodies(sql: SqlDirectory) -> None:
    sql.write("migrations/0002_body.sql", "-- no-transaction\ndo $$ begin end $$;")
    with pytest.raises(BundleError, match="simple statements only"):
        sql.bundle().migrations[1].statements()


def test_breaking_migration_raises_protocol(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    sql.write("migrations/0002_breaking.sql", "-- breaking\ncreate table public.settings (name text, value jsonb);")
    sql.write(
        "schema/settings.sql",
        "set local role flowgres_owner;\ncreate or replace function flowgres.seed_settings(p_settings jsonb)"
        " returns integer language sql as $$ insert into flowgres.things select 1, p_settings::text; select 1 $$;",
    )
    sql.write("schema/ORDER", "answer.sql\nsettings.sql\n")
    upgrade(dsn, bundle=sql.bundle(), settings={"cron_timezone": "it's $seed$ 'UTC'"})
    with empty.connect() as db:
        assert db.value("select name::jsonb from flowgres.things") == {
            "protocol": 2,
            "cron_timezone": "it's $seed$ 'UTC'",
        }


def test_script_of_psql_installs_the_same(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    text = script(bundle=sql.bundle())
    assert text.startswith("\\set ON_ERROR_STOP on\n")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(text.removeprefix("\\set ON_ERROR_STOP on\n"))
    assert status(dsn, bundle=sql.bundle()).is_current


def test_upgrade_waits_for_locks_and_then_succeeds(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    upgrade(dsn, bundle=sql.bundle())
    sql.write("migrations/0002_column.sql", "set local role flowgres_owner;\nalter table flowgres.things add x text;")
    held = threading.Event()
    waits = "select exists (select from pg_locks where relation = 'flowgres.things'::regclass and not granted)"

    def hold_table() -> None:
        with empty.connect() as db, db.connection.transaction():
            db.run("lock table flowgres.things in access share mode")
            held.set()
            # Until it was waited for, and not any more: that attempt has given up.
            for is_waiting in (True, False):
                wait_for(lambda wanted=is_waiting: db.value(waits) is wanted, what="the upgrade's wait")  # type: ignore[misc]

    holder = threading.Thread(target=hold_table)
    holder.start()
    assert held.wait(10)
    seen: list[str] = []

    def on_file(file: object) -> None:
        seen.append(getattr(file, "name", ""))

    applied = upgrade(dsn, bundle=sql.bundle(), lock_timeout_seconds=0.1, on_file=on_file)
    holder.join()
    # Functions are replaced along with it.
    assert names(applied) == seen == ["0002_column.sql", "answer.sql"]


def test_upgrade_gives_up_when_another_one_never_ends(empty: Database, dsn: str, sql: SqlDirectory) -> None:
    with empty.connect() as db:
        db.run("select pg_advisory_lock(%s)", 0x666C6F77)
        with pytest.raises(UpgradeBlockedError, match="another upgrade is under way"):
            upgrade(dsn, bundle=sql.bundle(), wait_seconds=0.2)


def test_concurrent_installs_apply_every_file_once(dsn: str, sql: SqlDirectory) -> None:
    results: list[list[str]] = []

    def install() -> None:
        results.append(names(upgrade(dsn, bundle=sql.bundle())))

    threads = [threading.Thread(target=install) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [[], [], [], ["0001_foundation.sql", "answer.sql"]]


def test_passwords_are_set_for_known_roles_only(dsn: str, sql: SqlDirectory) -> None:
    with pytest.raises(MigrationError) as caught:
        upgrade(dsn, bundle=sql.bundle(), passwords={"postgres": "secret"})
    assert caught.value.code == "unknown_role"


def test_missing_database_is_created_once(server: Server) -> None:
    dsn = server.dsn("fg_created_by_test", user=INSTALLER)
    try:
        assert create_database(dsn)
        assert not create_database(dsn)
    finally:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
            connection.execute("drop database fg_created_by_test")


def test_unreachable_database_is_said_in_words() -> None:
    with pytest.raises(UnreachableError) as caught:
        upgrade("postgresql://nobody@127.0.0.1:1/none")
    assert caught.value.code == "database_unreachable"
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("migrations/0003_gap.sql", "select 1;", "without gap or double"),
        ("migrations/second.sql", "select 1;", "has the form 0001_words.sql"),
        ("schema/unlisted.sql", "select 1;", "look at unlisted.sql"),
        ("schema/ORDER", "answer.sql\nmissing.sql\n", "look at missing.sql"),
    ],
)
def test_inconsistent_bundle_is_refused(sql: SqlDirectory, name: str, text: str, message: str) -> None:
    sql.write(name, text)
    with pytest.raises(BundleError, match=message):
        sql.bundle()
