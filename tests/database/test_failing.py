"""What an unhandled failure, a handler that did not run, a timeout and a cancel do to the steps that are left."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import assert_invariants, completed, dag, failed, get, hands, import_workflow, start, statuses


@pytest.mark.parametrize("error_class", ["definition", "expression", "validation"])
def test_what_would_fail_the_same_way_again_is_never_retried(
    database: Database, db: Db, tenant: Tenant, error_class: str
) -> None:
    name = import_workflow(db, tenant, dag("once", [{"id": "a", "retry": {"attempts": 5}}]))
    # As an older version may have it.
    db.run("update flowgres.workflow_steps set retry_errors = %s::text[]", "{definition,expression,validation}")
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, failed(error_class))])
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["steps"]["a"]["attempts"]) == ("failed", 1)


@pytest.mark.parametrize("named", [503, "503", "5xx", "5XX", 503.0, "http_status"])
@pytest.mark.parametrize("status", [503, 404])
def test_status_is_retried_by_its_number_and_by_its_class(
    database: Database, db: Db, tenant: Tenant, named: Any, status: int
) -> None:
    policy = {"attempts": 5, "errors": [named]}
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("calls", [{"id": "a", "retry": policy}])))
    error_class = "5xx" if status == 503 else "http_status"
    error = {"code": "http_status", "message": "answered", "class": error_class, "details": {"status": status}}
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        runner.report([runner.result(lease, {"o": "failed", "error": error})])
    is_meant = (named == "http_status") == (status == 404)
    status_now = get(database, tenant, execution_id)["steps"]["a"]["status"]
    assert status_now == ("retrying" if is_meant else "failed")


def test_step_run_ahead_that_is_to_be_retried_becomes_ready_as_ever(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "b", "depends_on": ["a"], "retry": {"attempts": 3, "errors": ["timeout"]}},
        {"id": "c", "depends_on": ["b"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("ahead", steps)))
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        ahead = [{"s": 1, "ms": 1.0, **failed("timeout")}, {"s": 2, "ms": 1.0, **completed()}]
        (again,) = runner.report([{**runner.result(lease, completed()), "ahead": ahead}])
        assert (again["step_index"], again["attempt"]) == (1, 1)
        runner.report([runner.result(again, failed("timeout"))])
        assert get(database, tenant, execution_id)["steps"]["b"]["status"] == "retrying"
    assert_invariants(db, drained=False)


def test_condition_that_fails_and_goes_on_takes_no_branch(database: Database, db: Db, tenant: Tenant) -> None:
    condition = {"expression": "{{ true }}", "true_branch": ["left"], "false_branch": ["right"]}
    steps: list[dict[str, Any]] = [
        {"id": "if", "type": "condition", "on_error": "continue", "config": condition},
        {"id": "left", "depends_on": ["if"]},
        {"id": "right", "depends_on": ["if"]},
        {"id": "other", "depends_on": ["if"]},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("branches", steps)))
    with hands(database) as runner:
        runner.work(lambda _lease, step: failed() if step == "if" else completed())
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert statuses(execution) == {"if": "failed", "left": "skipped", "right": "skipped", "other": "completed"}
    assert_invariants(db)


def test_failure_whose_handler_is_skipped_fails_the_execution(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "handler", "depends_on": ["a"], "join": "failed", "when": "{{ false }}"},
        {"id": "b", "depends_on": ["a"]},
        {"id": "slow"},
        {"id": "last", "depends_on": ["slow", "b"], "join": "always"},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("handled", steps)))
    outcomes = {"a": failed(), "handler": {"o": "skipped"}, "slow": {"o": "started"}, "last": completed()}
    with hands(database) as runner:
        leases = {runner.step_name(lease): lease for lease in runner.claim()}
        (handler,) = runner.report([runner.result(leases["a"], failed())])
        assert get(database, tenant, execution_id)["status"] == "running"
        (last,) = runner.report([runner.result(handler, outcomes["handler"])], want=2)
        assert runner.step_name(last) == "last"
        runner.report([runner.result(last, completed())])
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["error"]["step"]) == ("failed", "a")
    assert statuses(execution) == {
        "a": "failed", "handler": "skipped", "b": "skipped", "slow": "cancelled", "last": "completed",
    }  # fmt: skip
    assert_invariants(db)


def test_failure_is_handled_while_one_of_its_handlers_may_still_run(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "one", "depends_on": ["a"], "join": "failed", "when": "{{ false }}"},
        {"id": "two", "depends_on": ["a"], "join": "failed"},
    ]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("handled", steps)))
    with hands(database) as runner:
        runner.work(
            lambda _lease, step: {"a": failed(), "one": {"o": "skipped"}, "two": completed()}[step], one_by_one=True
        )
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_execution_that_ran_out_of_time_still_runs_what_joins_always(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "b", "depends_on": ["a"]},
        {"id": "tidy", "depends_on": ["b"], "join": "always"},
    ]
    name = import_workflow(db, tenant, dag("late", steps, settings={"timeout": 10}))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        (running,) = runner.report([runner.result(lease, completed())])
        clock.advance(seconds=11)
        assert runner.db.call("flowgres.expire_executions", p_limit=10) == 1
        assert runner.db.call("flowgres.expire_executions", p_limit=10) == 0
        # The one that was running has lost its lease.
        assert runner.report([runner.result(running, completed())]) == []
        (tidy,) = runner.claim()
        assert runner.step_name(tidy) == "tidy"
        runner.report([runner.result(tidy, completed())])
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["error"]["code"]) == ("failed", "execution_timeout")
    assert statuses(execution) == {"a": "completed", "b": "cancelled", "tidy": "completed"}
    assert_invariants(db)


def test_cancelled_step_that_was_running_has_an_attempt_and_a_start(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("cancel", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        (lease,) = runner.claim(1)
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            api.call("flowgres_api.cancel_execution", execution_id=execution_id, reason="enough")
        with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
            query = "select step, attempt, status from flowgres_api.attempts where execution_id = %s"
            assert api.all(query, execution_id) == [{"step": "a", "attempt": 1, "status": "cancelled"}]
            told = api.all(
                "select type, step from flowgres_api.execution_events where execution_id = %s order by seq",
                execution_id,
            )
            assert [(event["type"], event["step"]) for event in told] == [
                ("step_started", "a"), ("step_cancelled", "a"), ("step_cancelled", "b"), ("execution_cancelled", None),
            ]  # fmt: skip
        # What its runner still has to say is kept, and changes nothing.
        assert runner.report([runner.result(lease, completed({"late": 1}))]) == []
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        (attempt,) = api.all("select status, detail from flowgres_api.attempts where execution_id = %s", execution_id)
    assert attempt == {"status": "discarded", "detail": {"output": {"late": 1}}}
    assert get(database, tenant, execution_id)["status"] == "cancelled"
    assert_invariants(db)
