"""History partitions: created ahead, filled by time, protected like every table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import completed, dag, get, hands, import_workflow, start
from tests.support.history import (
    TABLES,
    assert_periods_are_sound,
    bounds,
    create_history,
    partition_of,
    partitions,
    retire_history,
)
from tests.support.runner import Runner, wait_for

pytestmark = pytest.mark.usefixtures("one_family")

DAY = 86400
INDEXES = "select indexrelid from pg_index where indrelid = %s::regclass"
SHAPES = """
    select array[
      (select string_agg(
          a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || a.attnotnull || a.attstorage::text, ','
          order by a.attnum)
        from pg_attribute as a where a.attrelid = c.oid and a.attnum > 0),
      (select string_agg(pg_get_constraintdef(o.oid), ',' order by pg_get_constraintdef(o.oid))
        from pg_constraint as o where o.conrelid = c.oid),
      (select count(*)::text from pg_index as x join pg_inherits as j on j.inhrelid = x.indexrelid
        where x.indrelid = c.oid and x.indisvalid)]::text
    from pg_inherits as i join pg_class as c on c.oid = i.inhrelid where i.inhparent = %s::regclass"""


def test_children_land_in_the_period_of_their_execution(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("history", [{"id": "only"}])))
    with hands(database) as runner:
        # A line in its log has a row of events of its own.
        runner.work(lambda _lease, _step: completed(logs=[{"level": "info", "message": "here"}]))
    suffix = partition_of(db, execution_id).removeprefix("executions_")
    assert suffix != "default"
    assert partition_of(db, execution_id, "step_executions") == f"step_executions_{suffix}"
    assert partition_of(db, execution_id, "events") == f"events_{suffix}"


def test_an_installation_has_the_current_week_and_four_more(db: Db, clock: Clock) -> None:
    spans = bounds(db)
    assert [(end - begin).days for begin, end in spans] == [7] * 5
    assert spans[0][0] <= clock.now() < spans[0][1]
    assert_periods_are_sound(db)


def test_partitions_are_made_ahead_as_time_goes_on(database: Database, db: Db, clock: Clock) -> None:
    clock.advance(seconds=14 * DAY)
    assert create_history(database) == 2
    assert {len(partitions(db, table)) for table in TABLES} == {7}
    assert_periods_are_sound(db)
    assert create_history(database) == 0


def test_runners_of_the_first_version_still_make_and_drop_periods(database: Database, db: Db, clock: Clock) -> None:
    clock.advance(seconds=30 * DAY)
    with database.connect("runner") as runner:
        answers = [runner.call("flowgres.maintain_history") for _ in range(6)]
    assert sum(answer["created"] for answer in answers) == 4
    assert sum(answer["retired"] for answer in answers) == 0
    clock.advance(seconds=7 * DAY)
    with database.connect("runner") as runner:
        answers = [runner.call("flowgres.maintain_history") for _ in range(3)]
    assert [(answer["created"], answer["retired"]) for answer in answers] == [(1, 0), (0, 1), (0, 0)]


def test_partitions_are_protected_explained_and_stored_like_their_kind(
    database: Database, db: Db, clock: Clock
) -> None:
    clock.advance(seconds=14 * DAY)
    create_history(database)
    naked = db.column(
        """select c.relname from pg_class as c
        where c.relnamespace = 'flowgres'::regnamespace and c.relispartition and c.relkind = 'r' and (
          not c.relrowsecurity or not c.relforcerowsecurity or obj_description(c.oid, 'pg_class') is null
          or c.relowner <> 'flowgres_owner'::regrole
          or not exists (select from pg_policy as p where p.polrelid = c.oid))"""
    )
    assert naked == []
    stored = db.all(
        "select p.relname as parent, coalesce(c.reloptions, '{}') as options, count(*) as count from pg_inherits as i"
        " join pg_class as c on c.oid = i.inhrelid join pg_class as p on p.oid = i.inhparent"
        " where c.relkind = 'r' group by 1, 2 order by 1"
    )
    assert [(row["parent"], sorted(row["options"]), row["count"]) for row in stored] == [
        ("attempts", ["autovacuum_freeze_min_age=0"], 8),
        ("events", ["autovacuum_freeze_min_age=0"], 8),
        ("executions", ["autovacuum_vacuum_scale_factor=0.05", "fillfactor=50"], 8),
        ("step_executions", ["autovacuum_freeze_min_age=0", "fillfactor=95"], 8),
        ("step_items", ["autovacuum_freeze_min_age=0"], 8),
        ("tasks", ["autovacuum_freeze_min_age=0", "fillfactor=80"], 8),
        ("webhook_deliveries", ["autovacuum_freeze_min_age=0"], 6),
    ]


def test_partitions_have_the_columns_constraints_and_indexes_of_their_parent(
    database: Database, db: Db, clock: Clock
) -> None:
    clock.advance(seconds=14 * DAY)
    create_history(database)
    for table in TABLES:
        shapes = db.column(SHAPES, f"flowgres.{table}")
        assert len(shapes) == 8
        assert len(set(shapes)) == 1, table
        assert shapes[0].endswith(f"{len(db.column(INDEXES, f'flowgres.{table}'))}}}")


def test_start_never_fails_for_want_of_a_partition(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    name = import_workflow(db, tenant, dag("late", [{"id": "only"}]))
    clock.advance(seconds=400 * DAY)
    execution_id = start(database, tenant, name)
    assert partition_of(db, execution_id) == "executions_default"
    assert create_history(database) == 4
    # The time without maintenance is not made up for; new periods begin after the newest row of the default partition.
    assert len(partitions(db)) == 9
    newest = bounds(db)[5]
    assert clock.now() < newest[0]
    assert (newest[0] - clock.now()).total_seconds() <= 60
    newer = start(database, tenant, name)
    with hands(database) as runner_hands:
        runner_hands.work()
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert get(database, tenant, newer)["status"] == "completed"


def test_failing_retirement_does_not_keep_periods_from_being_made(database: Database, db: Db, clock: Clock) -> None:
    oldest = partitions(db, "events")[0]
    db.run(f"create view public.curious as select * from flowgres.{oldest}")
    clock.advance(seconds=40 * DAY)
    with pytest.raises(Exception, match="depend"):
        retire_history(database)
    assert create_history(database) > 0
    with database.connect("runner") as runner:
        clock.advance(seconds=7 * DAY)
        assert runner.call("flowgres.maintain_history")["created"] == 1


def test_another_family_is_one_insert_away(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    db.run(
        """set role flowgres_owner;
        create table flowgres.parcels (
          tenant_id uuid not null, id uuid not null, body text, primary key (tenant_id, id)) partition by range (id);
        create table flowgres.parcel_tries (
          tenant_id uuid not null, parcel_id uuid not null, number integer, primary key (tenant_id, parcel_id, number)
        ) partition by range (parcel_id);
        insert into flowgres.history_families (family, retention_setting) values ('parcels', 'delivery_retention_days');
        insert into flowgres.history_tables (family, position, table_name, key_column, storage) values
          ('parcels', 1, 'parcels', 'id', 'fillfactor = 90'),
          ('parcels', 2, 'parcel_tries', 'parcel_id', 'fillfactor = 100');
        reset role"""
    )
    put = "insert into flowgres.parcels (tenant_id, id) select %s, flowgres.uuid_v7(flowgres.now()) returning id"
    assert create_history(database) == 5
    assert [end - begin for begin, end in bounds(db, "parcels")] == [end - begin for begin, end in bounds(db)]
    first = db.value(put, tenant.tenant_id)
    db.run("insert into flowgres.parcel_tries values (%s, %s, 1)", tenant.tenant_id, first)
    assert (
        db.value("select tableoid::regclass::text from flowgres.parcels") == f"flowgres.{partitions(db, 'parcels')[0]}"
    )

    # Its retention of 7 days ends long before the 30 of executions, in its periods and in the default partition.
    clock.advance(seconds=7 * 7 * DAY)
    late = db.value(put, tenant.tenant_id)
    assert (
        db.value("select tableoid::regclass::text from flowgres.parcels where id = %s", late)
        == "flowgres.parcels_default"
    )
    clock.advance(seconds=8 * DAY)
    assert retire_history(database) == {"retired": 5 + 3, "deleted": 1}
    assert db.value("select count(*) from flowgres.parcels") == 0
    assert db.value("select count(*) from flowgres.parcel_tries") == 0


def test_idempotency_keys_are_pruned_after_their_time(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    name = import_workflow(db, tenant, dag("keyed", [{"id": "only"}]))
    first = start(database, tenant, name, idempotency_key="order-1")
    assert start(database, tenant, name, idempotency_key="order-1") == first
    clock.advance(seconds=31 * DAY)
    with database.connect("runner") as runner:
        assert runner.call("flowgres.prune", p_limit=100) == 1
    assert start(database, tenant, name, idempotency_key="order-1") != first


def test_a_runner_makes_and_drops_periods(db: Db, clock: Clock, start_runner: Callable[[], Runner]) -> None:
    clock.advance(seconds=34 * DAY)
    db.run("update flowgres.settings set value = '20' where name = 'log_retention_days'")
    start_runner()
    wait_for(lambda: bounds(db)[-1][1] > clock.now() + timedelta(days=28), what="the making of periods")
    wait_for(lambda: len(partitions(db)) == 7, what="the end of old periods")
    assert_periods_are_sound(db)
