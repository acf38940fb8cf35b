"""What goes on again has a place or waits for one: executions that are retried, forked, repaired and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.database import Clock, Database, Row
from tests.support.definitions import log_step, sub_workflow
from tests.support.engine import Hands, assert_invariants, completed, failed, hands
from tests.support.limits import Limits, drain

Json = Any
ONE = {"limit": 1}


@pytest.fixture
def limits(database: Database, clock: Clock) -> Iterator[Limits]:
    with database.connect() as db:
        yield Limits(database, db, clock)


@pytest.fixture
def runner(database: Database) -> Iterator[Hands]:
    with hands(database) as runner:
        yield runner


def act(limits: Limits, verb: str, **arguments: Json) -> Json:
    return limits.db.call(f"flowgres_api.{verb}", **arguments)


def claim(runner: Hands) -> list[Row]:
    """What is claimed when everybody has looked at the lines."""
    runner.db.call("flowgres.admit", p_limit=1000)
    return runner.claim()


def finish(runner: Hands, lease: Row, end: Json = None) -> None:
    """Report, and complete what is handed over for it."""
    for more in runner.report([runner.result(lease, end or completed())]):
        finish(runner, more)


def fail_at(limits: Limits, runner: Hands, step: str) -> str:
    """An execution that has failed there."""
    (execution,) = limits.start()
    runner.work(lambda _, name: failed() if name == step else completed(name))
    assert limits.status(execution).startswith("failed")
    return execution


@pytest.mark.parametrize("is_pruned", [False, True])
def test_retried_execution_waits_for_its_turn(limits: Limits, runner: Hands, is_pruned: bool) -> None:
    limits.define(log_step("a"), log_step("b", "a"), concurrency=ONE)
    execution = fail_at(limits, runner, "b")
    if is_pruned:
        limits.db.call("flowgres.prune_slots", p_limit=100)
    (other,) = limits.start()
    (lease,) = claim(runner)
    assert act(limits, "retry_execution", execution_id=execution)["status"] == "queued"
    assert claim(runner) == []
    assert_invariants(limits.db, drained=False)
    assert limits.db.value("select deadline_at from flowgres.executions where id = %s", execution) is None
    finish(runner, lease)
    drain(runner)
    assert (limits.status(execution), limits.status(other)) == ("completed", "completed")
    assert_invariants(limits.db)


def test_retried_execution_that_nobody_has_replaced_goes_on_before_others(limits: Limits, runner: Hands) -> None:
    limits.define(log_step("a"), log_step("b", "a"), concurrency=ONE)
    execution = fail_at(limits, runner, "b")
    act(limits, "retry_execution", execution_id=execution)
    limits.start()
    (lease,) = claim(runner)
    assert str(lease["execution_id"]) == execution
    assert limits.db.value("select count(*) from flowgres.limit_slots") == 1
    assert_invariants(limits.db, drained=False)
    finish(runner, lease)
    drain(runner)
    assert_invariants(limits.db)


def test_execution_that_is_retried_by_itself_keeps_its_place(limits: Limits, runner: Hands, clock: Clock) -> None:
    limits.define(log_step("a"), concurrency=ONE, max_retries=1)
    first, second = limits.start(2)
    (lease,) = claim(runner)
    finish(runner, lease, failed())
    assert claim(runner) == []
    assert limits.status(first) == "retrying"
    clock.advance(seconds=60)
    (lease,) = claim(runner)
    assert str(lease["execution_id"]) == first
    assert_invariants(limits.db, drained=False)
    finish(runner, lease)
    drain(runner)
    assert {limits.status(first), limits.status(second)} == {"completed"}
    assert_invariants(limits.db)


def test_steps_of_a_retried_execution_wait_for_their_limits(limits: Limits, runner: Hands) -> None:
    limits.set()
    limits.define(log_step("a", limit="m"), log_step("b", "a"))
    execution = fail_at(limits, runner, "a")
    limits.start()
    (lease,) = claim(runner)
    act(limits, "retry_execution", execution_id=execution)
    assert claim(runner) == []
    assert_invariants(limits.db, drained=False)
    finish(runner, lease)
    drain(runner)
    assert limits.status(execution) == "completed"
    assert_invariants(limits.db)


def test_child_that_runs_in_the_place_of_its_caller_waits_with_it(limits: Limits, runner: Hands) -> None:
    limits.define(sub_workflow("again", "{{ input.name }}"), concurrency=ONE)
    (execution,) = limits.start(name="w")

    def answer(lease: Row, end: Json) -> Json:
        if str(lease["execution_id"]) == execution and lease["resume"] is None:
            return {"o": "child", "workflow": "w", "input": {"name": "w"}}
        return end

    while not limits.status(execution).startswith("failed"):
        for lease in claim(runner):
            is_resumed = lease["resume"] is not None
            finish(runner, lease, failed("child", retryable=False) if is_resumed else answer(lease, failed()))
    (other,) = limits.start(name="w")
    (lease,) = claim(runner)
    act(limits, "retry_execution", execution_id=execution)
    assert claim(runner) == []
    assert_invariants(limits.db, drained=False)
    finish(runner, lease)
    while leases := claim(runner):
        for lease in leases:
            finish(runner, lease, answer(lease, completed()))
    assert {limits.status(execution), limits.status(other)} == {"completed"}
    assert_invariants(limits.db)


def test_fork_waits_for_its_turn(limits: Limits, runner: Hands) -> None:
    limits.define(log_step("a"), log_step("b", "a"), concurrency=ONE)
    original = fail_at(limits, runner, "b")
    limits.start()
    (lease,) = claim(runner)
    fork = act(limits, "replay_execution", execution_id=original, from_step="b")
    assert fork["status"] == "queued"
    assert claim(runner) == []
    assert_invariants(limits.db, drained=False)
    finish(runner, lease)
    drain(runner)
    assert limits.status(fork["execution_id"]) == "completed"
    assert_invariants(limits.db)


def test_fork_in_a_paused_workflow_stands_still(limits: Limits, runner: Hands) -> None:
    limits.define(log_step("a"), log_step("b", "a"), concurrency=ONE)
    original = fail_at(limits, runner, "b")
    act(limits, "pause_workflow", workflow="w")
    forks = [act(limits, "replay_execution", execution_id=original, from_step="b") for _ in range(2)]
    assert claim(runner) == []
    assert limits.db.value("select count(*) from flowgres.limit_slots as s where flowgres.slot_is_held(s)") == 0
    act(limits, "resume_workflow", workflow="w")
    (lease,) = claim(runner)
    finish(runner, lease)
    drain(runner)
    assert {limits.status(fork["execution_id"]) for fork in forks} == {"completed"}
    assert_invariants(limits.db)


def test_fork_of_a_fork_that_was_retried_says_whose_steps_it_has(limits: Limits, runner: Hands) -> None:
    limits.define(log_step("a"), log_step("b", "a"))
    original = fail_at(limits, runner, "b")
    fork = act(limits, "replay_execution", execution_id=original, from_step="b")["execution_id"]
    runner.work(lambda _, name: failed())
    act(limits, "retry_execution", execution_id=fork)
    assert_invariants(limits.db, drained=False)
    runner.work()
    reused = dict(
        (row["step"], row["reused_from"])
        for row in limits.db.all(
            "select step, reused_from::text from flowgres.step_executions where execution_id = %s", fork
        )
    )
    assert reused == {"a": original, "b": None}
    assert_invariants(limits.db)


@pytest.mark.parametrize("what", ["workflow", "tenant"])
@pytest.mark.parametrize("kind", ["step", "execution"])
def test_what_stands_still_takes_no_place(limits: Limits, runner: Hands, what: str, kind: str) -> None:
    limits.set(capacity=1)
    by_step = {"step": {"limit": "m"}, "execution": {}}[kind]
    settings = {"step": {}, "execution": {"concurrency": ONE}}[kind]
    limits.define(log_step("a", **by_step), name="still", **settings)
    limits.define(log_step("a", **by_step), name="moving", **settings)
    (still,) = limits.start(workflow="still")
    act(limits, f"pause_{what}", **({"workflow": "still"} if what == "workflow" else {}))
    (moving,) = limits.start(workflow="moving")
    leases = claim(runner) + claim(runner)
    assert [str(lease["execution_id"]) for lease in leases] == ([moving] if what == "workflow" else [])
    taken = set(limits.db.column("select execution_id::text from flowgres.limit_slots"))
    assert taken == ({moving} if what == "workflow" else set())
    assert_invariants(limits.db, drained=False)
    runner.report([runner.result(lease, completed()) for lease in leases])
    act(limits, f"resume_{what}", **({"workflow": "still"} if what == "workflow" else {}))
    drain(runner)
    assert {limits.status(still), limits.status(moving)} == {"completed"}
    assert_invariants(limits.db)


@pytest.mark.parametrize("has_begun", [False, True])
def test_paused_execution_keeps_its_place_and_takes_none(limits: Limits, runner: Hands, has_begun: bool) -> None:
    limits.define(log_step("a"), log_step("b", "a"), concurrency=ONE)
    first, second = limits.start(2)
    if has_begun:
        (lease,) = claim(runner)
        runner.report([runner.result(lease, completed())])
    act(limits, "pause_execution", execution_id=first)
    assert [str(lease["execution_id"]) for lease in claim(runner)] == ([] if has_begun else [second])
    assert_invariants(limits.db, drained=False)
    act(limits, "resume_execution", execution_id=first)
    assert limits.status(first) == ("running" if has_begun else "queued")
    drain_all(limits, runner)
    assert_invariants(limits.db)


def drain_all(limits: Limits, runner: Hands) -> None:
    for row in limits.db.all("select * from flowgres.work_queue where runner_id is not null"):
        runner.db.call(
            "flowgres.release",
            p_runner_id=runner.id,
            p_rows=[[str(row["tenant_id"]), str(row["execution_id"]), row["id"], row["token"]]],
        )
    drain(runner)


def test_one_that_is_retried_by_itself_stays_paused_and_its_wait_is_no_active_time(
    limits: Limits, runner: Hands, clock: Clock
) -> None:
    limits.define(log_step("a"), max_retries=1, timeout=30)
    (execution,) = limits.start()
    (lease,) = claim(runner)
    act(limits, "pause_execution", execution_id=execution)
    finish(runner, lease, failed())
    assert limits.status(execution) == "paused"
    assert_invariants(limits.db, drained=False)
    clock.advance(seconds=60)
    assert claim(runner) == []
    assert act(limits, "resume_execution", execution_id=execution)["status"] in ("retrying", "running")
    drain(runner)
    assert limits.status(execution) == "completed"
    assert_invariants(limits.db)


def test_resumed_in_the_pause_before_a_retry_it_has_no_clock(limits: Limits, runner: Hands) -> None:
    limits.define(log_step("a"), max_retries=1, timeout=30)
    (execution,) = limits.start()
    (lease,) = claim(runner)
    finish(runner, lease, failed())
    act(limits, "pause_execution", execution_id=execution)
    assert act(limits, "resume_execution", execution_id=execution)["status"] == "retrying"
    row = limits.db.one("select active_since, deadline_at from flowgres.executions where id = %s", execution)
    assert row == {"active_since": None, "deadline_at": None}
    assert_invariants(limits.db, drained=False)


REPAIRS: dict[str, Json] = {"skip_step": {}, "complete_step": {"output": {"n": 1}}, "fail_step": {}, "cancel_step": {}}


@pytest.mark.parametrize("verb", [*REPAIRS, "retry_step"])
def test_repaired_step_gives_its_place_back(limits: Limits, runner: Hands, verb: str) -> None:
    limits.set()
    limits.define(log_step("a", limit="m"), log_step("b", "a"))
    first, second = limits.start(2)
    (lease,) = claim(runner)
    act(limits, verb, execution_id=str(lease["execution_id"]), step="a", **REPAIRS.get(verb, {}))
    assert_invariants(limits.db, drained=False)
    assert {runner.step_name(one) for one in claim(runner)} >= {"a"}
    drain_all(limits, runner)
    assert limits.db.value("select count(*) from flowgres.work_queue") == 0
    assert first != second
    assert_invariants(limits.db)


@pytest.mark.parametrize("verb", ["skip_step", "complete_step"])
def test_repair_gives_no_turn(limits: Limits, runner: Hands, verb: str) -> None:
    limits.define(log_step("a"), log_step("b", "a"), concurrency=ONE)
    limits.start()
    (lease,) = claim(runner)
    (waiting,) = limits.start()
    act(limits, verb, execution_id=waiting, step="a", **REPAIRS[verb])
    assert claim(runner) == []
    assert_invariants(limits.db, drained=False)
    finish(runner, lease)
    drain(runner)
    assert limits.db.value("select count(*) from flowgres.work_queue") == 0
    assert_invariants(limits.db)


def test_what_comes_after_a_repaired_step_of_a_paused_execution_is_held(limits: Limits, runner: Hands) -> None:
    items = {"foreach": {"items": "{{ [1, 2] }}"}}
    limits.define(log_step("a", **items), log_step("b", "a"))
    (execution,) = limits.start()
    (lease,) = claim(runner)
    runner.report([runner.result(lease, {"o": "expand", "out": [1, 2]})], want=0)
    act(limits, "pause_execution", execution_id=execution)
    act(limits, "complete_step", execution_id=execution, step="a", output={"n": 1})
    assert claim(runner) == []
    assert_invariants(limits.db, drained=False)
    act(limits, "resume_execution", execution_id=execution)
    drain(runner)
    assert_invariants(limits.db)
