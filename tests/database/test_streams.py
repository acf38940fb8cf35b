"""What the engine leaves for those who listen, and what it never waits for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, completed, dag, hands, import_workflow, start

STEPS: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]


@pytest.fixture
def tenant(database: Database) -> Tenant:
    return database.make_tenant()


def watch(database: Database, tenant: Tenant) -> str:
    """Have the tenant's changes written down; the snapshot from which on they are."""
    while True:
        with database.as_role("viewer", tenant_id=tenant.tenant_id) as db:
            answer = db.call("flowgres.watch_tenant")
        if answer["is_complete"]:
            return str(answer["snapshot"])


def changes(db: Db) -> list[tuple[int, int]]:
    rows = db.all("select after_seq, last_seq from flowgres.stream_changes order by xid, execution_id, last_seq")
    return [(row["after_seq"], row["last_seq"]) for row in rows]


@pytest.mark.parametrize("way", ["reports", "chain", "cancel"])
def test_ranges_of_an_execution_follow_each_other(database: Database, db: Db, tenant: Tenant, way: str) -> None:
    workflow = import_workflow(db, tenant, dag("flow", STEPS))
    watch(database, tenant)
    execution_id = start(database, tenant, workflow)
    with hands(database) as runner:
        if way == "cancel":
            runner.claim()
            with database.as_role("member", tenant_id=tenant.tenant_id) as member:
                member.call("flowgres_api.cancel_execution", execution_id=execution_id)
        elif way == "chain":
            runner.report_chains([(runner.claim()[0], [1, 2])])
        else:
            runner.work()

    last = db.value("select event_seq from flowgres.executions where id = %s", execution_id)
    found = changes(db)
    assert [after for after, _ in found] == [0, *(seq for _, seq in found[:-1])]
    assert found[-1][1] == last


def test_watch_is_not_complete_before_those_have_ended_who_may_not_know_of_it(
    database: Database, db: Db, tenant: Tenant
) -> None:
    with database.connect() as early, early.connection.transaction():
        early.run("select pg_current_xact_id()")
        for _ in range(3):
            with database.as_role("viewer", tenant_id=tenant.tenant_id) as viewer:
                assert not viewer.call("flowgres.watch_tenant")["is_complete"]
    watch(database, tenant)


def test_call_that_waits_does_not_wait_for_who_holds_the_execution(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("flow", STEPS)))
    with database.connect() as holder, holder.connection.transaction():
        holder.run("select from flowgres.executions where id = %s for no key update", execution_id)
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.run("set local lock_timeout to '1s'")
            assert member.call("flowgres.await_end", p_execution_id=execution_id) is False
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        assert member.call("flowgres.await_end", p_execution_id=execution_id) is True


@pytest.mark.parametrize("way", ["completes", "fails", "is cancelled", "completes as a chain"])
def test_end_is_notified_where_it_is_awaited_and_nowhere_else(
    database: Database, db: Db, tenant: Tenant, way: str
) -> None:
    workflow = import_workflow(db, tenant, dag("flow", [{"id": "only"}]))
    with database.connect("front") as listener:
        listener.run("listen flowgres_ends")
        for is_awaited in (False, True):
            execution_id = start(database, tenant, workflow)
            if is_awaited:
                with database.as_role("member", tenant_id=tenant.tenant_id) as member:
                    member.call("flowgres.await_end", p_execution_id=execution_id)
            with hands(database) as runner:
                _end(database, tenant, runner, execution_id, way)
            heard = list(listener.connection.notifies(timeout=0.5 if is_awaited else 0.1, stop_after=1))
            assert [(one.channel, one.payload) for one in heard] == ([("flowgres_ends", "")] if is_awaited else [])


def _end(database: Database, tenant: Tenant, runner: Hands, execution_id: str, way: str) -> None:
    (lease,) = runner.claim()
    if way == "completes":
        runner.report([runner.result(lease, completed(1, detail={"a": 1}))])
    elif way == "completes as a chain":
        runner.report_chains([(lease, [1])])
    elif way == "fails":
        runner.report([runner.result(lease, {"o": "failed", "error": {"code": "x", "class": "permanent"}})])
    else:
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call("flowgres_api.cancel_execution", execution_id=execution_id)


def test_look_tells_no_more_than_that_something_happened(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("flow", STEPS)))
    with hands(database) as runner:
        runner.work()
    stranger = database.make_tenant("Other")
    query = (
        "select * from flowgres.look_at_executions(p_tenant_ids => %s::uuid[], p_execution_ids => %s::uuid[],"
        " p_event_seqs => %s::int[])"
    )
    with database.connect("front") as front:
        (row,) = front.connection.execute(query, ([tenant.tenant_id], [execution_id], [0])).fetchall()
        assert {"event_seq", "has_ended"} == row.keys() - {"tenant_id", "execution_id"}
        assert (row["event_seq"], row["has_ended"]) == (6, True)
        (row,) = front.connection.execute(query, ([stranger.tenant_id], [execution_id], [0])).fetchall()
        assert (row["event_seq"], row["has_ended"]) == (None, False)


def test_two_prunes_do_not_wait_for_each_other(database: Database, db: Db, tenant: Tenant) -> None:
    watch(database, tenant)
    db.run("update flowgres.stream_watches set watched_until = watched_until - interval '1 day'")
    with database.connect() as first, database.connect() as second, first.connection.transaction():
        first.run("select flowgres.prune_streams(p_limit => 10)")
        second.run("set lock_timeout to '1s'")
        assert second.value("select flowgres.prune_streams(p_limit => 10)") == 0
