"""The end of an execution, and who is at work on its instance meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest

from tests.support.database import Clock, Database, Db
from tests.support.engine import Hands, assert_invariants, completed, failed, hands
from tests.support.machines import WORK, Machines, going, links, way
from tests.support.races import Run, refusal_code, rivals

INSTANCES = 12
ROUNDS = 40


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


@pytest.fixture
def started(machines: Machines) -> str:
    """An instance that waits for its execution."""
    machines.author.import_(WORK)
    machines.add(going("a>b", "b>c", "b>d", "c>a", final="c", b={"on_success": "c", "on_failure": "d"}))
    instance = machines.start()
    machines.move(instance, "b")
    return instance


@pytest.mark.parametrize("is_kept", [True, False], ids=["transition commits", "transition rolls back"])
def test_end_does_not_wait_for_whoever_holds_the_instance(
    machines: Machines, runner: Hands, started: str, is_kept: bool
) -> None:
    with machines.author.connect() as other:
        with other.connection.transaction(force_rollback=not is_kept):
            machines.move(started, "d", other)
            runner.work()
            assert links(machines, "status, moved_to, reason") == [("completed", None, "pending")]
            assert runner.db.call("flowgres.follow_pending", p_limit=10) == 0
        machines.db.run("update flowgres.instance_executions set due_at = flowgres.now()")
        assert runner.db.call("flowgres.follow_pending", p_limit=10) == 1
    expected = ("completed", None, "instance_moved_on") if is_kept else ("completed", "c", None)
    assert links(machines, "status, moved_to, reason") == [expected]
    assert machines.row(started)["current_state"] == ("d" if is_kept else "c")
    assert runner.db.call("flowgres.follow_pending", p_limit=10) == 0


def test_transition_waits_for_the_end_and_is_judged_by_what_it_left(
    machines: Machines, runner: Hands, started: str, run: Run
) -> None:
    with machines.author.connect() as other:
        (lease,) = runner.claim()
        with runner.db.connection.transaction():
            runner.report([runner.result(lease, completed())])
            rival = run(other, lambda: machines.move(started, "d", other))
            assert rival.run_until_blocked()
        error = rival.refusal()
        assert error is not None
        assert refusal_code(error) == "transition_not_allowed"
    assert machines.row(started)["current_state"] == "c"


def test_whoever_dies_between_the_end_and_the_commit_has_done_neither(
    machines: Machines, runner: Hands, started: str, database: Database
) -> None:
    (lease,) = runner.claim()
    with database.connect("runner") as second:
        second.run("begin")
        result = [runner.result(lease, completed())]
        second.all("select * from flowgres.complete_and_claim(%s, %s, 0, null)", runner.id, result)
        machines.db.run("select pg_terminate_backend(%s, 20000)", second.connection.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            second.value("select 1")
    assert machines.row(started)["current_state"] == "b"
    assert links(machines, "status, moved_to") == [("queued", None)]
    runner.report([runner.result(lease, completed())])
    assert machines.row(started)["current_state"] == "c"


def test_opening_again_waits_for_the_sweep_and_not_for_a_start(
    machines: Machines, runner: Hands, database: Database
) -> None:
    machines.author.import_(WORK)
    definition = going("a>b", final="b", b={"on_failure": "a"})
    definition["transitions"].append(way("b", "a"))
    machines.add(definition)
    instance = machines.start()
    machines.move(instance, "b")
    with machines.author.connect() as other:
        with other.connection.transaction():
            rival = machines.start(db=other)
            runner.work(lambda lease, step: failed())
            assert links(machines, "status, reason") == [("failed", "pending")]
            assert runner.db.call("flowgres.follow_pending", p_limit=10) == 0
        machines.db.run("update flowgres.instance_executions set due_at = flowgres.now()")
        assert runner.db.call("flowgres.follow_pending", p_limit=10) == 1
    assert links(machines, "reason") == [("instance_exists",)]
    assert machines.row(rival)["status"] == "active"


def test_what_goes_wrong_fails_neither_the_end_nor_the_others(machines: Machines, runner: Hands, started: str) -> None:
    other = machines.start("2")
    machines.move(other, "b")
    machines.db.run(
        "create function public.break_it() returns trigger language plpgsql as"
        f" $$begin if new.instance_id = '{started}' then raise 'it broke'; end if; return new; end$$"
    )
    machines.db.run(
        "create trigger broken before insert on flowgres.instance_history"
        " for each row execute function public.break_it()"
    )
    runner.work()
    assert links(machines, "status, reason") == [("completed", "pending")] * 2
    assert runner.db.call("flowgres.follow_pending", p_limit=10) == 2
    assert links(machines, "status, reason, message", started) == [("completed", "internal_error", "it broke")]
    assert links(machines, "moved_to", other) == [("c",)]


def test_what_went_wrong_is_tried_again_until_it_is_put_right(
    machines: Machines, runner: Hands, started: str, clock: Clock
) -> None:
    machines.db.run("alter table flowgres.instance_history add constraint broken check (to_state <> 'c') not valid")
    runner.work()
    for wait in (100, 1000):
        assert runner.db.call("flowgres.follow_pending", p_limit=10) == 1
        assert runner.db.call("flowgres.follow_pending", p_limit=10) == 0
        assert links(machines, "status, reason") == [("completed", "internal_error")]
        clock.advance(seconds=wait)
    machines.db.run("alter table flowgres.instance_history drop constraint broken")
    assert runner.db.call("flowgres.follow_pending", p_limit=10) == 1
    assert links(machines, "moved_to, reason") == [("c", None)]


def test_ends_cancels_and_transitions_at_once_neither_wait_in_a_circle_nor_lose_an_end(
    machines: Machines, database: Database
) -> None:
    machines.author.import_(WORK)
    machines.add(
        going("a>b", "b>c", "b>d", "c>a", "d>a", "*>a", b={"on_success": "c", "on_failure": "d"}, c={"on_failure": "a"})
    )
    machines.db.run("update flowgres.settings set value = '1000000' where name = 'rate_limit_per_minute'")
    ids = [machines.start(str(number)) for number in range(INSTANCES)]
    found: list[str] = []

    def work(db: Db, seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(ROUNDS):
            chosen = draw.sample(ids, draw.randint(1, INSTANCES))
            try:
                if draw.random() < 0.7:
                    query = "select flowgres_api.execute_transitions(%s::uuid[], %s, on_error => 'report')"
                    db.run(query, "{" + ",".join(chosen) + "}", draw.choice("abbb"))
                else:
                    open_ones = "select execution_id from flowgres.instance_executions where status is null"
                    for execution in db.column(f"{open_ones} order by random() limit 1"):
                        db.call("flowgres_api.cancel_execution", execution_id=str(execution))
            except psycopg.Error as error:
                if refusal_code(error) != "execution_ended":
                    found.append(f"{error.sqlstate}: {error}")

    def run(runner: Hands, seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(ROUNDS):
            try:
                leases = runner.claim(draw.randint(1, 8))
                runner.report([runner.result(lease, draw.choice((completed(), failed()))) for lease in leases])
                runner.db.call("flowgres.follow_pending", p_limit=10)
            except psycopg.Error as error:
                found.append(f"{error.sqlstate}: {error}")

    with ExitStack() as stack:
        people = [stack.enter_context(machines.author.connect()) for _ in range(4)]
        runners = [stack.enter_context(hands(database)) for _ in range(3)]
        with ThreadPoolExecutor() as pool:
            jobs = [pool.submit(work, db, seed) for seed, db in enumerate(people)]
            jobs += [pool.submit(run, runner, 100 + seed) for seed, runner in enumerate(runners)]
            for job in jobs:
                job.result(120)
        assert found == []
        runners[0].work()
        machines.db.run("update flowgres.instance_executions set due_at = flowgres.now() where due_at is not null")
        runners[0].db.call("flowgres.follow_pending", p_limit=1000)
        runners[0].work()
    assert_invariants(machines.db)
    assert machines.db.call("flowgres_api.verify_history", limit=1000)["valid"] is True
    # Each move by an end is in the history, and each move by the engine is that of an end.
    by_ends = machines.db.value("select count(*) from flowgres.instance_executions where moved_to is not null")
    assert by_ends > 0
    assert by_ends == machines.db.value(
        "select count(*) from flowgres.instance_history where starts_with(actor, 'execution:')"
    )


@pytest.mark.parametrize("follows_failures", [True, False])
def test_instance_that_followed_a_failure_stays_and_another_follows_the_retry(
    machines: Machines, runner: Hands, follows_failures: bool
) -> None:
    machines.author.import_(WORK)
    ways = {"on_success": "c"} | ({"on_failure": "d"} if follows_failures else {})
    machines.add(going("a>b", "b>c", "b>d", "c>a", final="c", b=ways))
    instance = machines.start()
    machines.move(instance, "b")
    runner.work(lambda lease, step: failed())
    (execution,) = machines.db.column("select id from flowgres.executions where trigger_type = 'transition'")
    assert links(machines, "status, moved_to, reason") == [("failed", "d" if follows_failures else None, None)]
    machines.db.call("flowgres_api.retry_execution", execution_id=execution)
    assert_invariants(machines.db, drained=False)
    runner.work()
    expected = ("completed", "d", "instance_moved_on") if follows_failures else ("completed", "c", None)
    assert links(machines, "status, moved_to, reason") == [expected]
    assert machines.row(instance)["current_state"] == expected[1]
    assert_invariants(machines.db)
