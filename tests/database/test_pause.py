"""Pausing and resuming executions: what runs ends and is recorded, and nothing else begins."""

from __future__ import annotations

from tests.support.control import CHAIN, HTTP, act, descend, nest
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import (
    Hands,
    assert_invariants,
    completed,
    dag,
    failed,
    get,
    import_workflow,
    start,
    statuses,
)
from tests.support.races import natural


def told(db: Db, execution_id: str) -> list[str]:
    """The types of the events of an execution that people caused."""
    query = "select type from flowgres.all_events where execution_id = %s and actor is not null order by seq"
    types = [str(row["type"]) for row in db.all(query, execution_id)]
    return [name for name in types if name in ("execution_paused", "execution_resumed")]


def test_paused_execution_does_not_begin(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calm", CHAIN)))
    answer = act(database, tenant, "pause_execution", execution_id=execution_id, reason="look first")
    assert answer["status"] == "paused"
    assert answer["paused_at"] is not None
    assert runner.claim() == []
    assert act(database, tenant, "resume_execution", execution_id=execution_id)["status"] == "queued"
    assert runner.work() == ["first", "second", "third"]
    assert told(db, execution_id) == ["execution_paused", "execution_resumed"]
    audit = db.all("select action, details from flowgres.audit_log where subject = %s order by id", execution_id)
    assert [(row["action"], row["details"]) for row in audit] == [
        ("execution_paused", {"reason": "look first"}),
        ("execution_resumed", None),
    ]


def test_what_runs_ends_and_nothing_is_handed_on(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    steps = [
        {"id": "first", **HTTP},
        {"id": "second", "depends_on": ["first"]},
        {"id": "beside", "depends_on": ["first"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calm", steps)))
    (lease,) = runner.claim()
    act(database, tenant, "pause_execution", execution_id=execution_id)
    assert runner.report([runner.result(lease, completed("kept"))], want=100) == []
    paused = get(database, tenant, execution_id)
    assert paused["status"] == "paused"
    assert paused["steps"]["first"]["output"] == "kept"
    assert statuses(paused) == {"first": "completed", "second": "ready", "beside": "ready"}
    assert_invariants(db, drained=False)
    act(database, tenant, "resume_execution", execution_id=execution_id)
    assert sorted(runner.work()) == ["beside", "second"]
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_chains_are_not_handed_on(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    steps = [{"id": "first", **HTTP}, {"id": "second", "depends_on": ["first"], **HTTP}]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calm", steps)))
    (lease,) = runner.claim()
    act(database, tenant, "pause_execution", execution_id=execution_id)
    assert runner.report_chains([(lease, [1])], want=100) == []
    assert get(database, tenant, execution_id)["status"] == "paused"
    act(database, tenant, "resume_execution", execution_id=execution_id)
    assert runner.work() == ["second"]


def test_all_its_steps_having_ended_it_has_ended(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calm", CHAIN[:1])))
    (lease,) = runner.claim()
    act(database, tenant, "pause_execution", execution_id=execution_id)
    runner.report([runner.result(lease, completed(1))])
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["paused_at"]) == ("completed", None)


def test_failure_is_recorded_and_what_follows_waits(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    steps = [{"id": "first", **HTTP}, {"id": "tidy", "depends_on": ["first"], "join": "always"}]
    more = {"on_failure": [{"id": "tell", "type": "transform", "config": {"expression": "1"}}]}
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calm", steps, **more)))
    (lease,) = runner.claim()
    act(database, tenant, "pause_execution", execution_id=execution_id)
    assert runner.report([runner.result(lease, failed())], want=100) == []
    paused = get(database, tenant, execution_id)
    assert (paused["status"], paused["phase"]) == ("paused", "always")
    assert_invariants(db, drained=False)
    act(database, tenant, "resume_execution", execution_id=execution_id)
    assert runner.work() == ["tidy", "tell"]
    assert get(database, tenant, execution_id)["status"] == "failed"


def test_retries_and_timers_come_due_and_stay_held(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    steps = [{"id": "first", "retry": {"attempts": 3, "delay": 5}, **HTTP}]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calm", steps)))
    (lease,) = runner.claim()
    act(database, tenant, "pause_execution", execution_id=execution_id)
    runner.report([runner.result(lease, failed("timeout"))])
    assert get(database, tenant, execution_id)["status"] == "paused"
    clock.advance(seconds=60)
    assert runner.claim() == []
    act(database, tenant, "resume_execution", execution_id=execution_id)
    assert runner.work() == ["first"]
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_its_time_stands_still(database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock) -> None:
    workflow = import_workflow(
        db,
        tenant,
        dag(
            "calm",
            [{"id": "first", **HTTP}, {"id": "last", "depends_on": ["first"], **HTTP}],
            settings={"timeout": 100},
        ),
    )
    execution_id = start(database, tenant, workflow)
    (lease,) = runner.claim()
    (lease,) = runner.report([runner.result(lease, completed(1))])
    clock.advance(seconds=40)
    act(database, tenant, "pause_execution", execution_id=execution_id)
    clock.advance(seconds=3600)
    assert db.value("select flowgres.expire_executions(100)") == 0
    act(database, tenant, "resume_execution", execution_id=execution_id)
    assert db.value("select flowgres.expire_executions(100)") == 0
    clock.advance(seconds=50)
    assert db.value("select flowgres.expire_executions(100)") == 0
    clock.advance(seconds=11)
    assert db.value("select flowgres.expire_executions(100)") == 1


def test_cancel_works_while_paused(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calm", CHAIN)))
    act(database, tenant, "pause_execution", execution_id=execution_id)
    assert (
        act(database, tenant, "cancel_execution", execution_id=execution_id, reason="enough")["status"] == "cancelled"
    )
    audit = db.all("select action, details from flowgres.audit_log where subject = %s order by id", execution_id)
    assert (audit[-1]["action"], audit[-1]["details"]) == ("execution_cancelled", {"reason": "enough"})
    act(database, tenant, "cancel_execution", execution_id=execution_id)
    assert db.value("select count(*) from flowgres.audit_log where action = 'execution_cancelled'") == 1
    assert_invariants(db)


def test_twice_is_no_error_and_is_told_once(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calm", CHAIN)))
    for verb in ("resume", "pause", "pause", "resume", "resume"):
        act(database, tenant, f"{verb}_execution", execution_id=execution_id)
    assert told(db, execution_id) == ["execution_paused", "execution_resumed"]


def test_children_stand_still_and_go_on_with_their_parent(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    root = start(database, tenant, nest(db, tenant))
    lease = descend(runner, until="work")
    act(database, tenant, "pause_execution", execution_id=root)
    assert [row["status"] for row in db.all("select status from flowgres.executions")] == ["paused"] * 3
    assert runner.report([runner.result(lease, completed(1))], want=100) == []
    assert_invariants(db, drained=False)
    act(database, tenant, "resume_execution", execution_id=root)
    runner.work(natural)
    assert [row["status"] for row in db.all("select status from flowgres.executions")] == ["completed"] * 3
    assert db.value("select count(*) from flowgres.audit_log where action = 'execution_paused'") == 1


def test_child_that_was_paused_for_itself_stays_so(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    root = start(database, tenant, nest(db, tenant))
    descend(runner, until="work")
    leaf = str(db.value("select id from flowgres.executions where depth = 2"))
    act(database, tenant, "pause_execution", execution_id=leaf)
    act(database, tenant, "pause_execution", execution_id=root)
    act(database, tenant, "resume_execution", execution_id=root)
    states = {row["depth"]: row["status"] for row in db.all("select depth, status from flowgres.executions")}
    assert states == {0: "waiting", 1: "waiting", 2: "paused"}


def test_child_that_is_started_while_its_parent_is_paused_stands_still(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    root = start(database, tenant, nest(db, tenant))
    (lease,) = runner.claim()
    act(database, tenant, "pause_execution", execution_id=root)
    assert runner.report([runner.result(lease, natural(lease, "call_middle"))], want=100) == []
    assert [row["status"] for row in db.all("select status from flowgres.executions")] == ["paused"] * 2
    assert_invariants(db, drained=False)
    act(database, tenant, "resume_execution", execution_id=root)
    runner.work(natural)
    assert_invariants(db)


def test_cancel_reaches_three_levels(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    root = start(database, tenant, nest(db, tenant))
    lease = descend(runner, until="work")
    act(database, tenant, "cancel_execution", execution_id=root, reason="enough")
    assert [row["status"] for row in db.all("select status from flowgres.executions")] == ["cancelled"] * 3
    assert runner.beat(lease)["lost"] == [lease["queue_id"]]
    assert_invariants(db)


def test_what_fails_while_it_is_paused_goes_on_at_the_resume(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    workflow = import_workflow(db, tenant, dag("again", [{"id": "a", **HTTP}], settings={"max_retries": 1}))
    execution_id = start(database, tenant, workflow)
    (lease,) = runner.claim()
    act(database, tenant, "pause_execution", execution_id=execution_id)
    runner.report([runner.result(lease, failed())])
    clock.advance(seconds=3600)
    assert runner.claim() == []
    assert get(database, tenant, execution_id)["status"] == "paused"
    assert_invariants(db, drained=False)
    act(database, tenant, "resume_execution", execution_id=execution_id)
    assert runner.work() == ["a"]
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)
