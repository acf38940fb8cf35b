"""People repair steps in place: retry, skip, complete, fail, cancel; what follows is as after any report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db, Row, Tenant
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
from tests.support.repairs import ACTS, act, events_of, refusal

CHAIN: list[dict[str, Any]] = [{"id": "a", "retry": 1}, {"id": "b", "depends_on": ["a"]}]
RETRIED = {"attempts": 2, "delay": 3600, "jitter": False, "errors": ["internal"]}

# What makes of a first step `a` that is ready one that is in another state.
STATES: dict[str, Callable[[Hands, Row], Any]] = {
    "ready": lambda hands, lease: hands.db.call("flowgres.release", p_runner_id=hands.id, p_rows=[_lease(lease)]),
    "leased": lambda hands, lease: None,
    "announced": lambda hands, lease: hands.report([hands.result(lease, {"o": "started"})]),
    "retrying": lambda hands, lease: hands.report([hands.result(lease, failed())]),
    "timer": lambda hands, lease: hands.report([hands.result(lease, {"o": "suspended", "seconds": 3600})]),
    "waiting": lambda hands, lease: hands.report(
        [hands.result(lease, {"o": "park", "waits": "wait", "input": {"event": "paid", "key": "1"}, "seconds": 3600})]
    ),
    "task": lambda hands, lease: hands.report(
        [hands.result(lease, {"o": "park", "waits": "task", "input": {"queue": "mill", "payload": 1}})]
    ),
    "child": lambda hands, lease: hands.report([hands.result(lease, {"o": "child", "workflow": "child", "input": {}})]),
}


def _lease(lease: Row) -> list[Any]:
    return [str(lease["tenant_id"]), str(lease["execution_id"]), lease["queue_id"], lease["token"]]


@pytest.fixture
def bring(database: Database, db: Db, tenant: Tenant, runner: Hands) -> Callable[..., tuple[str, Row]]:
    def bring(state: str, steps: list[dict[str, Any]] | None = None, **more: Any) -> tuple[str, Row]:
        import_workflow(db, tenant, dag("child", [{"id": "inside"}]))
        steps = steps or [{**CHAIN[0], "retry": RETRIED}, CHAIN[1]]
        execution = start(database, tenant, import_workflow(db, tenant, dag("main", steps, **more)))
        (lease,) = runner.claim()
        STATES[state](runner, lease)
        return execution, lease

    return bring


ENDS = {
    "skip_step": ("skipped", "skipped", "completed"),
    "complete_step": ("completed", "completed", "completed"),
    "fail_step": ("failed", "cancelled", "failed"),
    "cancel_step": ("cancelled", "skipped", "completed"),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", ENDS)
def test_act_ends_a_step_whatever_it_was_doing(
    name: str, state: str, bring: Any, database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution, lease = bring(state)
    given = {"complete_step": {"output": {"by": "hand"}}, "fail_step": {"error": {"message": "no"}}}.get(name, {})
    answer = act(database, tenant, name, execution, "a", reason="it hung", **given)
    ended, after, status = ENDS[name]
    assert (answer["step"], answer["status"]) == ("a", ended)
    if name == "complete_step":
        assert answer["output"] == {"by": "hand"}
    # Whoever had it is too late.
    runner.report([runner.result(lease, completed("late"))])
    while db.call("flowgres.cancel_orphan"):
        pass
    runner.work()
    found = get(database, tenant, execution)
    assert statuses(found) == {"a": ended, "b": "completed" if name == "complete_step" else after}
    assert found["status"] == status
    assert found["steps"]["a"]["output"] == answer["output"]
    told = [event for event in events_of(db, execution) if event["type"] == "step_repaired"]
    assert [(event["step"], event["actor"], event["message"]) for event in told] == [("a", "ann", "it hung")]
    assert told[0]["details"] == {"act": ended}
    assert db.value("select count(*) from flowgres.waits") == 0
    assert_invariants(db)


@pytest.mark.parametrize("state", STATES)
def test_retried_step_is_tried_at_once(
    state: str, bring: Any, database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution, lease = bring(state)
    answer = act(database, tenant, "retry_step", execution, "a", reason="now")
    assert answer["status"] == "ready"
    while db.call("flowgres.cancel_orphan"):
        pass
    assert runner.report([runner.result(lease, completed("late"))]) == []
    assert runner.work() == ["a", "b"]
    found = get(database, tenant, execution)
    assert found["status"] == "completed"
    assert found["steps"]["a"]["output"] == "a"
    kept = {row["attempt"]: row["status"] for row in db.all("select * from flowgres.attempts order by attempt")}
    is_cut = state in ("leased", "announced", "waiting", "task", "child")
    assert kept.get(1) == {True: kept.get(1) if kept.get(1) == "discarded" else "cancelled"}.get(
        is_cut, "failed" if state == "retrying" else None
    )
    assert_invariants(db)


def test_attempts_say_who_did_it(bring: Any, database: Database, db: Db, tenant: Tenant) -> None:
    execution, _ = bring("leased")
    act(database, tenant, "complete_step", execution, "a", output={"n": 1}, reason="paid by phone")
    rows = db.all("select attempt, status, detail from flowgres.attempts order by attempt")
    by = {"act": "completed", "by": "ann", "reason": "paid by phone"}
    assert [(row["attempt"], row["status"], row["detail"]) for row in rows] == [
        (1, "cancelled", by),
        (2, "completed", by),
    ]
    audit = db.one("select action, actor, subject, details from flowgres.audit_log where action like 'step_%%'")
    assert audit == {
        "action": "step_completed",
        "actor": "ann",
        "subject": execution,
        "details": {"step": "a", "reason": "paid by phone"},
    }


@pytest.mark.parametrize("name", ACTS)
def test_refusals(name: str, bring: Any, database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution, _ = bring("ready")
    given = {"changes": {"timeout": 5}} if name == "update_step" else {}

    def code(step: str, **more: Any) -> str:
        return refusal(database, tenant, name, **{"execution": execution, "step": step, **given, **more})

    assert code("nowhere") == "step_not_found"
    assert code("a[0]") == "step_not_found"
    assert code("a", iteration=0) == "step_not_found"
    assert code("b") == "step_not_ready"
    assert code("a", reason="x" * 1001) == "argument_too_long"
    assert code("a", execution="00000000-0000-7000-8000-000000000000") == "execution_not_found"
    (lease,) = runner.claim()
    (following,) = runner.report([runner.result(lease, completed())])
    assert code("a") == "step_ended"
    runner.report([runner.result(following, completed())])
    assert code("a") == "execution_ended"
    assert db.value("select count(*) from flowgres.events where type = 'step_repaired'") == 0


@pytest.mark.parametrize("name", ACTS)
def test_viewers_may_not(name: str, bring: Any, database: Database, tenant: Tenant) -> None:
    execution, _ = bring("ready")
    given = {"changes": {"timeout": 5}} if name == "update_step" else {}
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        database.as_role("viewer", tenant_id=tenant.tenant_id) as api,
    ):
        api.call(f"flowgres_api.{name}", execution_id=execution, step="a", **given)
