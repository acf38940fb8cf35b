"""Two connections at one execution: retries meet retries, late reports, cancels and each other's parents."""

from __future__ import annotations

import pytest

from tests.database.test_retries import begin
from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, start
from tests.support.races import (
    Lane,
    caller,
    descend,
    drain,
    execution_of,
    import_call_tree,
    refusal_code,
    rivals,
)


def _fail(database: Database, db: Db, tenant: Tenant, runner: Hands) -> str:
    execution_id = begin(database, db, tenant, dag("one", [{"id": "a"}, {"id": "side"}]))
    leases = {runner.step_name(row): row for row in runner.claim()}
    runner.report([runner.result(leases["a"], failed())])
    return execution_id


@pytest.mark.parametrize("second", ["retry_execution", "cancel_execution"])
def test_second_caller_waits_and_sees_what_the_first_one_did(
    database: Database, db: Db, tenant: Tenant, runner: Hands, second: str
) -> None:
    execution_id = _fail(database, db, tenant, runner)
    with caller(database, tenant) as (connection, request), rivals(db) as run:
        with database.as_role("member", tenant_id=tenant.tenant_id) as first:
            first.call("flowgres_api.retry_execution", execution_id=execution_id)
            rival = run(connection, lambda: request(second, execution_id=execution_id))
            assert rival.run_until_blocked()
        error = rival.refusal()
    assert (error and refusal_code(error)) == ("execution_not_ended" if second == "retry_execution" else None)
    execution = get(database, tenant, execution_id)
    assert (execution["generation"], execution["status"]) == (2, "running" if error else "cancelled")
    drain(database, db, runner)


def test_report_of_the_generation_before_changes_nothing(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    execution_id = begin(database, db, tenant, dag("late", [{"id": "a"}, {"id": "side"}]))
    leases = {runner.step_name(row): row for row in runner.claim()}
    runner.report([runner.result(leases["a"], failed())])
    with database.connect("runner") as connection, rivals(db) as run:
        lane = Lane(connection, runner)
        late = [runner.result(leases["side"], completed("late"))]
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call("flowgres_api.retry_execution", execution_id=execution_id)
            rival = run(connection, lambda: lane.report(late))
            # The engine waits for nobody: neither for the caller nor for what the caller writes.
            assert not rival.run_until_blocked()
        assert rival.answer() == []
    assert runner.report([runner.result(leases["side"], completed("later"))]) == []
    assert db.value("select count(*) from flowgres.step_executions where execution_id = %s", execution_id) == 0
    attempts = db.all("select step, status, generation from flowgres_api.attempts order by step")
    assert [tuple(row.values()) for row in attempts] == [("a", "failed", 1), ("side", "discarded", 1)]
    drain(database, db, runner)
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_engine_passes_over_what_a_retry_holds(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    held, free = (begin(database, db, tenant, dag(name, [{"id": "a"}])) for name in ("held", "free"))
    leases = runner.claim()
    by_execution = {str(row["execution_id"]): row for row in leases}
    runner.report([runner.result(by_execution[held], failed())])
    with database.as_role("member", commit=False, tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.retry_execution", execution_id=held)
        runner.report([runner.result(by_execution[free], completed(1))])
        runner.sweep()
        assert get(database, tenant, free)["status"] == "completed"
    assert get(database, tenant, held)["status"] == "failed"
    assert_invariants(db)


def test_child_that_is_held_is_waited_for_from_its_parent_down(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    import_call_tree(db, tenant)
    top = start(database, tenant, "top")
    lease = descend(runner, to="second")["second"]
    runner.report([runner.result(lease, failed())])
    drain(database, db, runner)
    leaf = execution_of(db, "leaf")
    with caller(database, tenant) as (connection, request), rivals(db) as run:
        with database.connect() as holder:
            holder.run("begin")
            holder.run("select from flowgres.executions where id = %s for no key update", leaf)
            rival = run(connection, lambda: request("retry_execution", execution_id=top))
            assert rival.run_until_blocked()
        assert rival.answer()["generation"] == 2
    assert get(database, tenant, leaf)["generation"] == 2
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.cancel_execution", execution_id=top)
    assert get(database, tenant, leaf)["status"] == "cancelled"
    assert_invariants(db)


def test_who_retries_by_himself_waits_for_no_child(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    import_call_tree(db, tenant)
    top = start(database, tenant, "top", max_retries=1)
    lease = descend(runner, to="second")["second"]
    runner.report([runner.result(lease, failed())])
    # The leaf has failed; middle fails next, and top, which would retry middle.
    leases = descend(runner, to="call_leaf")
    runner.report([runner.result(leases["call_leaf"], failed("child"))])
    (call,) = runner.claim()
    middle = execution_of(db, "middle")
    with database.connect() as holder:
        holder.run("begin")
        holder.run("select from flowgres.executions where id = %s for no key update", middle)
        runner.report([runner.result(call, failed("child"))])
        holder.run("rollback")
    # So its step starts another.
    assert get(database, tenant, top)["status"] == "retrying"
    db.run("update flowgres.work_queue set due_at = flowgres.now() where isfinite(due_at)")
    drain(database, db, runner)
    assert get(database, tenant, top)["status"] == "completed"
    assert db.value("select count(*) from flowgres.executions") == 5
