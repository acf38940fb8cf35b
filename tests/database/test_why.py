"""Why executions do not move: every reason, as a tenant reads it."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from tests.support.approvals import Approvals
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import (
    Hands,
    completed,
    dag,
    failed,
    get,
    hands,
    import_workflow,
    outwait_lease,
    start,
)
from tests.support.tasks import Workers
from tests.support.waits import Waiters
from tests.support.why import reasons, why

Json = Any
GO = {"signal": "go"}


@pytest.fixture
def waiters(database: Database, db: Db, tenant: Tenant, runner: Hands) -> Waiters:
    return Waiters(database, db, tenant, runner)


def follow(database: Database, tenant: Tenant, suggestion: str) -> Json:
    """Do what a suggestion says: a call of the API, word by word."""
    verb, address, body = suggestion.split(" ", 2)
    assert (verb, address[:5]) == ("POST", "/rpc/")
    with database.as_role("member", tenant_id=tenant.tenant_id) as db:
        return db.call(f"flowgres_api.{address[5:]}", **json.loads(body))


def test_signal_is_named_with_its_key_and_those_that_were_meant_for_somebody_else(
    waiters: Waiters, database: Database, tenant: Tenant
) -> None:
    (execution,) = waiters.start({**GO, "key": "7"})
    waiters.send("go", {"word": "hidden"}, key="8")
    waiters.send("go")
    waiters.send("going", execution_id=execution)
    told = why(database, tenant, execution)
    hold = told["hold"]
    assert (hold["reason"], hold["detail"]["for"]) == ("waits_for_signal", [{"signal": "go", "key": "7"}])
    assert {(one["name"], one.get("key"), one["but"]) for one in hold["detail"]["seen"]} == {
        ("go", "8", "it has another key"),
        ("go", None, "it has no key"),
        ("going", None, "it has another name"),
    }
    assert "hidden" not in str(hold["detail"])
    assert hold["command"] == "flowgres signal go --key=7"
    assert (told["after"]["reason"], told["after"]["detail"]) == ("waits_for_steps", {"steps": ["hold"]})
    assert follow(database, tenant, hold["suggestion"]) == 1
    waiters.work()
    assert why(database, tenant, execution) == {}


def test_signal_that_came_too_early_for_who_wants_new_ones_is_seen(
    waiters: Waiters, database: Database, tenant: Tenant, clock: Clock
) -> None:
    waiters.send("go")
    clock.advance(seconds=1)
    (execution,) = waiters.start({**GO, "accept": "new"})
    hold = why(database, tenant, execution)["hold"]
    assert hold["detail"]["for"] == [{"signal": "go", "only_new": True}]
    assert [one["but"] for one in hold["detail"]["seen"]] == [
        "it came before the step waited, which takes new ones alone"
    ]


def test_signal_that_no_runner_has_brought_yet_is_seen(waiters: Waiters, database: Database, tenant: Tenant) -> None:
    (execution,) = waiters.start(GO)
    waiters.send("go")
    seen = why(database, tenant, execution)["hold"]["detail"]["seen"]
    assert [one["but"] for one in seen] == ["the next claim of a runner brings it"]


def test_of_many_signals_five_are_seen(waiters: Waiters, database: Database, tenant: Tenant) -> None:
    (execution,) = waiters.start({**GO, "key": "mine"})
    for number in range(9):
        waiters.send("go", key=str(number))
    seen = why(database, tenant, execution)["hold"]["detail"]["seen"]
    assert [one["key"] for one in seen] == ["8", "7", "6", "5", "4"]


def test_event_is_named_and_telling_of_it_helps(waiters: Waiters, database: Database, tenant: Tenant) -> None:
    (execution,) = waiters.start({"event": "order.paid", "match": {"id": 7}, "key": "k 1"})
    hold = why(database, tenant, execution)["hold"]
    assert hold["reason"] == "waits_for_event"
    assert hold["detail"]["for"] == [{"event": "order.paid", "key": "k 1", "match": {"id": 7}}]
    assert hold["command"] == """flowgres events emit order.paid -d '{"id": 7}' --key='k 1'"""
    assert follow(database, tenant, hold["suggestion"])["woken"] == 1


def test_first_of_several_is_told_whole(waiters: Waiters, database: Database, tenant: Tenant, clock: Clock) -> None:
    before = clock.now()
    (execution,) = waiters.start(GO, {"event": "order.paid"})
    hold = why(database, tenant, execution)["hold"]
    assert (hold["reason"], hold["detail"]["for"]) == ("waits_for_first_of", [GO, {"event": "order.paid"}])
    assert before < hold["since"] < clock.now()
    assert follow(database, tenant, hold["suggestion"]) == 1


def test_approval_says_who_may_decide(database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock) -> None:
    approvals = Approvals(database, db, tenant, runner)
    execution = approvals.ask(title="Buy?", role=["manager"], approvers=["ann"], not_starter=True)
    ask = why(database, tenant, execution)["ask"]
    assert ask["reason"] == "waits_for_approval"
    facts = {name: ask["detail"][name] for name in ("title", "roles", "approvers", "not_starter", "may_decide")}
    assert facts == {
        "title": "Buy?",
        "roles": ["manager"],
        "approvers": ["ann"],
        "not_starter": True,
        "may_decide": False,
    }
    assert why(database, tenant, execution, sub="ann")["ask"]["detail"]["may_decide"]
    assert ask["command"] == f"flowgres approve {execution} ask"
    _, address, body = ask["suggestion"].split(" ", 2)
    with approvals.as_caller("ann") as api:
        assert api.call(f"flowgres_api.{address[5:]}", **json.loads(body))["status"] == "approved"


def test_task_waits_for_a_worker_and_then_for_that_one(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    workers = Workers(database, db, runner, tenant)
    execution = workers.start(queue="mail")
    ask = why(database, tenant, execution)["ask"]
    assert (ask["reason"], ask["detail"]["queue"], ask["detail"]["workers"]) == ("waits_for_task", "mail", [])
    assert ask["detail"]["worker"] is None
    assert follow(database, tenant, ask["suggestion"]) is not None
    ask = why(database, tenant, execution)["ask"]
    assert (ask["reason"], ask["detail"]["worker"], ask["detail"]["workers"]) == ("waits_for_task", "me", ["me"])
    assert ask["detail"]["lease_until"] is not None
    assert ask["suggestion"] is None


def test_retry_says_which_attempt_of_how_many_and_the_last_error(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    retry = {"attempts": 3, "delay": "60s"}
    import_workflow(db, tenant, dag("w", [{"id": "a", "type": "http", "config": {"url": "http://x"}, "retry": retry}]))
    execution = start(database, tenant, "w")
    runner.work(lambda lease, step: failed("network", retryable=True))
    a = why(database, tenant, execution)["a"]
    assert (a["reason"], a["detail"]["attempt"], a["detail"]["max_attempts"]) == ("waits_for_retry", 2, 3)
    assert a["detail"]["error"]["code"] == "broken"
    assert a["since"] < clock.now() < a["since"] + timedelta(seconds=90)
    assert a["detail"]["due_at"] is not None


def test_delay_says_when_it_is_over(database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "a", "type": "delay", "config": {"seconds": 60}}]))
    execution = start(database, tenant, "w")
    runner.work(lambda lease, step: {"o": "suspended", "seconds": 60})
    assert why(database, tenant, execution)["a"]["reason"] == "waits_for_timer"
    clock.advance(seconds=61)
    runner.beat()
    assert reasons(database, tenant, execution) == {"a": "queued"}


def test_start_that_lies_ahead_is_scheduled(database: Database, db: Db, tenant: Tenant, clock: Clock) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    execution = start(database, tenant, "w", scheduled_at=clock.now() + timedelta(hours=1))
    assert reasons(database, tenant, execution) == {"a": "scheduled"}


def test_parent_names_its_child_and_the_child_says_the_rest(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "work"}]))
    call = {"id": "call", "type": "sub_workflow", "config": {"workflow": "child", "input": {}}}
    import_workflow(db, tenant, dag("parent", [call]))
    execution = start(database, tenant, "parent")
    (lease,) = runner.claim(1)
    runner.report([runner.result(lease, {"o": "child", "workflow": "child", "input": {}})])
    told = why(database, tenant, execution)["call"]
    child = told["detail"]["execution_id"]
    assert (told["reason"], told["detail"]["workflow"]) == ("waits_for_child", "child")
    assert told["suggestion"] == f"GET /execution_why?execution_id=eq.{child}"
    assert told["command"] == f"flowgres executions why {child}"
    assert reasons(database, tenant, child) == {"work": "queued"}


def test_step_that_waits_for_others_names_those_that_have_not_ended(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    joins: list[dict[str, Json]] = [{"id": "c", "depends_on": ["a", "b"]}, {"id": "d", "depends_on": ["c"]}]
    steps = [{"id": "a"}, {"id": "b"}, *joins]
    import_workflow(db, tenant, dag("w", steps))
    execution = start(database, tenant, "w")
    one, two = runner.claim()
    left = {"a": "b", "b": "a"}[runner.step_name(one)]
    runner.report([runner.result(one, completed())])
    told = why(database, tenant, execution)
    assert {step: row["reason"] for step, row in told.items()} == {
        left: "running",
        "c": "waits_for_steps",
        "d": "waits_for_steps",
    }
    assert (told["c"]["detail"], told["d"]["detail"]) == ({"steps": [left]}, {"steps": ["c"]})
    runner.report([runner.result(two, completed())])


def test_running_step_says_since_when_and_whether_its_runner_is_heard(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    execution = start(database, tenant, "w")
    with hands(database) as runner, hands(database) as other:
        runner.claim(1)
        a = why(database, tenant, execution)["a"]
        assert (a["reason"], a["detail"]["attempt"]) == ("running", 1)
        assert a["detail"]["runner"] == f"runner-{runner.id[-12:]}", "tenants are told no name of a host"
        outwait_lease(db, clock, other)
        a = why(database, tenant, execution)["a"]
        assert (a["reason"], a["detail"]["last_heard_at"] is not None) == ("runner_silent", True)
        other.sweep()
        assert reasons(database, tenant, execution) == {"a": "queued"}


def register(db: Db, *types: str, concurrency: int = 100) -> str:
    """A runner that serves these types beside the core."""
    runner_id = str(uuid.uuid4())
    kinds = [{"type": kind, "config_schema": {}, "secret_places": [], "core": False} for kind in types]
    info = {"name": "r", "version": "0", "protocol": 2, "environment": "development", "step_types": kinds}
    info["concurrency"] = concurrency
    db.call("flowgres.register_runner", p_runner_id=runner_id, p_info=info)
    return runner_id


def test_nobody_serves_a_step_without_a_runner_or_of_a_type_that_none_has(
    database: Database, db: Db, tenant: Tenant
) -> None:
    fax = register(db, "fax")
    import_workflow(db, tenant, dag("w", [{"id": "a"}, {"id": "b", "type": "fax", "config": {}}]))
    db.run("update flowgres.runners set stopped_at = flowgres.now()")
    execution = start(database, tenant, "w")
    told = why(database, tenant, execution)
    assert {step: row["reason"] for step, row in told.items()} == {"a": "no_runner", "b": "no_runner"}
    assert told["a"]["detail"]["says"] == "no runner is alive"
    register(db)
    told = why(database, tenant, execution)
    assert {step: row["reason"] for step, row in told.items()} == {"a": "queued", "b": "no_runner"}
    assert told["b"]["detail"]["says"] == 'no live runner serves the step type "fax"'
    db.run("update flowgres.runners set stopped_at = null, drained_at = flowgres.now() where id = %s", fax)
    assert reasons(database, tenant, execution)["b"] == "no_runner", "who was told to stop takes nothing more"
    db.run("update flowgres.runners set drained_at = null where id = %s", fax)
    assert reasons(database, tenant, execution)["b"] == "queued"


def test_runners_that_have_no_room_are_full(database: Database, db: Db, tenant: Tenant) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    runner = register(db, concurrency=2)
    started = [start(database, tenant, "w") for _ in range(3)]
    db.all("select * from flowgres.claim(%s, 2, null)", runner)
    assert [reasons(database, tenant, one)["a"] for one in started] == ["running", "running", "runners_full"]


def test_line_counts_ones_own_and_says_of_others_only_that_there_are_any(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    started = [start(database, tenant, "w") for _ in range(3)]
    urgent = start(database, tenant, "w", priority=0)
    places = [why(database, tenant, one)["a"]["detail"] for one in [*started, urgent]]
    assert [place["before"] for place in places] == [1, 2, 3, 0]
    assert [place["shares_with_others"] for place in places] == [False] * 4
    other = database.make_tenant("Other")
    import_workflow(db, other, dag("w", [{"id": "a"}]))
    for _ in range(5):
        start(database, other, "w", priority=0)
    place = why(database, tenant, started[2])["a"]["detail"]
    assert (place["before"], place["shares_with_others"]) == (3, True)


def test_no_step_of_another_tenant_is_placed(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    execution = start(database, tenant, "w")
    row = db.one("select tenant_id, execution_id, id from flowgres.work_queue where execution_id = %s", execution)
    query = "select flowgres.place_in_line(%s, %s, %s)"
    for who, place in ((database.make_tenant("Other"), {}), (tenant, {"before": 0})):
        with database.as_role("viewer", tenant_id=who.tenant_id) as api:
            told = api.value(query, *row.values())
        assert {name: told[name] for name in place} == place
        assert bool(told) == bool(place)


def test_execution_that_failed_says_which_step_ended_it(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    execution = start(database, tenant, "w")
    runner.work(lambda lease, step: failed())
    a = why(database, tenant, execution)["a"]
    assert (a["reason"], a["detail"]["status"], a["detail"]["error"]["code"]) == ("ended", "failed", "broken")
    assert a["since"] is not None
    assert a["command"] == f"flowgres executions retry {execution}"


def test_execution_that_was_cancelled_says_so_and_one_that_completed_says_nothing(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    cancelled, done = start(database, tenant, "w"), start(database, tenant, "w")
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.cancel_execution", execution_id=cancelled, reason="twice")
    runner.work()
    (row,) = why(database, tenant, cancelled).values()
    assert (row["reason"], row["detail"]["status"], row["suggestion"]) == ("ended", "cancelled", None)
    assert get(database, tenant, done)["status"] == "completed"
    assert why(database, tenant, done) == {}
