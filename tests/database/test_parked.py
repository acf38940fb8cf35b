"""Steps that are parked until somebody wakes them, or their time is over."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.engine import Hands, completed, dag, get, import_workflow, start, statuses

WAIT = {"id": "hold", "type": "wait", "config": {"signal": "go"}}


def begin(database: Database, db: Db, tenant: Tenant, **step: Any) -> str:
    """Start an execution that waits in `hold`, and goes on to `after`."""
    steps = [{**WAIT, **step}, {"id": "after", "depends_on": ["hold"]}]
    return start(database, tenant, import_workflow(db, tenant, dag("w", steps)))


def park(lease: Row, step: str) -> dict[str, Any]:
    """What a runner's hands do of it."""
    if step != "hold":
        return completed(step)
    resume = lease["resume"]
    if resume is None or "status" not in resume:
        return {"o": "park", "waits": "wait", "input": {"for": [{"signal": "go"}]}}
    if resume["status"] == "timed_out":
        return {"o": "failed", "error": {"code": "timeout", "class": "timeout", "message": "late", "retryable": False}}
    return completed(resume)


def wake(db: Db, resume: dict[str, Any], *, age: int = 0) -> None:
    """Leave a note for the only row of the queue."""
    row = db.one("select tenant_id, execution_id, id, token from flowgres.work_queue")
    db.run(
        "insert into flowgres.pending_wakes (tenant_id, execution_id, queue_id, token, resume, requested_at)"
        " values (%s, %s, %s, %s, %s, flowgres.now())",
        row["tenant_id"],
        row["execution_id"],
        row["id"],
        row["token"] - age,
        Jsonb(resume),
    )


def test_parked_step_waits_without_a_lease(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution = begin(database, db, tenant)
    assert runner.work(park) == ["hold"]
    row = db.one("select waits_for, runner_id, due_at = 'infinity' as is_open from flowgres.work_queue")
    assert row == {"waits_for": "signal:go", "runner_id": None, "is_open": True}
    found = get(database, tenant, execution)
    assert (found["status"], statuses(found)["hold"]) == ("waiting", "waiting")
    told = db.value("select details from flowgres.events where type = 'step_waiting'")
    assert told == {"waits_for": "signal:go"}
    assert found["steps"]["hold"]["waits_for"] == "signal:go"


def test_note_resumes_a_parked_step_with_what_it_says(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution = begin(database, db, tenant)
    runner.work(park)
    wake(db, {"status": "woken", "by": "me"})
    wake(db, {"status": "woken", "by": "somebody who was later"})
    assert runner.work(park) == ["hold", "after"]
    found = get(database, tenant, execution)
    assert found["steps"]["hold"]["output"] == {"status": "woken", "by": "me"}
    assert not db.value("select count(*) from flowgres.pending_wakes")


def test_note_for_a_row_that_went_on_wakes_nobody(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution = begin(database, db, tenant)
    runner.work(park)
    wake(db, {"status": "woken"}, age=1)
    assert runner.work(park) == []
    assert get(database, tenant, execution)["status"] == "waiting"


def test_note_for_a_row_that_somebody_holds_is_kept(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    begin(database, db, tenant)
    runner.work(park)
    wake(db, {"status": "woken"})
    with database.connect() as other, other.connection.transaction():
        other.run("select from flowgres.work_queue for update")
        assert runner.claim() == []
    assert runner.work(park) == ["hold", "after"]


def test_timeout_bounds_the_wait_and_is_not_tried_again(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    execution = begin(database, db, tenant, timeout="2h")
    runner.work(park)
    clock.advance(seconds=7199)
    assert runner.work(park) == []
    clock.advance(seconds=2)
    assert runner.work(park) == ["hold"]
    found = get(database, tenant, execution)
    assert (found["status"], found["error"]["code"], found["steps"]["hold"]["attempts"]) == ("failed", "timeout", 1)
