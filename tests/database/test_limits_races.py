"""Letting go what waits for limits, between connections: who holds what, who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.database import Clock, Database
from tests.support.definitions import log_step
from tests.support.engine import completed, hands
from tests.support.limits import Limits, drain
from tests.support.races import rivals


@pytest.fixture
def limits(database: Database, clock: Clock) -> Iterator[Limits]:
    with database.connect() as db:
        yield Limits(database, db, clock)


def admit(limits: Limits) -> int:
    return int(limits.db.call("flowgres.admit", p_limit=100))


@pytest.mark.parametrize("kind", ["step", "workflow"])
def test_of_two_who_let_go_at_once_one_goes_by(limits: Limits, kind: str) -> None:
    limits.set(capacity=2)
    if kind == "step":
        limits.define(log_step("a", limit="m"))
    else:
        limits.define(concurrency={"limit": 2})
    limits.start(5)
    with limits.author.connect() as other, rivals(limits.db) as run:
        other.run("begin")
        assert other.call("flowgres.admit", p_limit=100) == 2
        with limits.author.connect() as second:
            rival = run(second, lambda: second.call("flowgres.admit", p_limit=100))
            assert not rival.run_until_blocked()
            assert rival.answer() == 0
        other.run("commit")
    assert admit(limits) == 0


def test_start_and_end_wait_for_nobody_who_lets_go(limits: Limits) -> None:
    limits.set(capacity=1)
    limits.define(log_step("a", limit="m"), concurrency={"limit": 1})
    limits.start(3)
    with hands(limits.database) as runner, limits.author.connect() as other, rivals(limits.db) as run:
        (lease,) = runner.claim()
        other.run("begin")
        other.call("flowgres.admit", p_limit=100)
        with limits.author.connect() as second:
            started = run(second, lambda: limits.start(db=second))
            assert not started.run_until_blocked()
            started.answer()
        ended = run(runner.db, lambda: runner.report_once([runner.result(lease, completed())]))
        assert not ended.run_until_blocked()
        assert ended.answer() == []
        other.run("commit")
        drain(runner)


def test_start_that_is_not_committed_is_not_waited_for(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1})
    with limits.author.connect() as slow:
        slow.run("begin")
        limits.start(db=slow)
        (quick,) = limits.start()
        with hands(limits.database) as runner:
            (lease,) = runner.claim()
            assert str(lease["execution_id"]) == quick
            slow.run("commit")
            assert runner.claim() == []
            drain(runner)


def test_limit_that_somebody_sets_is_passed_over_and_holds_when_it_is_set(limits: Limits) -> None:
    limits.set(capacity=1)
    limits.define(log_step("a", limit="m"))
    limits.start(3)
    with limits.author.connect() as setter, rivals(limits.db) as run, limits.author.connect() as other:
        setter.run("begin")
        setter.call("flowgres_api.set_limit", name="m", capacity=2)
        rival = run(other, lambda: other.call("flowgres.admit", p_limit=100))
        assert not rival.run_until_blocked()
        assert rival.answer() == 0
        setter.run("commit")
    assert admit(limits) == 2


def test_who_is_being_cancelled_is_passed_over_and_the_next_goes(limits: Limits) -> None:
    limits.set(capacity=1)
    limits.define(log_step("a", limit="m"))
    first, second = limits.start(2)
    with limits.author.connect() as canceller:
        canceller.run("begin")
        canceller.call("flowgres_api.cancel_execution", execution_id=first)
        with hands(limits.database) as runner:
            (lease,) = runner.claim()
            assert str(lease["execution_id"]) == second
            canceller.run("commit")
            runner.report([runner.result(lease, completed())])


def test_place_of_an_end_that_is_rolled_back_stays_taken(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1})
    first, second = limits.start(2)
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        assert str(lease["execution_id"]) == first
        with limits.author.connect() as canceller:
            canceller.run("begin")
            canceller.call("flowgres_api.cancel_execution", execution_id=first)
            assert admit(limits) == 0
            canceller.run("rollback")
        assert admit(limits) == 0
        runner.report([runner.result(lease, completed())])
        assert [str(row["execution_id"]) for row in runner.claim()] == [second]


def test_forgetting_places_waits_for_nobody_and_takes_none_that_is_held(limits: Limits) -> None:
    limits.define(concurrency={"limit": 2, "key": "$.k"})
    for key in range(3):
        limits.start(k=key)
    with hands(limits.database) as runner, limits.author.connect() as other, rivals(limits.db) as run:
        leases = runner.claim()
        runner.report([runner.result(leases[0], completed())])
        limits.start(k=0)
        other.run("begin")
        other.call("flowgres.admit", p_limit=100)
        with limits.author.connect() as second:
            rival = run(second, lambda: second.call("flowgres.prune_slots", p_limit=100))
            assert not rival.run_until_blocked()
            rival.answer()
        other.run("commit")
        limits.db.call("flowgres.prune_slots", p_limit=100)
        assert limits.db.value("select count(*) from flowgres.limit_slots") == 3
        drain(runner)
        runner.report([runner.result(lease, completed()) for lease in leases[1:]])


def test_another_tenants_backlog_is_no_queue_that_a_start_stands_in(limits: Limits) -> None:
    limits.define()
    crowd = Limits(limits.database, limits.db, limits.clock)
    crowd.define()
    crowd.author.use()
    limits.db.run("update flowgres.settings set value = '1000000' where name = 'rate_limit_per_minute'")
    for _ in range(20):
        limits.db.run(
            "select flowgres_api.start_executions(workflow => 'w', inputs => (select jsonb_agg('{}'::jsonb)"
            " from generate_series(1, 1000)))"
        )
    limits.author.use()
    with hands(limits.database) as runner:
        for _ in range(20):
            (execution,) = limits.start()
            leases = runner.claim(10)
            mine = [lease for lease in leases if str(lease["execution_id"]) == execution]
            assert len(mine) == 1, "it is in the next claim, whatever stands before it in the queue of another"
            assert len(leases) == 10
            runner.report([runner.result(lease, completed()) for lease in leases])
    limits.db.run("truncate flowgres.work_queue, flowgres.executions")
