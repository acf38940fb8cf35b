"""Replays beside whoever advances, retries or deletes the original."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database, Db, Tenant
from tests.support.engine import completed, dag, failed, get, hands, import_workflow, start, statuses
from tests.support.races import caller, rivals

from .test_replays import DIAMOND, replay

Json = Any


def test_fork_waits_for_who_deletes_the_original_and_then_there_is_none(
    database: Database, db: Db, tenant: Tenant
) -> None:
    original = start(database, tenant, import_workflow(db, tenant, DIAMOND))
    with hands(database) as runner:
        runner.work()
    with rivals(db) as run, caller(database, tenant) as (connection, request):
        with database.connect() as sweeper, sweeper.connection.transaction():
            for table, key in (("executions", "id"), ("step_executions", "execution_id"), ("events", "execution_id")):
                sweeper.run(f"delete from flowgres.{table} where {key} = %s", original)
            rival = run(connection, lambda: request("replay_execution", execution_id=original, from_step="d"))
            assert rival.run_until_blocked()
        refusal = rival.refusal()
        assert refusal is not None
        assert "execution_not_found" in str(refusal)
    assert db.value("select count(*) from flowgres.executions") == 0


def test_original_is_not_deleted_under_a_fork(database: Database, db: Db, tenant: Tenant) -> None:
    original = start(database, tenant, import_workflow(db, tenant, DIAMOND))
    with hands(database) as runner:
        runner.work()
        with rivals(db) as run, database.connect() as sweeper:
            with database.as_role("member", tenant_id=tenant.tenant_id) as forker:
                fork = forker.call("flowgres_api.replay_execution", execution_id=original, from_step="d")
                rival = run(
                    sweeper, lambda: sweeper.run("delete from flowgres.executions where id = %s", original)
                )  # fmt: skip
                assert rival.run_until_blocked()
            rival.answer()
        assert runner.work() == ["d"]
        db.run("delete from flowgres.step_executions where execution_id = %s", original)
        db.run("delete from flowgres.events where execution_id = %s", original)
    assert get(database, tenant, fork["execution_id"])["status"] == "completed"


def test_who_advances_the_original_is_not_kept_waiting_by_a_fork(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[Json] = [{"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": ["a", "b"]}]
    original = start(database, tenant, import_workflow(db, tenant, dag("held", steps)))
    with hands(database) as runner:
        leases = runner.claim()
        with database.as_role("member", tenant_id=tenant.tenant_id) as forker:
            forker.call("flowgres_api.replay_execution", execution_id=original, from_step="c")
            # Passed over, and not waited for: it is told to send it again.
            answers = runner.report_once([runner.result(lease, completed()) for lease in leases])
            assert [answer["is_passed_over"] for answer in answers] == [True, True]
        (last,) = runner.report([runner.result(lease, completed()) for lease in leases])
        runner.report([runner.result(last, completed())])
        assert sorted(runner.work()) == ["a", "b", "c"]
    assert get(database, tenant, original)["status"] == "completed"


def test_two_forks_of_one_execution_do_not_wait_for_each_other(database: Database, db: Db, tenant: Tenant) -> None:
    original = start(database, tenant, import_workflow(db, tenant, DIAMOND))
    with hands(database) as runner:
        runner.work(lambda lease, step: failed() if step == "d" else completed(step))
        with database.as_role("member", tenant_id=tenant.tenant_id) as forker:
            first = forker.call("flowgres_api.replay_execution", execution_id=original, from_step="d")
            second = replay(database, tenant, original, from_step="b")
        assert sorted(runner.work()) == ["b", "d", "d"]
    for fork in (first, second):
        assert set(statuses(get(database, tenant, fork["execution_id"])).values()) == {"completed"}
