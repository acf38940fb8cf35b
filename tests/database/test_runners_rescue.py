"""Rescue and expiry beside somebody who holds the lock of an execution."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import (
    Hands,
    assert_invariants,
    dag,
    failed,
    get,
    hands,
    import_workflow,
    outwait_lease,
    start,
)

LOCK = "select from flowgres.executions where id = %s for no key update"


@pytest.fixture
def ids(database: Database, db: Db, tenant: Tenant) -> list[str]:
    name = import_workflow(db, tenant, dag("one", [{"id": "a"}], settings={"timeout": 20}))
    return [start(database, tenant, name) for _ in range(3)]


def test_held_lock_does_not_stall_the_rescue_of_others(
    database: Database, db: Db, clock: Clock, runner: Hands, ids: list[str]
) -> None:
    assert len(runner.claim()) == 3
    outwait_lease(db, clock)
    db.run("set statement_timeout to '3s'")
    with database.connect() as other, other.connection.transaction():
        other.run(LOCK, ids[0])
        assert db.value("select flowgres.rescue_expired_leases(200)") == 2
    assert db.value("select flowgres.rescue_expired_leases(200)") == 1
    assert db.value("select count(*) from flowgres.work_queue where runner_id is null") == 3
    assert_invariants(db, drained=False)


def test_held_lock_does_not_stall_the_expiry_of_others(
    database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands, ids: list[str]
) -> None:
    runner.report([runner.result(lease, {"o": "started"}) for lease in runner.claim()])
    clock.advance(seconds=21)
    db.run("set statement_timeout to '3s'")
    with database.connect() as other, other.connection.transaction():
        other.run(LOCK, ids[0])
        assert db.value("select flowgres.expire_executions(200)") == 2
    assert db.value("select flowgres.expire_executions(200)") == 1
    assert {get(database, tenant, x)["error"]["code"] for x in ids} == {"execution_timeout"}
    assert_invariants(db)


def test_step_that_was_lost_twice_is_leased_alone_until_it_is_done(
    database: Database, db: Db, tenant: Tenant, clock: Clock, ids: list[str]
) -> None:
    for _ in range(2):
        with hands(database) as doomed:
            assert len(doomed.claim()) == 3
            outwait_lease(db, clock)
            db.run("select flowgres.rescue_expired_leases(200)")
    fresh = start(database, tenant, "one")
    with hands(database) as heir, hands(database) as second:
        claimed = heir.claim()
        assert len(claimed) == 2
        # One suspect, and beside it what is not.
        claimed.sort(key=lambda lease: str(lease["execution_id"]) == fresh)
        assert [str(lease["execution_id"]) in ids for lease in claimed] == [True, False]
        assert str(claimed[1]["execution_id"]) == fresh
        assert heir.claim() == []
        assert [str(lease["execution_id"]) in ids for lease in second.claim()] == [True]
        # One call reports it and takes the next.
        (lease,) = heir.report([heir.result(claimed[0], {"o": "completed", "out": 1})], want=10)
        assert lease["attempt"] == 3


FAILED_BEFORE = {"id": "a", "retry": {"attempts": 5, "delay": 1, "jitter": False}}, failed("timeout")
WAITED_BEFORE = {"id": "a", "type": "delay", "config": {"seconds": 1}}, {"o": "suspended", "seconds": 1}


@pytest.mark.parametrize(("step", "outcome"), [FAILED_BEFORE, WAITED_BEFORE], ids=["failed before", "waited before"])
def test_step_that_was_lost_once_is_no_suspect_whatever_came_before(
    database: Database, db: Db, tenant: Tenant, clock: Clock, step: dict[str, Any], outcome: dict[str, Any]
) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("once", [step])))
    with hands(database) as doomed, hands(database) as alive:
        doomed.report([doomed.result(lease, outcome) for lease in doomed.claim()])
        clock.advance(seconds=2)
        assert len(doomed.claim()) == 1
        outwait_lease(db, clock, alive)
        assert alive.sweep() == 1
    assert db.column("select capability from flowgres.work_queue") == ["core"]
