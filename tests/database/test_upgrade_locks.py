"""What an upgrade locks while a dump or a long query holds every table."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from flowgres_cli.bundle import Bundle, SqlFile, load_bundle
from flowgres_cli.migrate import UpgradeBlockedError, upgrade
from tests.support.database import Database, Db
from tests.support.server import INSTALLER

RELATIONS = """
select c.oid::regclass::text
from pg_class as c
where c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace) and strpos(%s, c.relkind::text) > 0
"""
STRONG_LOCKS = """
select c.oid::regclass::text || ' ' || l.mode
from pg_locks as l
join pg_class as c on c.oid = l.relation
join pg_stat_activity as a on a.pid = l.pid
where a.datname = current_database() and a.application_name = 'flowgres-migrate' and l.mode = 'AccessExclusiveLock'
  and c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace) and strpos(%s, c.relkind::text) > 0
"""
TABLES = "rp"
VIEWS = "v"


def with_comment(*changed: str) -> Bundle:
    """The product's files, with a comment more in those that are named."""
    bundle = load_bundle()
    assert set(changed) <= {file.name for file in bundle.schema_files}
    files = (
        replace(file, text=f"{file.text}\n-- Another comment.\n") if file.name in changed else file
        for file in bundle.schema_files
    )
    return replace(bundle, schema_files=tuple(files))


@contextmanager
def held(database: Database, kinds: str) -> Iterator[None]:
    """Hold what a dump holds, in a connection of its own."""
    with database.connect() as dump, dump.connection.transaction():
        names = dump.column(RELATIONS, kinds)
        assert len(names) > 10
        dump.run(f"lock table only {', only '.join(names)} in access share mode")
        yield


def upgrade_at_once(database: Database, bundle: Bundle, *, watching: str) -> tuple[list[str], list[str]]:
    """Upgrade without waiting for any lock; the files applied, and the strong locks held at the last of them."""
    locks: list[str] = []
    with database.connect() as observer:

        def on_file(_: SqlFile) -> None:
            locks.extend(observer.column(STRONG_LOCKS, watching))

        applied = upgrade(
            database.server.dsn(database.name, user=INSTALLER),
            bundle=bundle,
            lock_timeout_seconds=0.1,
            wait_seconds=0,
            on_file=on_file,
        )
    return [file.name for file in applied], locks


def test_changed_comments_in_all_files_pass_beside_a_dump(database: Database, db: Db) -> None:
    names = [file.name for file in load_bundle().schema_files]
    with held(database, TABLES):
        assert upgrade_at_once(database, with_comment(*names), watching=TABLES) == (names, [])


def test_changed_function_locks_no_view_either(database: Database, db: Db) -> None:
    with held(database, TABLES + VIEWS):
        applied = upgrade_at_once(database, with_comment("identity/caller.sql"), watching=TABLES + VIEWS)
    follows = [file.name for file in load_bundle().schema_files if file.follows_every_change]
    assert applied == (["identity/caller.sql", *follows], [])


def test_what_differs_alone_is_altered(database: Database, db: Db) -> None:
    db.run("alter table flowgres.secrets no force row level security")
    with held(database, TABLES), pytest.raises(UpgradeBlockedError):
        upgrade_at_once(database, load_bundle(), watching=TABLES)
    others = [name for name in db.column(RELATIONS, TABLES) if name != "flowgres.secrets"]
    with database.connect() as dump, dump.connection.transaction():
        dump.run(f"lock table only {', only '.join(others)} in access share mode")
        upgrade_at_once(database, load_bundle(), watching=TABLES)
    assert db.value("select relforcerowsecurity from pg_class where oid = 'flowgres.secrets'::regclass")


def test_upgrade_beside_work_under_way_waits_for_nobody(database: Database, db: Db) -> None:
    # Somebody in the middle of a start holds ROW EXCLUSIVE on the tables that a start writes.
    started, done = threading.Event(), threading.Event()

    def write() -> None:
        with database.connect() as other, other.connection.transaction():
            other.run("lock table flowgres.executions, flowgres.work_queue, flowgres.events in row exclusive mode")
            started.set()
            done.wait(30)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert started.wait(10)
        names = [file.name for file in load_bundle().schema_files]
        assert upgrade_at_once(database, with_comment(*names), watching=TABLES) == (names, [])
    finally:
        done.set()
        writer.join()
