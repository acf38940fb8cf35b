"""Leases given back by runners that live, beside those who report and lock the same rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, hands, import_workflow, start
from tests.support.races import drain
from tests.support.runner import wait_for

CANCEL_WAITS = (
    "select count(*) from pg_stat_activity where query like '%%cancel_execution%%' and wait_event_type = 'Lock'"
)
WAITS = "select count(*) from pg_stat_activity where query like '%%complete_and_claim%%' and wait_event_type = 'Lock'"


@pytest.fixture
def single(db: Db, tenant: Tenant) -> str:
    """A workflow of one step."""
    return import_workflow(db, tenant, dag("single", [{"id": "only"}]))


def release(runner: Hands, leases: list[Row]) -> int:
    rows = [[str(r["tenant_id"]), str(r["execution_id"]), r["queue_id"], r["token"]] for r in leases]
    return int(runner.db.call("flowgres.release", p_runner_id=runner.id, p_rows=rows))


def release_unknown(runner: Hands, leases: list[Row]) -> int:
    del leases
    return int(runner.db.call("flowgres.release_unknown", p_runner_id=runner.id, p_known=[]))


def sign_off(runner: Hands, leases: list[Row]) -> int:
    runner.db.call("flowgres.stop_runner", p_runner_id=runner.id)
    return len(leases)


WAYS = [release, release_unknown, sign_off]
GiveBack = Callable[[Hands, list[Row]], int]


def queue(db: Db) -> list[Any]:
    return [tuple(row.values()) for row in db.all("select runner_id, attempt from flowgres.work_queue order by id")]


@pytest.mark.parametrize("give_back", WAYS)
def test_leases_that_are_given_back_are_ready_again_as_the_same_attempt(
    database: Database, db: Db, tenant: Tenant, single: str, give_back: GiveBack
) -> None:
    for _ in range(3):
        start(database, tenant, single)
    with hands(database) as runner, hands(database) as heir:
        leases = runner.claim()
        assert give_back(runner, leases) == 3
        assert queue(db) == [(None, 0)] * 3
        assert [lease["attempt"] for lease in heir.claim()] == [1] * 3
        assert runner.report([runner.result(lease, completed()) for lease in leases]) == []
        assert_invariants(db, drained=False)


def test_only_the_leases_that_are_meant_are_given_back(database: Database, db: Db, tenant: Tenant, single: str) -> None:
    for _ in range(3):
        start(database, tenant, single)
    with hands(database) as runner, hands(database) as other:
        first, second = runner.claim(2)
        other.claim(1)
        assert release(runner, [first | {"token": first["token"] + 1}]) == 0
        assert release(other, [first]) == 0
        assert release(runner, [second]) == 1
        known = [[first["queue_id"], first["token"]]]
        assert runner.db.call("flowgres.release_unknown", p_runner_id=runner.id, p_known=known) == 0
        held = "select runner_id::text, count(*)::int as n from flowgres.work_queue group by 1"
        assert {r["runner_id"]: r["n"] for r in db.all(held)} == {runner.id: 1, other.id: 1, None: 1}


@pytest.mark.parametrize("give_back", WAYS)
def test_lease_whose_report_is_under_way_is_passed_over(
    database: Database, db: Db, tenant: Tenant, give_back: GiveBack
) -> None:
    name = import_workflow(db, tenant, dag("two", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    start(database, tenant, name)
    with hands(database) as runner, database.connect("runner") as lane:
        (lease,) = runner.claim()
        with lane.connection.transaction():
            report = json.dumps([runner.result(lease, completed())])
            lane.all("select * from flowgres.complete_and_claim(%s, %s::jsonb, 0, null)", runner.id, report)
            give_back(runner, [lease])
        assert db.column("select step from flowgres.step_executions where finished_at is not null") == ["a"]
        drain(database, db, runner)


@pytest.mark.parametrize("give_back", WAYS)
def test_row_that_somebody_holds_is_given_back_later(
    database: Database, db: Db, tenant: Tenant, single: str, give_back: GiveBack
) -> None:
    for _ in range(3):
        start(database, tenant, single)
    with hands(database) as runner, hands(database) as other, database.connect() as person:
        leases = runner.claim()
        with person.connection.transaction():
            person.run("select from flowgres.work_queue where id = %s for update", leases[1]["queue_id"])
            give_back(runner, leases)
            assert sorted(attempt for _, attempt in queue(db)) == [0, 0, 1]
            # The sweep waits for nobody either.
            assert other.db.call("flowgres.rescue_expired_leases", p_limit=10) == 0
        if give_back is sign_off:
            assert other.db.call("flowgres.rescue_expired_leases", p_limit=10) == 1
        else:
            assert release_unknown(runner, []) == 1
        # The same attempt as ever: who signed off is not to blame.
        assert queue(db) == [(None, 0)] * 3
        assert_invariants(db, drained=False)


def test_report_that_cancels_what_its_runner_gives_back_meets_no_deadlock(
    database: Database, db: Db, tenant: Tenant, single: str
) -> None:
    fan = import_workflow(db, tenant, dag("fan", [{"id": "a"}, {"id": "b"}]))
    start(database, tenant, fan)
    start(database, tenant, single)
    with (
        hands(database) as runner,
        database.connect("runner") as lane,
        database.connect() as person,
        ThreadPoolExecutor() as pool,
    ):
        failing, sibling, later = sorted(runner.claim(), key=lambda r: (str(r["execution_id"]), r["queue_id"]))
        with person.connection.transaction():
            # The report is stopped where it has its own rows, and waits for that of the step that it cancels.
            person.run("select from flowgres.work_queue where id = %s for update", sibling["queue_id"])
            results = [runner.result(failing, failed()), runner.result(later, completed())]
            query = "select * from flowgres.complete_and_claim(%s, %s::jsonb, 0, null)"
            answer = pool.submit(lane.all, query, runner.id, json.dumps(results))
            wait_for(lambda: db.value(WAITS) == 1, what="the report that waits")
            assert release(runner, [sibling, later]) == 0
        assert answer.result() == []
    drain(database, db)


def test_claim_does_not_wait_for_its_runner_to_sign_off(
    database: Database, db: Db, tenant: Tenant, single: str
) -> None:
    with hands(database) as runner, database.connect("runner") as lane, database.connect("runner") as leaving:
        runner.db.call("flowgres.declare_idle", p_runner_id=runner.id, p_idle=True)
        start(database, tenant, single)
        lane.run("set lock_timeout to '2s'")
        with leaving.connection.transaction():
            leaving.run("select flowgres.stop_runner(%s)", runner.id)
            # Who signs off holds the row of the runner, and wants those that are taken here.
            assert len(lane.all("select * from flowgres.claim(%s, 1, null)", runner.id)) == 1
        drain(database, db)


def test_claim_that_finds_a_deleted_workflow_waits_for_nobody_who_cancels_its_executions(
    database: Database, db: Db, tenant: Tenant
) -> None:
    child = import_workflow(db, tenant, dag("child", [{"id": "first"}]))
    call = {"id": "call", "type": "sub_workflow", "config": {"workflow": child}}
    parent = start(database, tenant, import_workflow(db, tenant, dag("parent", [call])))
    with (
        hands(database) as runner,
        database.connect("runner") as lane,
        database.connect() as person,
        ThreadPoolExecutor() as pool,
    ):
        (lease,) = runner.claim()
        with database.as_role("member", tenant_id=tenant.tenant_id) as deleting:
            deleting.call("flowgres_api.delete_workflow", workflow=child)
            # The child is started while its workflow is being deleted.
            runner.report_once([runner.result(lease, {"o": "child", "workflow": child, "input": {}})], room=0)
        lane.run("set lock_timeout to '2s'")

        def cancel() -> None:
            with database.as_role("member", tenant_id=tenant.tenant_id) as api:
                api.call("flowgres_api.cancel_execution", execution_id=parent, reason="no more")

        with person.connection.transaction():
            # The cancel is stopped where it has noted the child, and waits for it.
            person.run("select from flowgres.executions where parent_execution_id = %s for no key update", parent)
            cancelled = pool.submit(cancel)
            wait_for(lambda: db.value(CANCEL_WAITS) == 1, what="the cancel that waits")
            # A claim has the row of the child, which the cancel wants next, and notes the child as well.
            assert lane.all("select * from flowgres.claim(%s, 10, null)", runner.id) == []
        cancelled.result()
        drain(database, db)
