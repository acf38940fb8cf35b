"""The upgrade of a database whose periods were made before there were families: rows, partitions and rounds go on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from flowgres_cli.bundle import Bundle, load_bundle
from flowgres_cli.migrate import upgrade
from tests.support.database import Clock, Database, Db
from tests.support.history import TABLES, bounds, create_history, keep_one_family, partitions, retire_history
from tests.support.server import INSTALLER, Server

DAY = 86400
LAST_WITHOUT_FAMILIES = next(
    number for number, file in enumerate(load_bundle().migrations) if file.name.endswith("_history_families.sql")
)
TENANT = "0f000000-0000-4000-8000-000000000001"

# What the first version made, word for word but for the policies, which every upgrade makes anew.
FIRST_PERIOD = """
    create table flowgres.executions_{suffix} partition of flowgres.executions for values from ({begin}) to ('{end}')
      with (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
    create table flowgres.step_executions_{suffix} partition of flowgres.step_executions
      for values from ({begin}) to ('{end}') with (fillfactor = 95);
    create table flowgres.attempts_{suffix} partition of flowgres.attempts for values from ({begin}) to ('{end}');
    create table flowgres.events_{suffix} partition of flowgres.events for values from ({begin}) to ('{end}');
    comment on table flowgres.executions_{suffix} is 'executions';
    comment on table flowgres.step_executions_{suffix} is 'step_executions';
    comment on table flowgres.attempts_{suffix} is 'attempts';
    comment on table flowgres.events_{suffix} is 'events';
"""


def _floor(at: datetime) -> str:
    digits = f"{int(at.timestamp() * 1000):012x}" + "0" * 20
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _put(db: Db, at: datetime) -> str:
    """An execution of that moment that has ended, with a step and an event."""
    execution_id = _floor(at)[:14] + "7000-8000-000000000001"
    db.run(
        "insert into flowgres.executions (tenant_id, id, workflow_id, version_id, version, status, step_count,"
        " event_seq, timeout_seconds, created_at, finished_at)"
        " values (%(t)s, %(x)s, %(x)s, %(x)s, 1, 'completed', 1, 1, 1, %(at)s, %(at)s)",
        t=TENANT,
        x=execution_id,
        at=at,
    )
    db.run(
        "insert into flowgres.step_executions (tenant_id, execution_id, step_index, step, type, status, finished_at)"
        " values (%(t)s, %(x)s, 0, 'only', 'transform', 'completed', %(at)s)",
        t=TENANT,
        x=execution_id,
        at=at,
    )
    db.run(
        "insert into flowgres.events (tenant_id, execution_id, seq, at, type)"
        " values (%(t)s, %(x)s, 1, %(at)s, 'execution_completed')",
        t=TENANT,
        x=execution_id,
        at=at,
    )
    return execution_id


@pytest.fixture
def today() -> datetime:
    """The midnight at which today's periods begin."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def old(server: Server, today: datetime) -> Iterator[Database]:
    """A database of the first version, three weeks old, with rows of each week and of the time before."""
    with server.new_database(template="template0") as name:
        database = Database(name=name, server=server)
        bundle = load_bundle()
        upgrade(
            server.dsn(name, user=INSTALLER),
            bundle=Bundle(migrations=bundle.migrations[:LAST_WITHOUT_FAMILIES], schema_files=()),
        )
        with database.connect() as db:
            db.run("set role flowgres_owner")
            for table in TABLES:
                db.run(f"create table flowgres.{table}_default partition of flowgres.{table} default")
                db.run(f"comment on table flowgres.{table}_default is 'Rows for which no period was made in time'")
            for week in range(-3, 5):
                begin, end = (today + timedelta(days=7 * number) for number in (week, week + 1))
                suffix = f"{begin:%Y%m%d%H%M}"
                lowest = "minvalue" if week == -3 else f"'{_floor(begin)}'"
                db.run(FIRST_PERIOD.format(suffix=suffix, begin=lowest, end=_floor(end)))
                db.run(
                    "insert into flowgres.history_periods (starts_at, ends_at, suffix) values (%s, %s, %s)",
                    begin,
                    end,
                    suffix,
                )
            for days in (-30, -20, -10, -1):
                _put(db, today + timedelta(days=days, hours=1))
            db.run("reset role")
        yield database


def test_an_upgrade_keeps_periods_and_rows_and_goes_on_with_them(old: Database, today: datetime) -> None:
    with old.connect() as db:
        spans = bounds(db)
        assert len(spans) == 8
    upgrade(old.server.dsn(old.name, user=INSTALLER))
    with old.connect() as db:
        assert bounds(db) == spans
        assert db.value("select count(*) from flowgres.executions") == 4
        periods = db.all(
            "select family, starts_at::text = '-infinity' as is_lowest, ends_at, planned_days,"
            " attached_at is not null as is_attached from flowgres.history_periods where family = 'executions'"
            " order by starts_at"
        )
        assert [period["ends_at"] for period in periods] == [end for _, end in spans]
        assert [period["is_lowest"] for period in periods] == [True] + [False] * 7
        assert {(p["family"], p["planned_days"], p["is_attached"]) for p in periods} == {("executions", 7, True)}
        options = "select distinct array_to_string(c.reloptions, ',') from pg_inherits as i join pg_class as c"
        options += " on c.oid = i.inhrelid where i.inhparent = %s::regclass"
        assert db.column(options, "flowgres.events") == ["autovacuum_freeze_min_age=0"]
        assert db.column(options, "flowgres.attempts") == ["autovacuum_freeze_min_age=0"]
        assert db.column(options, "flowgres.step_executions") == ["fillfactor=95,autovacuum_freeze_min_age=0"]
        assert db.column(options, "flowgres.executions") == ["fillfactor=60,autovacuum_vacuum_scale_factor=0.05"]

        # Time goes on: the next period is made, the first one goes with all that is older than it.
        with old.connect("operator") as operator:
            operator.call("flowgres_api.register_tenant", name="Later")
        keep_one_family(db)
        Clock(db).set(today + timedelta(days=17, hours=1))
        assert create_history(old) == 2
        assert retire_history(old) == {"retired": 1, "deleted": 0}
        assert len(partitions(db)) == 9
        assert db.value("select count(*) from flowgres.executions") == 2
        assert db.value("select count(*) from flowgres.events") == 2
        assert {len(partitions(db, table)) for table in TABLES} == {9}


def test_a_database_without_periods_gets_them_at_its_upgrade(server: Server) -> None:
    with server.new_database(template="template0") as name:
        database = Database(name=name, server=server)
        bundle = load_bundle()
        upgrade(
            server.dsn(name, user=INSTALLER),
            bundle=Bundle(migrations=bundle.migrations[:LAST_WITHOUT_FAMILIES], schema_files=()),
        )
        upgrade(server.dsn(name, user=INSTALLER))
        with database.connect() as db:
            assert len(bounds(db)) == 5
