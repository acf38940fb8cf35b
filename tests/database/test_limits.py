"""Limits of steps: so many at once, or in a time; what waits, what has a place, and when it is given back."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.database import Clock, Database
from tests.support.definitions import log_step
from tests.support.engine import completed, failed, hands, outwait_lease
from tests.support.limits import Limits, drain


@pytest.fixture
def limits(database: Database, clock: Clock) -> Iterator[Limits]:
    with database.connect() as db:
        yield Limits(database, db, clock)


def test_no_more_run_at_once_than_there_is_room_for(limits: Limits) -> None:
    limits.set(capacity=2)
    limits.define(log_step("a", limit="m"))
    limits.start(5)
    with hands(limits.database) as runner:
        leases = runner.claim()
        assert len(leases) == 2
        assert runner.claim() == []
        assert (limits.shown()["in_use"], limits.shown()["waiting"]) == (2, 3)
        runner.report([runner.result(leases[0], completed())])
        assert len(runner.claim()) == 1
        assert limits.shown()["waiting"] == 2


def test_what_waits_goes_by_priority_and_then_by_age(limits: Limits) -> None:
    limits.set()
    limits.define(log_step("a", limit="m"))
    later, first = limits.start(2)
    urgent = limits.db.call("flowgres_api.start_execution", workflow="w", input={}, priority=0)["execution_id"]
    with hands(limits.database) as runner:
        ran = []
        while leases := runner.claim():
            ran += [str(lease["execution_id"]) for lease in leases]
            runner.report([runner.result(lease, completed()) for lease in leases])
    assert ran == [urgent, later, first]


def test_step_of_a_chain_waits_and_is_neither_handed_over_nor_run_ahead(limits: Limits) -> None:
    limits.set()
    limits.define(log_step("a"), log_step("b", "a", limit="m"), log_step("c", "b"))
    limits.start(2)
    with hands(limits.database) as runner:
        version = runner.db.call("flowgres.get_version", p_version_id=runner.claim()[0]["version_id"])
        assert version["steps"][0]["next"] is None
        assert version["steps"][1]["next"] == 2
        leases = limits.db.all("select * from flowgres.work_queue where runner_id is not null")
        handed = runner.report([runner.result({**row, "queue_id": row["id"]}, completed()) for row in leases])
        assert handed == []
        assert [runner.step_name(lease) for lease in runner.claim()] == ["b"]


def test_retry_waits_in_line_again_and_gives_its_place_back_meanwhile(limits: Limits) -> None:
    limits.set()
    limits.define(log_step("a", limit="m", retry={"attempts": 2, "delay": 5, "jitter": False, "errors": ["timeout"]}))
    limits.start(2)
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        runner.report([runner.result(lease, failed("timeout"))])
        (other,) = runner.claim()
        assert other["execution_id"] != lease["execution_id"]
        limits.clock.advance(seconds=6)
        assert runner.claim() == []
        runner.report([runner.result(other, completed())])
        (again,) = runner.claim()
        assert (again["execution_id"], again["attempt"]) == (lease["execution_id"], 2)


def test_place_of_a_killed_runner_is_given_to_the_next_and_its_step_waits_again(limits: Limits) -> None:
    limits.set()
    limits.define(log_step("a", limit="m"))
    limits.start(2)
    with hands(limits.database) as dead, hands(limits.database) as heir:
        (lost,) = dead.claim()
        assert heir.claim() == []
        outwait_lease(limits.db, limits.clock, heir)
        assert heir.sweep() == 1
        (lease,) = heir.claim()
        assert limits.shown()["in_use"] == 1
        heir.report([heir.result(lease, completed())])
        drain(heir)
        assert {limits.status(str(row["execution_id"])) for row in (lost, lease)} == {"completed"}


def test_lease_that_is_given_back_waits_again(limits: Limits) -> None:
    limits.set()
    limits.define(log_step("a", limit="m"))
    limits.start(1)
    with hands(limits.database) as leaving, hands(limits.database) as other:
        (lease,) = leaving.claim()
        leaving.db.call("flowgres.stop_runner", p_runner_id=leaving.id)
        (again,) = other.claim()
        assert (again["queue_id"], again["attempt"]) == (lease["queue_id"], 1)


def test_cancelled_execution_gives_its_place_back(limits: Limits) -> None:
    limits.set()
    limits.define(log_step("a", limit="m"))
    limits.start(2)
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        limits.db.call("flowgres_api.cancel_execution", execution_id=str(lease["execution_id"]))
        (other,) = runner.claim()
        assert other["execution_id"] != lease["execution_id"]


def test_step_that_waits_for_somebody_keeps_its_place(limits: Limits) -> None:
    limits.set()
    limits.define({"id": "a", "type": "wait", "config": {"signal": "go"}, "depends_on": [], "limit": "m"})
    limits.start(2)
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        runner.report([runner.result(lease, {"o": "suspended", "seconds": 60})])
        assert runner.claim() == []
        assert limits.shown()["in_use"] == 1
        limits.clock.advance(seconds=61)
        (resumed,) = runner.claim()
        assert resumed["queue_id"] == lease["queue_id"]
        runner.report([runner.result(resumed, completed())])
        assert len(runner.claim()) == 1


def test_iterations_have_a_place_each(limits: Limits) -> None:
    limits.set(capacity=2)
    limits.define(log_step("a", limit="m", foreach={"items": [1, 2, 3, 4, 5], "max_parallel": 5}))
    (execution,) = limits.start()
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        runner.report([runner.result(lease, {"o": "expand", "out": [1, 2, 3, 4, 5]})])
        count = 0
        while leases := runner.claim():
            assert len(leases) <= 2
            count += len(leases)
            runner.report([runner.result(lease, completed()) for lease in leases])
        assert count == 5
    assert limits.status(execution) == "completed"


def test_capacity_changes_at_once(limits: Limits) -> None:
    limits.set(capacity=3)
    limits.define(log_step("a", limit="m"))
    limits.start(6)
    with hands(limits.database) as runner:
        leases = runner.claim()
        limits.set(capacity=1, reason="the other side is slow")
        runner.report([runner.result(lease, completed()) for lease in leases[:2]])
        assert runner.claim() == []
        limits.set(capacity=2)
        assert len(runner.claim()) == 1
    audit = limits.db.all("select * from flowgres.audit_log where action = 'limit_set' order by at, id")
    assert [row["details"]["capacity"] for row in audit] == [3, 1, 2]


@pytest.mark.parametrize("per", [1, 60, 86_400])
def test_no_more_begin_in_any_time_of_that_length(limits: Limits, per: int) -> None:
    limits.set(capacity=4, per_seconds=per)
    limits.define(log_step("a", limit="m"))
    limits.start(40)
    began = []
    with hands(limits.database) as runner:
        for _ in range(160):
            leases = runner.claim()
            ids = "{" + ",".join(str(lease["execution_id"]) for lease in leases) + "}"
            query = "select taken_at from flowgres.limit_slots where execution_id = any(%s::uuid[])"
            began += limits.db.column(query, ids)
            runner.report([runner.result(lease, completed()) for lease in leases])
            limits.clock.advance(seconds=per / 8)
    assert len(began) == 40, "the rate is not far below what was asked for"
    spans = [(after - before).total_seconds() for before, after in zip(began, began[4:], strict=False)]
    assert min(spans) >= per


def test_step_without_a_limit_of_that_name_waits_for_one(limits: Limits) -> None:
    made = limits.define(log_step("a", limit="m"))
    assert [warning["code"] for warning in made["warnings"]] == ["limit_not_found"]
    limits.start()
    with hands(limits.database) as runner:
        assert runner.claim() == []
        limits.set()
        assert len(runner.claim()) == 1


def test_limit_that_is_named_or_waited_for_is_not_deleted(limits: Limits) -> None:
    limits.set()
    limits.set("other", 5)
    limits.define(log_step("a", limit="m"))
    with pytest.raises(psycopg.Error) as caught:
        limits.db.call("flowgres_api.delete_limit", name="m")
    assert caught.value.diag.constraint_name == "limit_in_use"
    assert limits.db.call("flowgres_api.delete_limit", name="other") == {"name": "other", "deleted": True}


def test_hundred_thousand_that_wait_are_not_read(limits: Limits) -> None:
    limits.set(capacity=3)
    made = limits.define(log_step("a", limit="m"))
    limits.db.run(
        "insert into flowgres.work_queue (tenant_id, execution_id, version_id, ready_at, step_index, capability)"
        " select %s, gen_random_uuid(), %s, now(), 0, 'limit:m' from generate_series(1, 100000)",
        limits.author.tenant_id,
        made["version_id"],
    )
    try:
        limits.db.run("begin")
        assert limits.db.call("flowgres.admit", p_limit=32) == 3
        plan = limits.db.all("select * from pg_stat_xact_user_tables where relname = 'work_queue'")[0]
        assert plan["seq_tup_read"] == 0
        assert plan["idx_tup_fetch"] < 100
        limits.db.run("rollback")
    finally:
        limits.db.run("delete from flowgres.work_queue")
