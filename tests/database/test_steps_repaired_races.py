"""Repairs beside reports, cancels, timers, decisions and each other: one is first, and the other is told."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.support.approvals import NOON, Approvals
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow, start
from tests.support.races import Run, caller, refusal_code, rivals
from tests.support.repairs import act

STEPS: list[dict[str, Any]] = [
    {"id": "a", "retry": {"attempts": 2, "delay": 60, "jitter": False, "errors": ["internal"]}},
    {"id": "b", "depends_on": ["a"]},
]
ENDS = {"skip_step": "skipped", "complete_step": "completed", "fail_step": "failed", "cancel_step": "cancelled"}


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


@pytest.fixture
def execution(database: Database, db: Db, tenant: Tenant) -> str:
    return start(database, tenant, import_workflow(db, tenant, dag("main", STEPS)))


def _do(api: Db, name: str, execution: str, step: str = "a", **given: Any) -> Any:
    return api.call(f"flowgres_api.{name}", execution_id=execution, step=step, **given)


@pytest.mark.parametrize("name", ["retry_step", *ENDS])
def test_report_passes_over_an_act_that_is_under_way_and_is_then_too_late(
    name: str, execution: str, database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    (lease,) = runner.claim()
    said = [runner.result(lease, completed("late"))]
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        _do(api, name, execution)
        # It waits for nobody, and is asked to say it again.
        assert [row["is_passed_over"] for row in runner.report_once(said)] == [True]
    assert runner.report_once(said) == []
    runner.work()
    found = get(database, tenant, execution)
    assert found["steps"]["a"]["status"] == ENDS.get(name, "completed")
    assert found["steps"]["a"]["output"] == (None if name in ENDS else "a")
    assert_invariants(db)


@pytest.mark.parametrize("name", ["retry_step", *ENDS])
def test_act_waits_for_a_report_and_is_told_what_it_left(
    name: str, execution: str, database: Database, db: Db, tenant: Tenant, runner: Hands, run: Run
) -> None:
    (lease,) = runner.claim()
    with caller(database, tenant) as (link, request):
        with runner.db.connection.transaction():
            (after,) = runner.report([runner.result(lease, completed("first"))])
            rival = run(link, partial(request, name, execution_id=execution, step="a"))
            assert rival.run_until_blocked()
        error = rival.refusal()
    assert error is not None
    assert refusal_code(error) == "step_ended"
    runner.report([runner.result(after, completed())])
    assert get(database, tenant, execution)["steps"]["a"]["output"] == "first"
    assert_invariants(db)


@pytest.mark.parametrize("name", ["retry_step", *ENDS])
def test_act_waits_for_the_claim_that_promotes_its_step(
    name: str, execution: str, database: Database, db: Db, tenant: Tenant, runner: Hands, run: Run, clock: Clock
) -> None:
    clock.set(NOON)
    (lease,) = runner.claim()
    runner.report([runner.result(lease, failed())])
    with caller(database, tenant) as (link, request):
        with runner.db.connection.transaction():
            clock.advance(seconds=61)
            (lease,) = runner.claim()
            rival = run(link, partial(request, name, execution_id=execution, step="a"))
            assert rival.run_until_blocked()
        rival.answer()
    # The claim was first: the lease was there, and is gone again.
    assert runner.report_once([runner.result(lease, completed("late"))]) == []
    assert db.value("select status from flowgres.attempts where attempt = 2") in ("cancelled", "discarded")
    runner.work()
    assert get(database, tenant, execution)["steps"]["a"]["status"] == ENDS.get(name, "completed")
    assert_invariants(db)


@pytest.mark.parametrize("name", ["retry_step", *ENDS])
def test_claim_passes_over_a_row_that_an_act_holds(
    name: str, execution: str, database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        _do(api, name, execution)
        if name in ENDS:
            assert runner.claim() == []
    runner.work()
    assert get(database, tenant, execution)["steps"]["a"]["status"] == ENDS.get(name, "completed")
    assert_invariants(db)


@pytest.mark.parametrize("is_act_first", [True, False])
def test_act_and_cancel_come_one_after_the_other(
    is_act_first: bool, execution: str, database: Database, db: Db, tenant: Tenant, runner: Hands, run: Run
) -> None:
    runner.claim()
    with caller(database, tenant) as (link, request):
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            if is_act_first:
                _do(api, "skip_step", execution)
                rival = run(link, partial(request, "cancel_execution", execution_id=execution))
            else:
                api.call("flowgres_api.cancel_execution", execution_id=execution)
                rival = run(link, partial(request, "skip_step", execution_id=execution, step="a"))
            assert rival.run_until_blocked()
        error = rival.refusal()
    # The step was the last one that could run: with it the execution has ended.
    assert error is not None
    assert refusal_code(error) == "execution_ended"
    assert get(database, tenant, execution)["status"] == ("completed" if is_act_first else "cancelled")
    assert_invariants(db)


def test_two_people_who_act_at_once_do_it_once(
    execution: str, database: Database, db: Db, tenant: Tenant, runner: Hands, run: Run
) -> None:
    with caller(database, tenant) as (link, request):
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            _do(api, "complete_step", execution, output={"n": 1})
            rival = run(link, partial(request, "skip_step", execution_id=execution, step="a"))
            assert rival.run_until_blocked()
        error = rival.refusal()
    assert error is not None
    assert refusal_code(error) == "step_ended"
    runner.work()
    assert get(database, tenant, execution)["steps"]["a"]["output"] == {"n": 1}
    assert_invariants(db)


@pytest.mark.parametrize("is_act_first", [True, False])
def test_act_and_decision_come_one_after_the_other(
    is_act_first: bool, database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock, run: Run
) -> None:
    clock.set(NOON)
    approvals = Approvals(database, db, tenant, runner)
    execution = approvals.ask()
    with approvals.as_caller("bob") as late:
        with approvals.as_caller("ann") as api:
            if is_act_first:
                _do(api, "skip_step", execution, "ask")
                decide = partial(
                    late.call, "flowgres_api.decide_approval", execution_id=execution, step="ask", decision="approved"
                )
                rival = run(late, decide)
            else:
                api.call("flowgres_api.decide_approval", execution_id=execution, step="ask", decision="approved")
                rival = run(late, partial(_do, late, "skip_step", execution, "ask"))
            assert rival.run_until_blocked()
        if is_act_first:
            error = rival.refusal()
            assert error is not None
            assert refusal_code(error) == "approval_ended"
        else:
            # It was decided, and its step has not gone on yet.
            assert rival.answer()["status"] == "skipped"
    assert approvals.rows()[0]["status"] == ("cancelled" if is_act_first else "approved")
    approvals.work()
    assert get(database, tenant, execution)["steps"]["ask"]["status"] == "skipped"
    assert_invariants(db)


@pytest.mark.parametrize("name", ["retry_step", *ENDS])
def test_worker_whose_task_was_taken_away_is_told(
    name: str, database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution = start(database, tenant, import_workflow(db, tenant, dag("main", STEPS)))
    (lease,) = runner.claim()
    runner.report([runner.result(lease, {"o": "park", "waits": "task", "input": {"queue": "mill", "payload": 1}})])
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        task = api.call("flowgres_api.claim_tasks", queue="mill", worker="w")
    act(database, tenant, name, execution, "a")
    with (
        pytest.raises(psycopg.Error) as refused,
        database.as_role("member", tenant_id=tenant.tenant_id) as api,
    ):
        api.call("flowgres_api.complete_task", task_id=task["task_id"], token=task["token"], output={})
    assert refusal_code(refused.value) == ("task_cancelled" if name == "cancel_step" else "lease_lost")
    runner.work()
    assert_invariants(db)


def test_parent_of_an_ended_child_is_not_held_by_whoever_repairs(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("leaf", [{"id": "first"}]))
    call = {"id": "call", "type": "sub_workflow", "config": {"workflow": "leaf"}}
    top = start(
        database, tenant, import_workflow(db, tenant, dag("top", [call, {"id": "after", "depends_on": ["call"]}]))
    )
    (lease,) = runner.claim()
    runner.report([runner.result(lease, {"o": "child", "workflow": "leaf", "input": {}})])
    child = get(database, tenant, top)["steps"]["call"]["child_execution_id"]
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        _do(api, "complete_step", child, "first")
        # Its transaction stays open, and the parent is free.
        with database.connect() as other:
            held = "select 1 from flowgres.work_queue where execution_id = %s for update nowait"
            assert other.value(held, top) == 1
    assert runner.work(lambda lease, name: completed(name)) == ["call", "after"]
    assert get(database, tenant, top)["status"] == "completed"
    assert_invariants(db)


def test_steps_of_many_executions_are_skipped_in_one_call(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    workflow = import_workflow(db, tenant, dag("main", STEPS))
    executions = [start(database, tenant, workflow) for _ in range(5)]
    held = runner.claim(2)
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.cancel_execution", execution_id=executions[4])
    with db.connection.transaction():
        db.run("select 1 from flowgres.executions order by id for no key update")
        steps = ["a", "a", "a", "nowhere", "a", "b"]
        query = (
            "select flowgres.skip_steps_held(%s, array(select value::uuid from jsonb_array_elements_text(%s)),"
            " array(select jsonb_array_elements_text(%s)), 'job', 'all of them')"
        )
        answer = db.value(query, tenant.tenant_id, [*executions, executions[0]], steps)
    assert [(one["execution_id"], one["code"]) for one in answer] == [
        (executions[3], "step_not_found"),
        (executions[4], "execution_ended"),
        (executions[0], "execution_named_twice"),
    ]
    assert runner.report_once([runner.result(lease, completed()) for lease in held]) == []
    assert [get(database, tenant, one)["status"] for one in executions[:3]] == ["completed"] * 3
    runner.work()
    assert_invariants(db)
