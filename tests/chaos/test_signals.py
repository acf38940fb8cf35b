"""SIGTERM and SIGSTOP under load: the first is no fault at all, the second makes zombies."""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest

from tests.support.chaos import (
    Crew,
    Load,
    Receiver,
    assert_nothing_lost,
    call,
    chaos_random,
    import_order,
    leases_of,
    set_lease,
    tell,
    wait_for_drain,
)
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow, start
from tests.support.runner import wait_for
from tests.support.scale import IS_LONG

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

RESTARTS = 20 if IS_LONG else 5
STOPS = 3
LONGEST_GAP = """
  select coalesce(extract(epoch from max(e.at - e.before)), 0)::float
  from (select at, lag(at) over (order by at) as before from flowgres.all_events where type = 'step_completed') as e"""


def test_rolling_restarts_burn_no_attempt_and_repeat_no_request(
    database: Database, db: Db, tenant: Tenant, crew: Crew, receiver: Receiver
) -> None:
    set_lease(db, lease_seconds=30, heartbeat_seconds=3)
    workflow = import_order(db, tenant, seconds="0.1")
    alive = [crew.start(), crew.start()]
    count = 20 * RESTARTS
    with Load(database, tenant, workflow, count=count, per_second=12, input={"url": receiver.url}) as load:
        for number in range(RESTARTS):
            wait_for(lambda least=number * 20: len(load.accepted) > least, what="more work")  # type: ignore[misc]
            leaving = alive.pop(0)
            leaving.process.send_signal(signal.SIGTERM)
            alive.append(crew.start())
            wait_for(lambda: leaving.process.return_code is not None, what="the end")  # noqa: B023 - waited for here
            assert leaving.process.return_code == 0, leaving.log
        wait_for(lambda: load.is_over, timeout_seconds=60, what="the last start")
    # Under a lease of 30 s anything that was dropped would not be done by then.
    wait_for_drain(db, timeout_seconds=20)
    repeats = assert_nothing_lost(db, load.accepted, receiver.keys())
    burned = db.value("select count(*) from flowgres.step_executions where attempts > 1")
    gap = db.value(LONGEST_GAP)
    tell(f"{RESTARTS} restarts, {count} executions, {burned} attempts burned, {repeats} repeats, gap {gap:.2f} s")
    assert burned == 0
    assert repeats == 0


def test_steps_that_outlast_the_grace_run_elsewhere_as_the_same_attempt(
    database: Database, db: Db, tenant: Tenant, crew: Crew, receiver: Receiver
) -> None:
    set_lease(db, lease_seconds=30, heartbeat_seconds=3)
    steps = [call("slow", seconds="1.5"), call("next", "slow", seconds="0")]
    workflow = import_workflow(db, tenant, {"name": "slow", "steps": steps})
    leaving = crew.start(SHUTDOWN_GRACE_SECONDS="0.2")
    ids = [start(database, tenant, workflow, input={"url": receiver.url, "n": n}) for n in range(8)]
    announced = "select count(*) from flowgres.work_queue where is_announced"
    wait_for(lambda: db.value(announced) == len(ids), what="their start")
    leaving.process.send_signal(signal.SIGTERM)
    wait_for(lambda: leaving.process.return_code is not None, what="the end of the runner")
    crew.start()
    wait_for_drain(db, timeout_seconds=20)
    assert db.all("select * from flowgres.check_invariants(p_is_drained => true)") == []
    assert db.column("select distinct status from flowgres.executions") == ["completed"]
    assert db.column("select distinct attempts from flowgres.step_executions") == [1]
    expected = Counter({f"{x}/slow": 2 for x in ids}) + Counter({f"{x}/next": 1 for x in ids})
    assert receiver.keys() == expected


def test_zombie_changes_nothing_and_comes_back_under_another_id(
    database: Database, db: Db, tenant: Tenant, crew: Crew, receiver: Receiver
) -> None:
    chance = chaos_random()
    workflow = import_order(db, tenant, seconds="0.4")
    zombie, heir = crew.start(), crew.start()
    taken_over = 0
    with Load(database, tenant, workflow, count=600, per_second=6, input={"url": receiver.url}) as load:
        for _ in range(STOPS):
            zombie_id = crew.runner_ids(db, zombie)[-1]
            least = chance.randrange(1, 4)
            wait_for(lambda: len(leases_of(db, [zombie_id])) >= least, what="its work")  # noqa: B023
            zombie.process.send_signal(signal.SIGSTOP)
            left = leases_of(db, [zombie_id])
            taken_over += len(left)
            wait_for(lambda: not leases_of(db, [zombie_id]), what="the rescue")  # noqa: B023 - waited for here
            wait_for(lambda: everyone_ended(db, left), timeout_seconds=20, what="the heir's work")  # noqa: B023
            before = done_steps(db)
            zombie.process.send_signal(signal.SIGCONT)
            # Not by their number: on a machine that is busy enough it may have been given up once more.
            wait_for(lambda: crew.runner_ids(db, zombie)[-1] != zombie_id, what="its return")  # noqa: B023
            after = done_steps(db)
            # What had ended stays as it was, to the letter, and nothing more is signed by the old id.
            assert {key: after[key] for key in before} == before
        load.end()
        wait_for(lambda: load.is_over, timeout_seconds=60, what="the last start")
        heir.process.send_signal(signal.SIGTERM)
        wait_for_drain(db, timeout_seconds=30)
    repeats = assert_nothing_lost(db, load.accepted, receiver.keys())
    first_ids = crew.runner_ids(db, zombie)[:-1]
    late = db.value(
        "select count(*) from flowgres.step_executions as s join flowgres.runners as r on r.id = s.runner_id"
        " where r.id = any(%s::uuid[]) and s.finished_at > r.stopped_at",
        "{" + ",".join(first_ids) + "}",
    )
    assert late == 0
    assert zombie.process.is_running
    tell(f"{STOPS} stops of a runner, {taken_over} steps taken over, {repeats} requests repeated")


def everyone_ended(db: Db, leases: list[dict[str, object]]) -> bool:
    """Whether these queue rows have gone on to something else, or are gone."""
    return not any(
        db.all("select from flowgres.work_queue where id = %s and step_index = %s", lease["id"], lease["step_index"])
        for lease in leases
    )


def done_steps(db: Db) -> dict[tuple[object, object], dict[str, object]]:
    """Every step that has ended, as it is recorded."""
    rows = db.all("select * from flowgres.step_executions where finished_at is not null")
    return {(row["execution_id"], row["step_index"]): row for row in rows}


def test_claim_that_is_under_way_at_sigterm_is_given_back(
    database: Database, db: Db, tenant: Tenant, crew: Crew
) -> None:
    set_lease(db, lease_seconds=30, heartbeat_seconds=30)
    workflow = import_workflow(db, tenant, dag("one", [{"id": "a"}]))
    runner = crew.start()
    wait_for(lambda: db.value("select bool_or(is_idle) from flowgres.runners"), what="an idle runner")
    runner.process.send_signal(signal.SIGSTOP)
    start(database, tenant, workflow)
    with database.connect() as other, other.connection.transaction():
        # The claim takes the step, and then waits for its context.
        other.run("lock table flowgres.executions in access exclusive mode")
        runner.process.send_signal(signal.SIGCONT)
        claiming = "select count(*) from pg_stat_activity where query like '%claim(%' and wait_event_type = 'Lock'"
        wait_for(lambda: db.value(claiming) == 1, what="the claim")
        runner.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 1
        wait_for(lambda: time.monotonic() > until or runner.process.return_code is not None)
        assert runner.process.is_running, "it left without what it was about to get"
    wait_for(lambda: runner.process.return_code == 0, what="the end of the runner")
    assert db.one("select runner_id, attempt from flowgres.work_queue") == {"runner_id": None, "attempt": 0}
