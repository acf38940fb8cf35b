"""Retrying executions: what runs again, what stays, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, import_workflow, start, statuses


def retry(database: Database, tenant: Tenant, execution_id: str, **arguments: Any) -> dict[str, Any]:
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        answer: dict[str, Any] = member.call("flowgres_api.retry_execution", execution_id=execution_id, **arguments)
    return answer


def test_failed_step_runs_again_and_what_completed_stays(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b"]}]
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("line", steps)))
    assert runner.work(lambda _, step: failed() if step == "b" else completed(step)) == ["a", "b"]
    assert get(database, tenant, execution_id)["status"] == "failed"
    answer = retry(database, tenant, execution_id, reason="mended")
    assert (answer["status"], answer["generation"], answer["error"]) == ("running", 2, None)
    assert_invariants(db, drained=False)
    assert runner.work(lambda _, step: completed(step + "2")) == ["b", "c"]
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["output"]) == ("completed", {"c": "c2"})
    assert statuses(execution) == {"a": "completed", "b": "completed", "c": "completed"}
    assert_invariants(db)


def fail(*names: str) -> Any:
    """What a runner reports when these steps fail."""
    return lambda _, step: failed() if step in names else completed(step)


def begin(database: Database, db: Db, tenant: Tenant, definition: dict[str, Any]) -> str:
    return start(database, tenant, import_workflow(db, tenant, definition))


def refusal(database: Database, tenant: Tenant, execution_id: str, **arguments: Any) -> tuple[str, int]:
    """Code and status of a refused retry."""
    with pytest.raises(psycopg.Error) as raised:
        retry(database, tenant, execution_id, **arguments)
    said, how = json.loads(str(raised.value.diag.message_primary)), json.loads(str(raised.value.diag.message_detail))
    assert said["hint"]
    return said["code"], how["status"]


def test_what_joins_always_and_what_comes_after_a_failure_run_again(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "b", "depends_on": ["a"]},
        {"id": "side", "depends_on": ["a"]},
        {"id": "tidy", "depends_on": ["b"], "join": "always"},
        {"id": "late", "depends_on": ["tidy", "side"]},
    ]
    late = [{"id": "page", "type": "log", "config": {"message": "x"}}]
    execution_id = begin(database, db, tenant, dag("always", steps, on_failure=late))
    ran = runner.work(fail("b"))
    assert ran[-2:] == ["tidy", "page"]
    retry(database, tenant, execution_id)
    again = runner.work(fail("b"))
    assert set(again) - {"side"} == {"b", "tidy", "page"}
    assert get(database, tenant, execution_id)["status"] == "failed"
    assert_invariants(db)
    retry(database, tenant, execution_id)
    assert set(runner.work(fail())) - {"side"} == {"b", "tidy", "late"}
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["generation"], execution["total_steps"]) == ("completed", 3, 5)
    assert_invariants(db)


def test_failure_that_was_handled_stays(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a"},
        {"id": "mend", "depends_on": ["a"], "join": "failed"},
        {"id": "b", "depends_on": ["mend"]},
    ]
    execution_id = begin(database, db, tenant, dag("handled", steps))
    assert runner.work(fail("a", "b")) == ["a", "mend", "b"]
    retry(database, tenant, execution_id)
    assert runner.work(fail()) == ["b"]
    assert statuses(get(database, tenant, execution_id)) == {"a": "failed", "mend": "completed", "b": "completed"}
    assert_invariants(db)


def test_what_others_cancelled_stays_cancelled(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "fast", "cancels": ["slow"]},
        {"id": "slow"},
        {"id": "b", "depends_on": ["fast"]},
    ]
    execution_id = begin(database, db, tenant, dag("race", steps))
    leases = {runner.step_name(row): row for row in runner.claim()}
    (lease,) = runner.report([runner.result(leases["fast"], completed(1))])
    runner.report([runner.result(lease, failed())])
    retry(database, tenant, execution_id)
    assert runner.work(fail()) == ["b"]
    execution = get(database, tenant, execution_id)
    assert statuses(execution) == {"fast": "completed", "slow": "cancelled", "b": "completed"}
    assert_invariants(db)


def test_only_iterations_that_did_not_complete_run_again(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    each = {"id": "each", "foreach": {"items": [1], "max_parallel": 2}}
    execution_id = begin(database, db, tenant, dag("list", [each, {"id": "b", "depends_on": ["each"]}]))
    (lease,) = runner.claim()
    leases = runner.report([runner.result(lease, {"o": "expand", "out": list("abcdef")})], want=10)
    ran: dict[int, Any] = {}

    def drain(leases: list[Row], bad: set[int]) -> None:
        while leases:
            results = []
            for row in leases:
                ran[row["iteration"]] = row["item"]
                results.append(runner.result(row, failed() if row["iteration"] in bad else completed(row["item"])))
            leases = [*runner.report(results, want=10), *runner.claim()]

    drain(leases, {3})
    assert get(database, tenant, execution_id)["status"] == "failed"
    done = db.all(
        "select iteration from flowgres.step_executions where iteration >= 0 and status = 'completed' order by 1"
    )
    for bad in ({1, 3, 4, 5}, set[int]()):
        retry(database, tenant, execution_id)
        ran.clear()
        assert len(db.all("select from flowgres.work_queue")) == 2
        left = set(range(6)) - {row["iteration"] for row in done}
        drain(runner.claim(), bad & left)
        if not bad:
            assert set(ran) == left | {-1}
        done = db.all(
            "select iteration from flowgres.step_executions where iteration >= 0 and status = 'completed' order by 1"
        )
    assert get(database, tenant, execution_id)["steps"]["each"]["output"] == list("abcdef")
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)


def test_cancelled_execution_goes_on(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id = begin(database, db, tenant, dag("two", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    for count in (0, 1):
        if count:
            lease = runner.claim()
            runner.report([runner.result(lease[0], completed("a"))])
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call("flowgres_api.cancel_execution", execution_id=execution_id)
        assert_invariants(db)
        assert retry(database, tenant, execution_id)["status"] == "running"
        assert_invariants(db, drained=False)
    assert runner.work(fail()) == ["b"]
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["generation"]) == ("completed", 3)
    assert_invariants(db)


UNDOES = {"compensate": {"type": "log", "config": {"message": "undone"}}}


def test_what_cannot_be_retried_says_why(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    two: list[dict[str, Any]] = [{"id": "a", **UNDOES}, {"id": "b", "depends_on": ["a"]}]
    execution_id = begin(database, db, tenant, dag("saga", two))
    assert refusal(database, tenant, execution_id) == ("execution_not_ended", 409)
    runner.work(fail("b"))
    assert refusal(database, tenant, execution_id) == ("execution_compensated", 409)
    done = begin(database, db, tenant, dag("done", [{"id": "a"}]))
    runner.work(fail())
    assert refusal(database, tenant, done) == ("execution_completed", 409)
    nobody = "01a21fec-50c4-7f11-b034-17fbfcc50cb0"
    assert refusal(database, tenant, nobody) == ("execution_not_found", 404)
    stops: list[dict[str, Any]] = [{"id": "a", "type": "stop", "config": {"status": "failed"}}]
    stopped = begin(database, db, tenant, dag("stopped", stops))
    runner.work(lambda _, step: completed({"status": "failed", "message": "no"}))
    assert get(database, tenant, stopped)["status"] == "failed"
    assert refusal(database, tenant, stopped) == ("execution_stopped", 409)
    other = database.make_tenant("Other")
    assert refusal(database, other, execution_id) == ("execution_not_found", 404)
    assert_invariants(db)


def _line(name: str, *steps: str, **configs: Any) -> dict[str, Any]:
    listed = [
        {"id": step, "type": "log", "config": {"message": configs.get(step, "x")}}
        | ({"depends_on": [steps[place - 1]]} if place else {})
        for place, step in enumerate(steps)
    ]
    return dag(name, listed)


def test_execution_goes_on_with_a_version_that_keeps_what_has_completed(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution_id = begin(database, db, tenant, _line("grows", "a", "b", "c"))
    runner.work(fail("b"))
    import_workflow(db, tenant, _line("grows", "a", "b", "extra", b="mended"))
    import_workflow(db, tenant, _line("grows", "a", "b", a="another"))
    import_workflow(db, tenant, _line("grows", "new", "a", "b"))
    for version in (3, 4):
        assert refusal(database, tenant, execution_id, version=version) == ("version_differs", 409)
    assert refusal(database, tenant, execution_id, version=9) == ("version_not_found", 404)
    answer = retry(database, tenant, execution_id, version=2)
    assert (answer["version"], answer["total_steps"]) == (2, 3)
    assert runner.work(fail()) == ["b", "extra"]
    execution = get(database, tenant, execution_id)
    assert (execution["status"], execution["output"]) == ("completed", {"extra": "extra"})
    assert_invariants(db)


def test_attempts_and_events_of_all_generations_stay(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id = begin(database, db, tenant, _line("told", "a", "b"))
    runner.work(fail("b"))
    before = db.all("select * from flowgres_api.execution_events order by seq")
    tries = db.all("select * from flowgres_api.attempts order by step")
    for _ in range(2):
        retry(database, tenant, execution_id)
        assert db.all("select * from flowgres_api.execution_events order by seq limit %s", len(before)) == before
        assert db.all("select * from flowgres_api.attempts where generation = 1 order by step") == tries
        runner.work(fail("b"))
    attempts = db.all("select step, generation, status from flowgres_api.attempts order by step, generation")
    assert [tuple(row.values()) for row in attempts] == [
        ("a", 1, "completed"),
        *(("b", generation, "failed") for generation in (1, 2, 3)),
    ]
    assert_invariants(db)
