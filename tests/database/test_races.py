"""A lease that is given back while it is reported, and an execution that somebody holds: each race in its orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, hands, import_workflow, start
from tests.support.races import Lane, Run, descend, drain, execution_of, import_call_tree, rivals

MOST_SECONDS_BLOCKED = 0.1
LOCK = "select from flowgres.executions where id = %s for no key update"


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


@pytest.fixture
def lane(database: Database, runner: Hands) -> Iterator[Lane]:
    with database.connect("runner") as db:
        yield Lane(db, runner)


# A lease that is given back, and its report.

REPORTS: dict[str, dict[str, Any]] = {
    "completed": completed(1),
    "completed with logs": completed(1, logs=[{"level": "info", "message": "one"}]),
    "with the next step run ahead": completed(1, ahead=[{"s": 1, "ms": 1.0, **completed(2)}]),
    "failed": failed(),
    "tried again": failed("timeout"),
    "suspended": {"o": "suspended", "seconds": 5},
    "skipped": {"o": "skipped"},
    "announced": {"o": "started"},
}


@pytest.mark.parametrize("outcome", REPORTS.values(), ids=REPORTS.keys())
@pytest.mark.parametrize("release", [Lane.release, Lane.release_unknown], ids=["release", "release_unknown"])
@pytest.mark.parametrize("is_released_first", [True, False], ids=["released first", "reported first"])
def test_released_lease_is_either_recorded_or_ready_again(
    database: Database,
    db: Db,
    tenant: Tenant,
    run: Run,
    runner: Hands,
    lane: Lane,
    is_released_first: bool,
    release: Callable[..., int],
    outcome: dict[str, Any],
) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a", "retry": {"attempts": 2, "errors": ["timeout"]}, "on_error": "continue"},
        {"id": "b", "depends_on": ["a"]},
        {"id": "c", "depends_on": ["b"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("chain", steps)))
    (lease,) = runner.claim(1)
    report = [runner.result(lease, outcome)]
    if is_released_first:
        with runner.db.connection.transaction():
            given_back = release(Lane(runner.db, runner), lease)
            rival = run(lane.db, lambda: lane.report(report))
            rival.run_until_blocked()
        rival.answer()
    else:
        with runner.db.connection.transaction():
            runner.report(report)
            # It waits for nobody.
            given_back = release(lane, lease)
    told = "select type from flowgres.all_events where type like 'step%%' and execution_id = %s"
    is_recorded = bool(db.all(told, execution_id))
    if is_released_first:
        assert (given_back, is_recorded) == (1, False)
    elif outcome["o"] != "started":
        assert is_recorded
    # What has ended is not in the queue.
    assert not db.all(
        "select from flowgres.work_queue as q join flowgres.step_executions as s"
        " on s.execution_id = q.execution_id and s.step_index = q.step_index where s.finished_at is not null"
    )
    assert_invariants(db, drained=False)
    db.run("update flowgres.work_queue set due_at = null where due_at < 'infinity'")
    drain(database, db, runner)


def test_lease_that_is_given_back_is_not_waited_for(
    database: Database, db: Db, tenant: Tenant, run: Run, runner: Hands, lane: Lane
) -> None:
    name = import_workflow(db, tenant, dag("one", [{"id": "only"}]))
    for _ in range(2):
        start(database, tenant, name)
    first, second = sorted(runner.claim(2), key=lambda lease: str(lease["execution_id"]))
    with ExitStack() as stack, database.connect("runner") as other:
        holder = stack.enter_context(database.connect())
        stack.enter_context(holder.connection.transaction())
        holder.run("select from flowgres.work_queue where id = %s for update", second["queue_id"])
        assert lane.release(second, first) == 1
        results = [runner.result(lease, completed()) for lease in (first, second)]
        reporting = run(other, lambda: Lane(other, runner).report(results))
        reporting.run_until_blocked()
        stack.close()
        assert reporting.refusal() is None
    assert_invariants(db, drained=False)
    drain(database, db, runner)


# An execution that somebody holds, and the rest of its batch.


def test_held_execution_keeps_nothing_else_of_its_batch_waiting(
    database: Database, db: Db, tenant: Tenant, run: Run, runner: Hands
) -> None:
    name = import_workflow(db, tenant, dag("one", [{"id": "only"}]))
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.start_executions", workflow=name, inputs=[{} for _ in range(110)])
    leases = runner.claim(100)
    held = leases[50]
    ended = "select count(*) from flowgres.executions where finished_at is not null"
    with database.connect() as holder, database.connect("runner") as other, hands(database) as second:
        with holder.connection.transaction():
            holder.run(LOCK, held["execution_id"])
            results = [runner.result(lease, completed()) for lease in leases]
            rival = run(other, lambda: Lane(other, runner).report(results))
            claiming = run(second.db, lambda: second.claim(10))
            assert rival.blocked_seconds(at_most=0.5) <= MOST_SECONDS_BLOCKED
            assert len(claiming.answer()) == 10
            assert rival.refusal() is None
            assert db.value(ended) == 99
            # The lease goes on, so that its report can be sent again.
            beat = runner.db.call(
                "flowgres.heartbeat",
                p_runner_id=runner.id,
                p_running=[
                    [str(held["tenant_id"]), str(held["execution_id"]), held["queue_id"], held["token"]],
                    [str(leases[0]["tenant_id"]), str(leases[0]["execution_id"]), leases[0]["queue_id"], 1],
                ],
                p_stats={},
            )
            assert beat["lost"] == [leases[0]["queue_id"]]
        # Nothing was handed over here: what the answer speaks of is what was not taken.
        assert [(row["queue_id"], row["is_passed_over"]) for row in rival.answer()] == [(held["queue_id"], True)]
        runner.report([runner.result(held, completed())])
        assert db.value(ended) == 100
        drain(database, db, runner, second)


@pytest.mark.parametrize("outcome", [completed(), failed()], ids=["completed", "failed"])
def test_open_cancel_of_a_child_keeps_nothing_else_of_its_parents_batch_waiting(
    database: Database, db: Db, tenant: Tenant, run: Run, runner: Hands, outcome: dict[str, Any]
) -> None:
    """A child is cancelled in a transaction that stays open; meanwhile its parent reports, in a batch with others."""
    import_call_tree(db, tenant, parent=[{"id": "beside"}])
    start(database, tenant, "top")
    beside = descend(runner, to="first", keep=("beside",))["beside"]
    others = import_workflow(db, tenant, dag("one", [{"id": "only"}]))
    ids = [start(database, tenant, others) for _ in range(10)]
    leases = runner.claim(10)
    results = [runner.result(lease, completed()) for lease in leases]
    results.insert(5, runner.result(beside, outcome))
    with database.connect("runner") as other, ExitStack() as stack:
        api = stack.enter_context(database.as_role("member", tenant_id=tenant.tenant_id))
        api.call("flowgres_api.cancel_execution", execution_id=execution_of(db, "middle"))
        rival = run(other, lambda: Lane(other, runner).report(results))
        assert rival.blocked_seconds(at_most=0.5) <= MOST_SECONDS_BLOCKED
        assert rival.refusal() is None
        done = db.column("select id::text from flowgres.executions where status = 'completed'")
        assert set(ids) <= set(done)
    runner.report(results)
    assert_invariants(db, drained=False)
    drain(database, db, runner)
