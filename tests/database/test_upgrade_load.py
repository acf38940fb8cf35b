"""Upgrades while many callers are at work: nobody waits in a circle, so no call fails for it."""

from __future__ import annotations

import contextlib
import random
import threading
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from flowgres_cli.bundle import Bundle, SqlFile, load_bundle
from flowgres_cli.ledger import read_status
from flowgres_cli.locks import changed_relations
from flowgres_cli.migrate import upgrade
from tests.support.database import Database, Db, Tenant, postgrest_request
from tests.support.engine import completed, dag, hands, import_workflow
from tests.support.server import INSTALLER

pytestmark = pytest.mark.slow

CALLERS = 6
UPGRADES = 4
VIEWS = """
select c.oid::regclass::text from pg_class as c where c.relkind = 'v' and c.relnamespace = 'flowgres_api'::regnamespace
"""
STRONG = """
select distinct c.oid::regclass::text
from pg_locks as l
join pg_class as c on c.oid = l.relation
join pg_stat_activity as a on a.pid = l.pid
where a.datname = current_database() and a.application_name = 'flowgres-migrate'
  and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') and l.granted
  and c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace) and c.relkind in ('v', 'r', 'p')
"""


def changed(bundle: Bundle, number: int) -> Bundle:
    """Another text of every schema file, and a migration that alters what callers read and write."""
    files = tuple(replace(file, text=f"{file.text}\n-- Version {number}.\n") for file in bundle.schema_files)
    last = len(bundle.migrations) + 1
    migration = SqlFile(
        name=f"{last:04d}_more.sql",
        number=last,
        text="set local role flowgres_owner;\n"
        f"alter table flowgres.work_queue add column more_{number} integer;\n"
        f"alter table flowgres.executions add column more_{number} integer;\n"
        f"comment on column flowgres.executions.more_{number} is $$More$$;\n",
    )
    return replace(bundle, schema_files=files, migrations=(*bundle.migrations, migration))


def test_no_caller_fails_for_an_upgrade(database: Database, db: Db, tenant: Tenant) -> None:
    import_workflow(db, tenant, dag("work", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    views = [view for view in db.column(VIEWS) if view not in ("flowgres_api.audit_log", "flowgres_api.api_keys")]
    done, failures, calls = threading.Event(), list[BaseException](), [0] * CALLERS

    def call(number: int) -> None:
        chance = random.Random(number)
        with psycopg.connect(database.dsn("authenticator"), row_factory=dict_row) as connection:
            while not done.is_set():
                try:
                    with postgrest_request(connection, "member", tenant_id=tenant.tenant_id) as caller:
                        for view in chance.sample(views, 4):
                            caller.run(f"select * from {view} limit 3")
                        caller.call("flowgres_api.start_execution", workflow="work")
                        caller.run(f"select * from {chance.choice(views)} limit 3")
                    calls[number] += 1
                except psycopg.Error as error:
                    failures.append(error)
                    return

    def work() -> None:
        while not done.is_set():
            # A runner repeats what was refused for an upgrade, with a new connection where it has to.
            with contextlib.suppress(psycopg.Error), hands(database) as runner:
                while not done.is_set():
                    leases = runner.claim(5)
                    runner.report_once([runner.result(lease, completed(1)) for lease in leases], room=0)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    threads.append(threading.Thread(target=work))
    for thread in threads:
        thread.start()
    try:
        bundle = load_bundle()
        for number in range(UPGRADES):
            bundle = changed(bundle, number)
            before = list(calls)
            upgrade(database.server.dsn(database.name, user=INSTALLER), bundle=bundle)
            assert failures == []
            assert calls != before
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_every_strong_lock_is_taken_before_the_first_file(database: Database, db: Db) -> None:
    bundle = changed(load_bundle(), 1)
    with psycopg.connect(database.server.dsn(database.name, user=INSTALLER), autocommit=True) as connection:
        announced = changed_relations(read_status(connection, bundle))
    before = set(db.column("select c.oid::regclass::text from pg_class as c where c.relkind in ('v', 'r', 'p')"))
    locks: list[set[str]] = []

    with database.connect() as observer:

        def on_file(_: Any) -> None:
            locks.append({name for name in observer.column(STRONG) if not name.endswith("_differences")})

        upgrade(database.server.dsn(database.name, user=INSTALLER), bundle=bundle, on_file=on_file)
    assert len(locks) > 50
    assert {"flowgres.executions", "flowgres.work_queue", "flowgres_api.executions"} <= locks[0]
    assert locks[-1] & before == locks[0] & before
    assert {name for name in locks[0] if "executions_" not in name} <= announced | before
