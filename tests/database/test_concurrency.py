"""settings.concurrency: how many executions of a workflow and key run at once, and what becomes of one too many."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psycopg
import pytest

from tests.support.database import Clock, Database
from tests.support.definitions import log_step, sub_workflow
from tests.support.engine import assert_invariants, completed, failed, hands, outwait_lease
from tests.support.limits import Limits, drain

THREADS = 4


@pytest.fixture
def limits(database: Database, clock: Clock) -> Iterator[Limits]:
    with database.connect() as db:
        yield Limits(database, db, clock)


def test_so_many_run_at_once_and_the_others_wait_in_their_order(limits: Limits) -> None:
    limits.define(concurrency={"limit": 2})
    ids = limits.start(5)
    order = []
    with hands(limits.database) as runner:
        while leases := runner.claim():
            assert len(leases) <= 2
            order += [str(lease["execution_id"]) for lease in leases[:1]]
            runner.report([runner.result(leases[0], completed())])
            for lease in leases[1:]:
                runner.db.call(
                    "flowgres.release",
                    p_runner_id=runner.id,
                    p_rows=[[str(lease["tenant_id"]), str(lease["execution_id"]), lease["queue_id"], lease["token"]]],
                )
    assert sorted(order) == sorted(ids)
    assert order[0] == ids[0]


def test_each_key_is_counted_apart(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1, "key": "$.customer"})
    for customer in ("a", "a", "b", 1, "1", None):
        limits.start(customer=customer)
    limits.start()
    with hands(limits.database) as runner:
        # a, b, 1, "1", and nothing, which null is as well.
        assert len(runner.claim()) == 5


def test_all_first_steps_of_an_execution_go_together(limits: Limits) -> None:
    limits.define(log_step("a"), log_step("b"), log_step("c", "a", "b"), concurrency={"limit": 1})
    first, second = limits.start(2)
    with hands(limits.database) as runner:
        leases = runner.claim()
        assert [str(lease["execution_id"]) for lease in leases] == [first, first]
        (last,) = runner.report([runner.result(lease, completed()) for lease in leases])
        assert runner.claim() == []
        runner.report([runner.result(last, completed())])
        drain(runner)
    assert {limits.status(execution) for execution in (first, second)} == {"completed"}


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "expire"])
def test_place_is_free_however_an_execution_ends(limits: Limits, end: str) -> None:
    limits.define(log_step("a"), concurrency={"limit": 1}, timeout=60)
    first, second = limits.start(2)
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        match end:
            case "complete":
                runner.report([runner.result(lease, completed())])
            case "fail":
                runner.report([runner.result(lease, failed("definition"))])
            case "cancel":
                limits.db.call("flowgres_api.cancel_execution", execution_id=first)
            case "expire":
                runner.report([runner.result(lease, {"o": "started"})])
                limits.clock.advance(seconds=61)
                limits.db.call("flowgres.expire_executions", p_limit=10)
        assert [str(lease["execution_id"]) for lease in runner.claim()] == [second]


def test_start_that_is_one_too_many_is_refused(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1, "when_full": "reject"})
    limits.start()
    with pytest.raises(psycopg.Error) as caught:
        limits.start()
    assert caught.value.diag.constraint_name == "concurrency_rejected"
    assert caught.value.sqlstate == "FG409"


def test_start_that_was_not_seen_to_be_one_too_many_is_refused_when_its_turn_comes(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1, "when_full": "reject"})
    ids = limits.db.call("flowgres_api.start_executions", workflow="w", inputs=[{}, {}, {}])
    with hands(limits.database) as runner:
        drain(runner)
    assert sorted(limits.status(execution) for execution in ids) == [
        "cancelled concurrency_rejected",
        "cancelled concurrency_rejected",
        "completed",
    ]
    types = limits.db.all("select type from flowgres_api.execution_events where execution_id = %s", ids[2])
    assert {row["type"] for row in types} == {"step_cancelled", "execution_cancelled"}, "nothing of it has begun"


def test_newest_takes_the_place_of_the_oldest(limits: Limits) -> None:
    limits.define(concurrency={"limit": 2, "when_full": "cancel_oldest"})
    first, second = limits.start(2)
    with hands(limits.database) as runner:
        assert len(runner.claim()) == 2
        _, fourth, fifth = limits.start(3)
        while limits.db.call("flowgres.admit", p_limit=10) or limits.db.call("flowgres.cancel_orphan"):
            pass
        leases = runner.claim()
        assert sorted(str(lease["execution_id"]) for lease in leases) == sorted([fourth, fifth])
        runner.report([runner.result(lease, completed()) for lease in leases])
    codes = sorted(limits.status(str(row["id"])) for row in limits.db.all("select id from flowgres.executions"))
    assert codes == ["cancelled concurrency_cancelled"] * 3 + ["completed"] * 2
    assert limits.status(first) == limits.status(second)


def test_workflow_that_calls_itself_does_not_wait_for_its_own_place(limits: Limits) -> None:
    # An import refuses it where it can see it; a name that is an expression it cannot.
    limits.define(log_step("a"), concurrency={"limit": 1, "key": "$.k"})
    (execution,) = limits.start(k=1)
    with hands(limits.database) as runner:
        depth = 0
        while leases := runner.claim():
            (lease,) = leases
            if lease["resume"] is None and depth < 2:
                depth += 1
                runner.report([runner.result(lease, {"o": "child", "workflow": "w", "input": {"k": 1}})])
            else:
                runner.report([runner.result(lease, completed())])
        assert depth == 2
    assert limits.status(execution) == "completed"


def test_children_are_counted_by_the_rule_of_their_own_workflow(limits: Limits) -> None:
    limits.define(log_step("a"), name="leaf", concurrency={"limit": 1})
    limits.define(sub_workflow("call", "leaf"), name="top")
    ids = limits.start(3, workflow="top")
    with hands(limits.database) as runner:
        calls = runner.claim()
        assert len(calls) == 3
        runner.report([runner.result(lease, {"o": "child", "workflow": "leaf", "input": {}}) for lease in calls])
        while leases := runner.claim():
            assert sum(runner.step_name(lease) == "a" for lease in leases) <= 1
            runner.report([runner.result(lease, completed()) for lease in leases])
    assert {limits.status(execution) for execution in ids} == {"completed"}


def test_step_has_to_wait_for_its_limit_as_well(limits: Limits) -> None:
    limits.set()
    limits.define(log_step("a", limit="m"), concurrency={"limit": 2})
    limits.start(3)
    with hands(limits.database) as runner:
        assert len(runner.claim()) == 1
        drain(runner)
        assert limits.shown()["waiting"] <= 2


def test_scheduled_start_waits_when_its_time_has_come(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1})
    (first,) = limits.start()
    later = limits.db.value("select flowgres.now() + interval '1 minute'")
    limits.db.call("flowgres_api.start_execution", workflow="w", input={}, scheduled_at=later.isoformat())
    with hands(limits.database) as runner:
        (lease,) = runner.claim()
        assert str(lease["execution_id"]) == first
        limits.clock.advance(seconds=61)
        assert runner.claim() == []
        runner.report([runner.result(lease, completed())])
        assert len(runner.claim()) == 1


def test_places_that_nobody_has_are_forgotten(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1, "key": "$.k"})
    for key in range(10):
        limits.start(k=key)
    with hands(limits.database) as runner:
        drain(runner)
        limits.db.call("flowgres.prune", p_limit=1000)
    assert limits.db.value("select count(*) from flowgres.limit_slots") == 0


@pytest.mark.parametrize("seed", range(2))
def test_no_more_than_the_limit_ever_run_whoever_starts_ends_cancels_or_dies(limits: Limits, seed: int) -> None:
    limits.set(capacity=2)
    limits.define(log_step("a", limit="m"), log_step("b", "a"), concurrency={"limit": 3, "key": "$.k"})
    done = Event()

    def starts(thread: int) -> None:
        draw = random.Random(f"{seed} {thread}")
        with limits.author.connect() as db:
            for _ in range(25):
                (execution,) = limits.start(db=db, k=draw.randrange(2))
                if draw.random() < 0.2:
                    db.call("flowgres_api.cancel_execution", execution_id=execution)

    def works(thread: int) -> None:
        draw = random.Random(f"{seed} {thread} works")
        # Not those of support: the checks of the whole engine are made below, when all are done.
        with hands(limits.database) as runner, limits.author.connect() as db:
            while not done.is_set():
                leases = runner.claim(draw.randrange(1, 5))
                over = db.all(
                    "select s.line from flowgres.limit_slots as s where flowgres.slot_is_held(s) group by s.line"
                    " having count(*) > case when s.line = 'limit:m' then 2 else 3 end"
                )
                assert over == []
                kept = [lease for lease in leases if draw.random() < 0.9]
                runner.report([runner.result(lease, completed()) for lease in kept])
                if len(kept) < len(leases):
                    runner.db.call("flowgres.release_unknown", p_runner_id=runner.id, p_known=[])
                runner.db.call("flowgres.cancel_orphan")
            runner.db.call("flowgres.stop_runner", p_runner_id=runner.id)

    with ThreadPoolExecutor(2 * THREADS) as pool:
        workers = [pool.submit(works, thread) for thread in range(THREADS)]
        for started in [pool.submit(starts, thread) for thread in range(THREADS)]:
            started.result()
        done.set()
        for worker in workers:
            worker.result()
    with hands(limits.database) as heir:
        drain(heir)
    assert_invariants(limits.db)
    rows = limits.db.all("select status, count(*) as count from flowgres.executions group by status")
    assert {row["status"] for row in rows} <= {"completed", "cancelled"}
    assert sum(row["count"] for row in rows) == 25 * THREADS


def test_runner_that_was_killed_holds_no_place_for_ever(limits: Limits) -> None:
    limits.define(concurrency={"limit": 1})
    ids = limits.start(2)
    with hands(limits.database) as dead, hands(limits.database) as heir:
        dead.claim()
        outwait_lease(limits.db, limits.clock, heir)
        heir.sweep()
        drain(heir)
    assert {limits.status(execution) for execution in ids} == {"completed"}
