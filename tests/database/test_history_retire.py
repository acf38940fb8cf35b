"""What happens to old history: periods go as a whole, and nothing that still runs keeps the others."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import assert_invariants, completed, dag, get, hands, import_workflow, outwait_lease, start
from tests.support.history import TABLES, create_history, partition_of, partitions, retire_history

pytestmark = pytest.mark.usefixtures("one_family")

DAY = 86400


def _work(database: Database) -> None:
    with hands(database) as worker:
        worker.work()


def _start_many(database: Database, tenant: Tenant, workflow: str, count: int) -> None:
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_executions", workflow=workflow, inputs=[{}] * count)


def _days(count: float) -> timedelta:
    return timedelta(days=count)


def _counts(db: Db, execution_id: str) -> dict[str, int]:
    """How many rows each table has of an execution."""
    return {
        table: db.value(
            f"select count(*) from flowgres.{table} where {'id' if table == 'executions' else 'execution_id'} = %s",
            execution_id,
        )
        for table in TABLES
    }


def _rows_read(db: Db, tables: str) -> tuple[int, int]:
    """Rows of tables that this session has read: by scans of the whole, and through indexes.

    What it read in earlier transactions counts as long as it was not yet sent off, so only differences mean anything.
    """
    read = db.one(
        "select sum(seq_tup_read)::bigint as scanned, sum(idx_tup_fetch)::bigint as fetched"
        " from pg_stat_xact_user_tables where relname ~ %s",
        tables,
    )
    return read["scanned"], read["fetched"]


def test_old_period_is_dropped_when_its_executions_have_ended(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("old", [{"id": "only"}])))
    _work(database)
    old = partition_of(db, execution_id)
    clock.advance(seconds=36 * DAY)
    create_history(database)
    assert retire_history(database)["retired"] == 0
    clock.advance(seconds=2 * DAY)
    assert retire_history(database)["retired"] == 1
    assert old not in partitions(db)
    assert sum(_counts(db, execution_id).values()) == 0
    assert_invariants(db)


def test_an_open_execution_outlives_its_period(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    """Its period and the later ones are dropped all the same; it goes when it has been over for long enough."""
    name = import_workflow(db, tenant, dag("long", [{"id": "first"}, {"id": "second", "depends_on": ["first"]}]))
    opened, ended = start(database, tenant, name), start(database, tenant, name)
    with hands(database) as worker:
        line = {"level": "info", "message": "here"}
        leases = worker.report([worker.result(lease, completed("early", logs=[line])) for lease in worker.claim()])
        leases = [lease for lease in leases or worker.claim() if str(lease["execution_id"]) == ended]
        worker.report([worker.result(lease, completed("late")) for lease in leases])
    before = _counts(db, opened)
    assert before["step_executions"] == 1
    clock.advance(seconds=8 * DAY)
    planned = start(database, tenant, name, scheduled_at=clock.now() + _days(1000))
    clock.advance(seconds=52 * DAY)
    create_history(database)
    assert retire_history(database)["retired"] == 4
    assert sum(_counts(db, ended).values()) == 0
    assert _counts(db, opened) == before
    assert {partition_of(db, kept) for kept in (opened, planned)} == {"executions_default"}
    assert partition_of(db, opened, "step_executions") == "step_executions_default"
    assert partition_of(db, opened, "events") == "events_default"
    assert_invariants(db, drained=False)

    outwait_lease(db, clock)
    with database.connect("runner") as runner:
        runner.call("flowgres.rescue_expired_leases", p_limit=10)
    _work(database)
    assert get(database, tenant, opened)["output"] == {"second": "second"}
    assert_invariants(db, drained=False)
    clock.advance(seconds=29 * DAY)
    assert retire_history(database)["deleted"] == 0
    clock.advance(seconds=2 * DAY)
    assert retire_history(database)["deleted"] == 1
    assert sum(_counts(db, opened).values()) == 0
    assert _counts(db, planned)["executions"] == 1
    assert_invariants(db, drained=False)


def test_a_period_with_many_open_executions_is_passed_over_and_emptied_of_the_others(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    name = import_workflow(db, tenant, dag("many", [{"id": "only"}]))
    ended = [start(database, tenant, name) for _ in range(25)]
    _work(database)
    old = partition_of(db, ended[0])
    _start_many(database, tenant, name, 5001)
    clock.advance(seconds=8 * DAY)
    later = start(database, tenant, name)
    later_period = partition_of(db, later)
    clock.advance(seconds=52 * DAY)
    create_history(database)
    with database.connect("runner") as runner:
        while runner.call("flowgres.retire_history", p_limit=10)["retired"]:
            pass
        # Bounded: ten rows are looked at in a call, and each call goes on where the last one has stopped.
        deleted = [runner.call("flowgres.retire_history", p_limit=10)["deleted"] for _ in range(2)]
        assert all(count <= 10 for count in deleted)
        # A round through the 5,001 that stay, however often it is interrupted, finds all that may go.
        for _ in range(6):
            runner.call("flowgres.retire_history", p_limit=1000)
    assert old in partitions(db)
    assert later_period not in partitions(db)
    assert partition_of(db, later) == "executions_default"
    assert db.value("select count(*) from flowgres.executions") == 5002
    assert db.value("select count(*) from flowgres.events") == 0
    assert db.value("select count(*) from flowgres.step_executions") == 0
    assert_invariants(db, drained=False)

    # When they have ended, or most of them, the period goes like any other.
    with database.as_role("admin", tenant_id=tenant.tenant_id) as admin:
        for execution_id in admin.column("select id from flowgres_api.executions order by id limit 2"):
            admin.call("flowgres_api.cancel_execution", execution_id=execution_id)
    assert retire_history(database)["retired"] == 1
    assert old not in partitions(db)
    assert db.value("select count(*) from flowgres.executions_default") == 5000
    assert_invariants(db, drained=False)


def test_the_look_for_open_executions_does_not_read_history(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    name = import_workflow(db, tenant, dag("guard", [{"id": "only"}]))
    opened = start(database, tenant, name)
    _start_many(database, tenant, name, 3000)
    # All but one have ended; and the queue is full of those of another time.
    db.run("update flowgres.executions set status = 'completed', finished_at = created_at where id <> %s", opened)
    db.run("delete from flowgres.work_queue where execution_id <> %s", opened)
    clock.advance(seconds=38 * DAY)
    create_history(database)
    _start_many(database, tenant, name, 3000)
    for table in ("work_queue", "executions"):
        db.run(f"analyze flowgres.{table}")
    period = partition_of(db, opened).removeprefix("executions_")
    with db.connection.transaction():
        db.run("set local role flowgres_owner")
        before = _rows_read(db, "^executions|^work_queue$")
        found = db.column(
            "select flowgres.is_history_period_droppable(p) from flowgres.history_periods as p where p.suffix = %s",
            period,
        )
        scanned, fetched = _rows_read(db, "^executions|^work_queue$")
    assert found == [True]
    assert scanned == before[0]
    assert fetched - before[1] < 10


def test_rows_of_the_default_partition_go_when_they_are_old(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    name = import_workflow(db, tenant, dag("stray", [{"id": "only"}]))
    clock.advance(seconds=100 * DAY)
    strays = [start(database, tenant, name) for _ in range(12)]
    assert {partition_of(db, stray) for stray in strays} == {"executions_default"}
    _work(database)
    waiting = start(database, tenant, name, scheduled_at=clock.now() + _days(300))
    young = start(database, tenant, name)
    # Not before them: its first period begins with the next minute, which may be now.
    create_history(database)
    assert partition_of(db, young) == "executions_default"
    clock.advance(seconds=29 * DAY)
    retire_history(database)
    assert db.value("select count(*) from flowgres.executions_default") == 14
    clock.advance(seconds=2 * DAY)
    with database.connect("runner") as runner:
        batches = [runner.call("flowgres.retire_history", p_limit=5)["deleted"] for _ in range(4)]
    assert batches == [5, 5, 2, 0]
    assert sorted(db.column("select id::text from flowgres.executions_default")) == sorted([waiting, young])
    assert {sum(_counts(db, stray).values()) for stray in strays} == {0}
    assert_invariants(db, drained=False)


def test_the_look_for_strays_reads_only_the_old_ones(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    name = import_workflow(db, tenant, dag("young", [{"id": "only"}]))
    clock.advance(seconds=100 * DAY)
    _start_many(database, tenant, name, 3000)
    db.run("analyze flowgres.executions_default")
    with db.connection.transaction():
        before = _rows_read(db, "^executions_default$")
        db.call("flowgres.retire_history", p_limit=500)
        assert _rows_read(db, "^executions_default$") == before
    # Attaching a period checks the default partition as a whole, and reads no more than that.
    with db.connection.transaction():
        db.run("set local role flowgres_owner")
        db.call("flowgres.build_history_period", p_family="executions")
        query = (
            "explain (format text) select d.id from flowgres.executions_default as d where d.id >= %s and d.id < %s"
            " order by d.id desc, d.tenant_id desc limit 1"
        )
        plan = "\n".join(db.column(query, "0" * 32, "f" * 32))
    assert "executions_default_key_idx" in plan


def test_a_child_may_go_before_its_parent_and_goes_as_a_whole(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "only"}]))
    parent_name = import_workflow(
        db,
        tenant,
        dag(
            "parent",
            [
                {"id": "call", "type": "sub_workflow", "config": {"workflow": "child"}},
                {"id": "after", "depends_on": ["call"]},
            ],
        ),
    )
    parent = start(database, tenant, parent_name)

    def decide(lease: dict[str, Any], step: str) -> dict[str, Any]:
        return (
            {"o": "child", "workflow": "child", "input": {}} if step == "call" and not lease["resume"] else completed(1)
        )

    with hands(database) as worker:
        for _ in range(3):
            leases = [lease for lease in worker.claim() if worker.step_name(lease) != "after"]
            worker.report([worker.result(lease, decide(lease, worker.step_name(lease))) for lease in leases])
    child = db.value("select id from flowgres.executions where parent_execution_id = %s", parent)
    assert db.value("select status from flowgres.executions where id = %s", child) == "completed"
    assert db.value("select finished_at is null from flowgres.executions where id = %s", parent)
    clock.advance(seconds=60 * DAY)
    create_history(database)
    retire_history(database)
    assert sum(_counts(db, child).values()) == 0
    assert_invariants(db, drained=False)
    outwait_lease(db, clock)
    with database.connect("runner") as runner:
        runner.call("flowgres.rescue_expired_leases", p_limit=10)
    _work(database)
    assert get(database, tenant, parent)["status"] == "completed"
    assert_invariants(db)


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "now() + interval '6 years'"])
def test_no_start_can_be_put_off_for_ever(database: Database, db: Db, tenant: Tenant, moment: str) -> None:
    name = import_workflow(db, tenant, dag("later", [{"id": "only"}]))
    value = moment if "(" not in moment else str(db.value(f"select {moment}"))
    with pytest.raises(psycopg.Error) as refused:
        start(database, tenant, name, scheduled_at=value)
    assert "scheduled_at_invalid" in str(refused.value)
    assert db.value("select count(*) from flowgres.executions") == 0


@pytest.mark.parametrize("days", [-1, 1, 1825])
def test_a_start_can_be_put_off_for_years(database: Database, db: Db, tenant: Tenant, clock: Clock, days: int) -> None:
    name = import_workflow(db, tenant, dag("later", [{"id": "only"}]))
    assert start(database, tenant, name, scheduled_at=clock.now() + _days(days))
