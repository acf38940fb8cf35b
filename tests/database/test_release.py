"""Leases given back by runners that live, beside those who report and lock the same rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, hands, import_workflow, start
from tests.support.runner import wait_for

GIVES_BACK = (
    "select count(*) from pg_stat_activity where query like 'select \"flowgres\".%' and wait_event_type = 'Lock'"
)
LOCK = "select from flowgres.work_queue where id = %s for update"


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
def test_step_that_was_reported_meanwhile_is_not_given_back(
    database: Database, db: Db, tenant: Tenant, give_back: GiveBack
) -> None:
    name = import_workflow(db, tenant, dag("two", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    start(database, tenant, name)
    with hands(database) as runner, database.connect("runner") as lane, ThreadPoolExecutor() as pool:
        (lease,) = runner.claim()
        with lane.connection.transaction():
            # The row goes on to the next step, which nobody holds yet; then the report commits.
            report = json.dumps([runner.result(lease, completed())])
            lane.all("select * from flowgres.complete_and_claim(%s, %s::jsonb, 0, null)", runner.id, report)
            lane.run("select flowgres.release_unknown(%s, '[]')", runner.id)
            answer = pool.submit(give_back, runner, [lease])
            wait_for(lambda: db.value(GIVES_BACK) == 1, what="the one that waits")
        answer.result()
    assert db.all("select step_index::int, runner_id, attempt::int, token::int from flowgres.work_queue") == [
        {"step_index": 1, "runner_id": None, "attempt": 0, "token": 2}
    ]
    assert_invariants(db, drained=False)


@pytest.mark.parametrize("give_back", WAYS)
def test_rows_are_locked_in_the_order_of_an_advance(
    database: Database, db: Db, tenant: Tenant, single: str, give_back: GiveBack
) -> None:
    for _ in range(2):
        start(database, tenant, single)
    with hands(database) as runner, database.connect() as other, ThreadPoolExecutor() as pool:
        leases = sorted(runner.claim(), key=lambda lease: str(lease["execution_id"]))
        with other.connection.transaction():
            other.run(LOCK, leases[0]["queue_id"])
            answer = pool.submit(give_back, runner, leases[::-1])
            wait_for(lambda: db.value(GIVES_BACK) == 1, what="the one that waits")
            # It holds nothing that an advance, which goes the same way, would want now.
            other.run(f"{LOCK} nowait", leases[1]["queue_id"])
        assert answer.result() == 2
    assert queue(db) == [(None, 0)] * 2
