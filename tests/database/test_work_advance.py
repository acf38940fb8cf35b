"""Advancing executions: what becomes ready, what is skipped, how an execution ends."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import completed, dag, failed, get, hands, import_workflow, start, statuses


def test_chain_runs_in_order_and_completes_with_its_last_output(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("chain", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    execution_id = start(database, tenant, name, input={"n": 1})
    with hands(database) as runner:
        assert runner.work() == ["a", "b"]
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert execution["output"] == {"b": "b"}
    assert execution["progress"] == 100
    assert (execution["steps_completed"], execution["total_steps"]) == (2, 2)
    assert db.value("select count(*) from flowgres.work_queue") == 0


def test_events_are_numbered_without_gaps(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("chain", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        runner.work()
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        events = api.all(
            "select seq, type, step from flowgres_api.execution_events where execution_id = %s order by seq",
            execution_id,
        )
    assert [(row["seq"], row["type"], row["step"]) for row in events] == [
        (1, "execution_started", None),
        (2, "step_started", "a"),
        (3, "step_completed", "a"),
        (4, "step_started", "b"),
        (5, "step_completed", "b"),
        (6, "execution_completed", None),
    ]


def test_join_runs_once_after_all_its_parents(database: Database, db: Db, tenant: Tenant) -> None:
    middle = [f"m{i}" for i in range(20)]
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        *({"id": m, "depends_on": ["a"]} for m in middle),
        {"id": "z", "depends_on": middle},
    ]
    name = import_workflow(db, tenant, dag("fan", steps))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        ran = runner.work(one_by_one=True)
    assert ran[0] == "a"
    assert ran[-1] == "z"
    assert len(ran) == 22
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_branch_not_taken_is_skipped_with_all_that_hangs_only_on_it(database: Database, db: Db, tenant: Tenant) -> None:
    condition = {"expression": "{{ true }}", "true_branch": ["high"], "false_branch": ["low"]}
    steps: list[dict[str, Any]] = [
        {"id": "check", "type": "condition", "config": condition},
        {"id": "high", "depends_on": ["check"]},
        {"id": "low", "depends_on": ["check"]},
        {"id": "after_low", "depends_on": ["low"]},
        {"id": "end", "depends_on": ["high", "after_low"]},
    ]
    name = import_workflow(db, tenant, dag("branch", steps))
    execution_id = start(database, tenant, name)

    def decide(_: Row, step: str) -> dict[str, Any]:
        return completed({"branch": "true"}, taken=["high"]) if step == "check" else completed()

    with hands(database) as runner:
        assert runner.work(decide) == ["check", "high", "end"]
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert statuses(execution) == {
        "check": "completed",
        "high": "completed",
        "low": "skipped",
        "after_low": "skipped",
        "end": "completed",
    }


def test_unhandled_failure_cancels_what_has_not_run_and_still_runs_always_steps(
    database: Database, db: Db, tenant: Tenant
) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "bad", "depends_on": ["a"]},
        {"id": "next", "depends_on": ["bad"]},
        {"id": "cleanup", "depends_on": ["next"], "join": "always"},
    ]
    name = import_workflow(db, tenant, dag("failing", steps))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        ran = runner.work(lambda _, step: failed() if step == "bad" else completed())
    assert ran == ["a", "bad", "cleanup"]
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "failed"
    assert execution["error"]["code"] == "broken"
    assert execution["error"]["step"] == "bad"
    assert statuses(execution) == {"a": "completed", "bad": "failed", "next": "cancelled", "cleanup": "completed"}


def test_failure_with_a_child_that_joins_on_failed_is_handled(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "bad"},
        {"id": "next", "depends_on": ["bad"]},
        {"id": "mend", "depends_on": ["bad"], "join": "failed"},
    ]
    name = import_workflow(db, tenant, dag("handled", steps))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        assert runner.work(lambda _, step: failed() if step == "bad" else completed()) == ["bad", "mend"]
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert statuses(execution) == {"bad": "failed", "next": "skipped", "mend": "completed"}


def test_on_error_continue_takes_the_edge_and_skip_kills_it(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "soft", "on_error": "continue"},
        {"id": "after_soft", "depends_on": ["soft"]},
        {"id": "gone", "on_error": "skip"},
        {"id": "after_gone", "depends_on": ["gone"]},
    ]
    name = import_workflow(db, tenant, dag("on_error", steps))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        runner.work(lambda _, step: failed() if step in ("soft", "gone") else completed())
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "completed"
    assert statuses(execution) == {
        "soft": "failed",
        "after_soft": "completed",
        "gone": "failed",
        "after_gone": "skipped",
    }


def test_any_join_runs_once_at_the_first_taken_edge(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b"}, {"id": "first", "depends_on": ["a", "b"], "join": "any"}]
    name = import_workflow(db, tenant, dag("any_join", steps))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        assert runner.work(one_by_one=True) in (["a", "b", "first"], ["a", "first", "b"])
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_outputs_of_the_definition_become_the_output(database: Database, db: Db, tenant: Tenant) -> None:
    definition = dag("declared", [{"id": "a"}, {"id": "b"}], outputs={"sum": "{{ steps.a.output + steps.b.output }}"})
    name = import_workflow(db, tenant, definition)
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        ran = runner.work(lambda _, step: completed({"sum": 3} if step == "$outputs" else 1))
    assert ran == ["a", "b", "$outputs"]
    execution = get(database, tenant, execution_id)
    assert execution["output"] == {"sum": 3}
    assert set(execution["steps"]) == {"a", "b"}
    assert (execution["steps_completed"], execution["total_steps"]) == (2, 2)


def test_cancel_stops_new_steps_and_refuses_late_results(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("cancelled", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        (lease,) = runner.claim()
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            api.call("flowgres_api.cancel_execution", execution_id=execution_id, reason="no longer wanted")
        running = [[str(lease["tenant_id"]), str(lease["execution_id"]), lease["queue_id"], lease["token"]]]
        beat = runner.db.call("flowgres.heartbeat", p_runner_id=runner.id, p_running=running, p_stats={})
        assert beat["lost"] == [lease["queue_id"]]
        assert runner.report([runner.result(lease, completed(1))], want=10) == []
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "cancelled"
    assert statuses(execution) == {"a": "cancelled", "b": "cancelled"}
    assert execution["error"]["message"] == "no longer wanted"


def test_two_branches_that_fail_in_one_batch_end_the_execution_once(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("twice", [{"id": "a"}, {"id": "b"}, {"id": "z", "depends_on": ["a", "b"]}]))
    execution_id = start(database, tenant, name)
    with hands(database) as runner:
        runner.work(lambda _, step: failed())
    assert get(database, tenant, execution_id)["status"] == "failed"
    ends = db.value(
        "select count(*) from flowgres.events where execution_id = %s and type = 'execution_failed'", execution_id
    )
    assert ends == 1
