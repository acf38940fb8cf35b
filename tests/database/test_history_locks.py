"""Making and dropping periods beside others who hold the tables: nobody waits, and what was put off is done later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, hands, import_workflow, start
from tests.support.history import (
    TABLES,
    assert_periods_are_sound,
    bounds,
    create_history,
    partition_of,
    partitions,
    retire_history,
)

pytestmark = pytest.mark.usefixtures("one_family")

DAY = 86400


@contextmanager
def dump(database: Database) -> Iterator[psycopg.Connection]:
    """A transaction that holds what pg_dump holds from its beginning to its end: ACCESS SHARE on every table."""
    with psycopg.connect(database.dsn()) as connection:
        tables = connection.execute(
            "select oid::regclass::text from pg_class"
            " where relnamespace = 'flowgres'::regnamespace and relkind in ('r', 'p')"
        ).fetchall()
        connection.execute(f"lock table {', '.join(name for (name,) in tables)} in access share mode")
        yield connection
        connection.rollback()


def _built(db: Db) -> list[str]:
    """Tables that stand apart: made for a period, and not attached."""
    return db.column(
        r"select relname::text from pg_class where relname ~ '^(executions|step_executions|attempts|events)_\d+$'"
        " and relkind = 'r' and not relispartition order by 1"
    )


def test_a_period_made_during_a_dump_appears_after_it(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    before = partitions(db)
    clock.advance(seconds=7 * DAY)
    with database.connect("runner") as runner:
        with dump(database):
            assert runner.call("flowgres.create_history") == {"created": 0, "postponed": 1}
            built = _built(db)
            assert [name.rpartition("_")[0] for name in built] == TABLES
            assert partitions(db) == before
            # A second round neither forgets it nor builds another one.
            assert runner.call("flowgres.create_history") == {"created": 0, "postponed": 1}
            assert _built(db) == built
        assert runner.call("flowgres.create_history") == {"created": 1, "postponed": 0}
        assert runner.call("flowgres.create_history") == {"created": 0, "postponed": 0}
    assert _built(db) == []
    assert partitions(db) == sorted([*before, next(name for name in built if name.startswith("executions"))])
    assert_periods_are_sound(db)


def test_rows_that_came_before_a_period_was_attached_stay_where_they_are(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    name = import_workflow(db, tenant, dag("late", [{"id": "only"}]))
    clock.advance(seconds=7 * DAY)
    with database.connect("runner") as runner:
        with dump(database):
            assert runner.call("flowgres.create_history")["postponed"] == 1
            # The dump takes so long that the span of the period begins.
            clock.advance(seconds=30 * DAY)
            strays = [start(database, tenant, name) for _ in range(3)]
            assert {partition_of(db, stray) for stray in strays} == {"executions_default"}
        assert runner.call("flowgres.create_history")["created"] == 1
    begin, end = bounds(db)[-1]
    assert 0 < (begin - clock.now()).total_seconds() <= 60
    assert (end - begin).days == 7
    create_history(database)
    with hands(database) as worker:
        worker.work()
    assert_invariants(db)


@pytest.mark.parametrize("work", ["create_history()", "retire_history(p_limit => 10)", "maintain_history()"])
def test_starts_and_advances_do_not_wait_for_the_maintenance_of_history_during_a_dump(
    database: Database, db: Db, tenant: Tenant, clock: Clock, work: str
) -> None:
    name = import_workflow(db, tenant, dag("brisk", [{"id": "only"}]))
    clock.advance(seconds=45 * DAY)
    if "retire" in work:
        create_history(database)
    answers: list[dict[str, int]] = []
    problems: list[Exception] = []
    done = threading.Event()

    def maintain() -> None:
        try:
            with database.connect("runner") as runner:
                for _ in range(5):
                    answers.append(runner.value(f"select flowgres.{work}"))
        except Exception as problem:
            problems.append(problem)
        finally:
            done.set()

    with dump(database), hands(database) as worker:
        worker.db.run("set lock_timeout = '500ms'")
        thread = threading.Thread(target=maintain)
        thread.start()
        count = 0
        while not done.is_set() or not count:
            _start_unless_stalled(database, tenant, name)
            worker.work()
            count += 1
        thread.join()
    assert problems == []
    # Each round was held up by the dump, so each of them waited for as long as it ever does.
    assert [answer["postponed"] for answer in answers] == [1] * 5
    assert count > 1
    assert_invariants(db)


def _start_unless_stalled(database: Database, tenant: Tenant, workflow: str) -> None:
    """Start one execution; fail after half a second of waiting for a lock."""
    with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
        caller.run("set local lock_timeout = '500ms'")
        caller.call("flowgres_api.start_execution", workflow=workflow)


def test_a_period_is_dropped_after_the_dump_that_was_in_its_way(database: Database, db: Db, clock: Clock) -> None:
    before = partitions(db)
    clock.advance(seconds=40 * DAY)
    create_history(database)
    with database.connect("runner") as runner, dump(database):
        assert runner.call("flowgres.retire_history", p_limit=10) == {"retired": 0, "deleted": 0, "postponed": 1}
        assert partitions(db)[: len(before)] == before
    assert retire_history(database) == {"retired": 1, "deleted": 0}
    assert partitions(db)[0] == before[1]


def test_each_call_drops_one_period(database: Database, db: Db, clock: Clock) -> None:
    clock.advance(seconds=60 * DAY)
    create_history(database)
    before = partitions(db)
    with database.connect("runner") as runner:
        for number in (1, 2, 3, 4):
            assert runner.call("flowgres.retire_history", p_limit=10)["retired"] == 1
            assert partitions(db) == before[number:]
        assert runner.call("flowgres.retire_history", p_limit=10)["retired"] == 0


def test_two_runners_do_not_get_in_each_others_way(database: Database, db: Db, clock: Clock) -> None:
    clock.advance(seconds=30 * DAY)
    with database.connect("runner") as one, database.connect("runner") as other, one.connection.transaction():
        assert one.call("flowgres.create_history")["created"] == 1
        assert other.call("flowgres.create_history") == {"created": 0, "postponed": 0}
        assert other.call("flowgres.retire_history", p_limit=10) == {"retired": 0, "deleted": 0, "postponed": 0}
    create_history(database)
    assert_periods_are_sound(db)


def test_a_step_under_way_keeps_its_period_until_the_next_round(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    """Carrying over an execution waits for whoever is just changing it, and never overtakes him."""
    name = import_workflow(db, tenant, dag("held", [{"id": "only"}]))
    execution_id = start(database, tenant, name)
    clock.advance(seconds=60 * DAY)
    create_history(database)
    old = partition_of(db, execution_id)
    with database.connect("runner") as runner, hands(database) as worker:
        with worker.db.connection.transaction():
            worker.work()
            assert runner.call("flowgres.retire_history", p_limit=10)["postponed"] == 1
        assert old in partitions(db)
        assert db.value("select status from flowgres.executions where id = %s", execution_id) == "completed"
        retire_history(database)
    assert old not in partitions(db)
    assert db.value("select count(*) from flowgres.executions where id = %s", execution_id) == 0
    assert_invariants(db)
