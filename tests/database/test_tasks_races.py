"""Tasks that two touch at once: workers, the engine, and who cancels; and what 10,000 open ones cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Row
from tests.support.engine import Hands, assert_invariants
from tests.support.floors import buffers_of_look
from tests.support.races import Run, refusal_code, rivals
from tests.support.tasks import Workers

Lanes = Callable[[], Db]

CLAIM = "select flowgres_api.claim_tasks('mail', %s)"
COMPLETE = "select flowgres_api.complete_task(%s, %s, '1')"
MORE = """
insert into flowgres.work_queue (
  tenant_id, execution_id, version_id, due_at, ready_at, step_index, iteration, attempt, capability, resume, waits_for,
  is_announced)
select
  q.tenant_id, q.execution_id, q.version_id, %s, q.ready_at, q.step_index, n, 1, q.capability, q.resume, q.waits_for,
  true
from flowgres.work_queue as q cross join generate_series(1, 10000) as n
where q.iteration = -1 and q.capability = 'task:mail'
"""
PICK = "explain (analyze, buffers, format json) select flowgres.pick_tasks(%s, 'mail', 1)"


@pytest.fixture
def workers(database: Database, db: Db, runner: Hands) -> Workers:
    return Workers(database, db, runner, database.make_tenant())


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


@pytest.fixture
def lanes(workers: Workers) -> Iterator[Lanes]:
    """`lanes()` is one more connection that works for the tenant, with transactions of its own."""
    with ExitStack() as stack:

        def lane() -> Db:
            db = stack.enter_context(workers.database.connect())
            db.run("select set_config('flowgres.tenant_id', %s, false)", workers.tenant.tenant_id)
            return db

        yield lane


@pytest.mark.parametrize("is_kept", [True, False], ids=["first commits", "first rolls back"])
def test_of_two_claims_at_once_one_has_the_task(workers: Workers, lanes: Lanes, run: Run, is_kept: bool) -> None:
    workers.start()
    first, second = lanes(), lanes()
    with first.connection.transaction(force_rollback=not is_kept):
        assert first.value(CLAIM, "first") is not None
        rival = run(second, lambda: second.column(CLAIM, "second"))
        assert rival.run_until_blocked()
    assert len(rival.answer()) == (0 if is_kept else 1)
    assert workers.db.value("select worker from flowgres.tasks") == ("first" if is_kept else "second")


def test_claim_does_not_wait_long_for_one_that_stays_open(workers: Workers, lanes: Lanes) -> None:
    workers.start()
    first, second = lanes(), lanes()
    with first.connection.transaction():
        assert first.value(CLAIM, "first") is not None
        assert second.column(CLAIM, "second") == []
        # What is in another execution is there all the same.
        workers.start()
        assert len(second.column(CLAIM, "second")) == 1


@pytest.mark.parametrize("is_kept", [True, False], ids=["first commits", "first rolls back"])
def test_completion_and_cancel_at_once_are_one_after_the_other(
    workers: Workers, lanes: Lanes, run: Run, is_kept: bool
) -> None:
    execution = workers.start()
    [task] = workers.claim()
    first, second = lanes(), lanes()
    with first.connection.transaction(force_rollback=not is_kept):
        first.value("select flowgres_api.cancel_execution(%s)", execution)
        rival = run(second, lambda: second.value(COMPLETE, task["task_id"], task["token"]))
        assert rival.run_until_blocked()
    if is_kept:
        refused = rival.refusal()
        assert refused is not None
        assert refusal_code(refused) == "task_cancelled"
    else:
        assert rival.answer()["status"] == "completed"
        workers.run()
    assert_invariants(workers.db)


def test_engine_passes_over_what_a_worker_holds_in_an_open_transaction(
    workers: Workers, lanes: Lanes, clock: Clock
) -> None:
    workers.start(lease=30)
    [task] = workers.claim()
    clock.advance(seconds=60)
    first = lanes()
    with first.connection.transaction():
        first.value(COMPLETE, task["task_id"], task["token"])
        # Its lease ran out, and nobody waits to say so.
        assert workers.runner.claim() == []
    assert workers.run() == ["ask", "after"]
    assert_invariants(workers.db)


def test_report_of_a_runner_does_not_wait_for_an_open_claim(workers: Workers, lanes: Lanes) -> None:
    execution = workers.start()
    first = lanes()
    with first.connection.transaction():
        first.value(CLAIM, "first")
        with workers.database.connect("runner") as db:
            held = db.all("select * from flowgres.complete_and_claim(%s, '[]', 10, null)", workers.runner.id)
            assert held == []
    assert workers.row(execution)["status"] == "claimed"


def test_lease_that_ran_out_and_a_completion_that_comes_late(
    workers: Workers, clock: Clock, run: Run, lanes: Lanes
) -> None:
    workers.start(lease=30)
    [task] = workers.claim()
    clock.advance(seconds=60)
    holder, second = workers.runner.db, lanes()
    with holder.connection.transaction():
        assert [lease["resume"]["status"] for lease in workers.runner.claim()] == ["lease_expired"]
        rival = run(second, lambda: second.value(COMPLETE, task["task_id"], task["token"]))
        rival.run_until_blocked()
    refused = rival.refusal()
    assert refused is not None
    assert refusal_code(refused) == "lease_lost"


def buffers(db: Db, query: str, *given: Any) -> int:
    """The least that some runs read: the first ones read the catalogue as well."""
    plans = [db.value(query, *given)[0]["Plan"] for _ in range(3)]
    return min(int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"]) for plan in plans)


def test_open_tasks_cost_a_claim_of_a_runner_nothing_and_a_workers_one_range(workers: Workers, lanes: Lanes) -> None:
    workers.start()
    looked = buffers_of_look(workers.runner)
    picked = buffers(workers.db, PICK, workers.tenant.tenant_id)
    for due_at in ("infinity", "2100-01-01T00:00:00Z"):
        assert workers.db.run(MORE, due_at) == 10_000
    workers.db.run("analyze flowgres.work_queue")
    try:
        assert buffers_of_look(workers.runner) <= looked + 2
        assert buffers(workers.db, PICK, workers.tenant.tenant_id) <= picked + 6
    finally:
        workers.db.run("delete from flowgres.work_queue where iteration >= 0")


def test_claims_of_many_workers_at_once_take_each_task_once(workers: Workers, lanes: Lanes, run: Run) -> None:
    executions = {workers.start() for _ in range(12)}
    crowd = [lanes() for _ in range(4)]

    def drain(db: Db) -> list[Row]:
        taken: list[Row] = []
        while rows := db.column(CLAIM, "one of many"):
            taken += rows
        return taken

    taken = [row for rival in [run(db, lambda db=db: drain(db)) for db in crowd] for row in rival.answer()]  # type: ignore[misc]
    taken += drain(lanes())
    assert sorted(row["execution_id"] for row in taken) == sorted(executions)
