"""History partitions: created ahead, filled by time, dropped as a whole."""

from __future__ import annotations

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import assert_invariants, completed, dag, get, hands, import_workflow, start

PARENTS = ["attempts", "events", "executions", "step_executions"]


def _partitions(db: Db, parent: str = "executions") -> list[str]:
    return db.column(
        "select inhrelid::regclass::text from pg_inherits where inhparent = %s::regclass order by 1",
        f"flowgres.{parent}",
    )


def _partition_of(db: Db, execution_id: str, table: str = "executions", key: str = "id") -> str:
    return str(
        db.value(f"select tableoid::regclass::text from flowgres.{table} where {key} = %s limit 1", execution_id)
    )


def _run_one(database: Database, db: Db, tenant: Tenant) -> str:
    name = import_workflow(db, tenant, dag("history", [{"id": "only"}]))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        # A line in its log has a row of events of its own.
        runner.work(lambda _lease, _step: completed(logs=[{"level": "info", "message": "here"}]))
    return execution_id


def test_children_land_in_the_period_of_their_execution(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = _run_one(database, db, tenant)
    suffix = _partition_of(db, execution_id).removeprefix("flowgres.executions_")
    assert suffix != "default"
    assert _partition_of(db, execution_id, "step_executions", "execution_id") == f"flowgres.step_executions_{suffix}"
    assert _partition_of(db, execution_id, "events", "execution_id") == f"flowgres.events_{suffix}"


def test_partitions_are_made_ahead_as_time_goes_on(database: Database, db: Db, clock: Clock) -> None:
    before = _partitions(db)
    clock.advance(seconds=14 * 86400)
    with database.connect("runner") as runner:
        answer = runner.call("flowgres.maintain_history")
    assert answer == {"created": 2, "retired": 0}
    assert len(_partitions(db)) == len(before) + 2
    assert {len(_partitions(db, parent)) for parent in PARENTS} == {len(before) + 2}


def test_new_partitions_are_protected_and_explained(database: Database, db: Db, clock: Clock) -> None:
    clock.advance(seconds=14 * 86400)
    with database.connect("runner") as runner:
        runner.call("flowgres.maintain_history")
    naked = db.column(
        """select c.relname from pg_class as c
        where c.relnamespace = 'flowgres'::regnamespace and c.relispartition and c.relkind = 'r' and (
          not c.relrowsecurity or not c.relforcerowsecurity or obj_description(c.oid, 'pg_class') is null
          or not exists (select from pg_policy as p where p.polrelid = c.oid))"""
    )
    assert naked == []


def test_old_period_is_dropped_when_its_executions_have_ended(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    execution_id = _run_one(database, db, tenant)
    old = _partition_of(db, execution_id)
    clock.advance(seconds=60 * 86400)
    with database.connect("runner") as runner:
        assert runner.call("flowgres.maintain_history")["retired"] >= 1
    assert old not in _partitions(db)
    assert db.value("select count(*) from flowgres.executions where id = %s", execution_id) == 0
    assert_invariants(db)


def test_period_with_an_open_execution_stays(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    name = import_workflow(db, tenant, dag("open", [{"id": "only"}]))
    execution_id = start(database, tenant, name)
    clock.advance(seconds=60 * 86400)
    with database.connect("runner") as runner:
        assert runner.call("flowgres.maintain_history")["retired"] == 0
    with hands(database) as runner_hands:
        runner_hands.work(lambda *_: completed("late"))
    assert get(database, tenant, execution_id)["output"] == {"only": "late"}


def test_start_never_fails_for_want_of_a_partition(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    name = import_workflow(db, tenant, dag("late", [{"id": "only"}]))
    clock.advance(seconds=400 * 86400)
    execution_id = start(database, tenant, name)
    assert _partition_of(db, execution_id) == "flowgres.executions_default"
    with database.connect("runner") as runner:
        assert runner.call("flowgres.maintain_history")["created"] > 0
    newer = start(database, tenant, name)
    with hands(database) as runner_hands:
        runner_hands.work()
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert get(database, tenant, newer)["status"] == "completed"


def test_idempotency_keys_are_pruned_after_their_time(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    name = import_workflow(db, tenant, dag("keyed", [{"id": "only"}]))
    first = start(database, tenant, name, idempotency_key="order-1")
    assert start(database, tenant, name, idempotency_key="order-1") == first
    clock.advance(seconds=31 * 86400)
    with database.connect("runner") as runner:
        assert runner.call("flowgres.prune", p_limit=100) == 1
    assert start(database, tenant, name, idempotency_key="order-1") != first
