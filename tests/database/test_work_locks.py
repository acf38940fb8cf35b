"""Two connections at once: joins are not lost, nobody deadlocks, and the engine's checker stays clean."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, completed, dag, failed, get, hands, import_workflow, start

ROUNDS = 12


def _together(*actions: Callable[[], Any]) -> list[Any]:
    """Run the actions at the same moment; return what they return."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        barrier.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def test_siblings_that_finish_at_once_start_their_join_once(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b"}, {"id": "join", "depends_on": ["a", "b"]}]
    name = import_workflow(db, tenant, dag("siblings", steps))
    with hands(database) as left, hands(database) as right:
        for _ in range(ROUNDS):
            execution_id = start(database, tenant, name)
            (one,) = left.claim(1)
            (two,) = right.claim(1)
            answers = _together(
                partial(left.report, [left.result(one, completed())]),
                partial(right.report, [right.result(two, completed())]),
            )
            handed = [lease for answer in answers for lease in answer]
            assert len(handed) == 1
            owner = left if handed[0]["queue_id"] == one["queue_id"] else right
            owner.report([owner.result(handed[0], completed())])
            assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)


def test_cancel_and_completion_at_once_leave_one_end(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("race", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    with hands(database) as runner:
        for _ in range(ROUNDS):
            execution_id = start(database, tenant, name)
            (lease,) = runner.claim(1)

            def cancel(execution_id: str = execution_id) -> None:
                with database.as_role("member", tenant_id=tenant.tenant_id) as api:
                    api.call("flowgres_api.cancel_execution", execution_id=execution_id)

            _together(cancel, partial(runner.report, [runner.result(lease, completed())]))
            runner.work()
            assert get(database, tenant, execution_id)["status"] in ("cancelled", "completed")
    assert_invariants(db)


def test_batches_over_the_same_executions_do_not_deadlock(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "join", "depends_on": ["a", "b", "c"]}]
    name = import_workflow(db, tenant, dag("crossing", steps))
    for _ in range(40):
        start(database, tenant, name)
    with hands(database) as left, hands(database) as right:
        ours, theirs = left.claim(60), right.claim(60)
        _together(
            lambda: left.report([left.result(lease, completed()) for lease in ours]),
            lambda: right.report([right.result(lease, failed()) for lease in reversed(theirs)]),
        )
        left.work()
        right.work()
        left.db.call("flowgres.stop_runner", p_runner_id=left.id)
        right.db.call("flowgres.stop_runner", p_runner_id=right.id)
    with hands(database) as last:
        last.db.call("flowgres.rescue_expired_leases", p_limit=1000)
        last.work()
    assert_invariants(db)


def test_held_execution_is_passed_over_and_the_others_are_recorded(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("held", [{"id": "only"}]))
    ids = [start(database, tenant, name) for _ in range(20)]
    with hands(database) as runner, database.connect() as holder:
        results = [runner.result(lease, completed()) for lease in runner.claim(20)]
        # Whoever waited for the lock would be refused at once.
        runner.db.run("set lock_timeout to '100ms'")
        with holder.connection.transaction():
            holder.run("select from flowgres.executions where id = %s for no key update", ids[7])
            (row,) = runner.report_once(results)
            assert (row["is_passed_over"], str(row["execution_id"])) == (True, ids[7])
            statuses = dict.fromkeys(ids, "completed") | {ids[7]: "queued"}
            rows = db.all("select id::text, status from flowgres.executions")
            assert {row["id"]: row["status"] for row in rows} == statuses
        assert runner.report_once([result for result in results if result["x"] == ids[7]]) == []
    assert get(database, tenant, ids[7])["status"] == "completed"
    assert_invariants(db)


def test_report_reads_a_bounded_number_of_rows_on_tables_never_analysed(
    database: Database, db: Db, tenant: Tenant
) -> None:
    """A plan made for empty tables must not read a tenant's history for each step."""
    name = import_workflow(db, tenant, dag("plans", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    with hands(database) as runner:
        start(database, tenant, name)
        runner.work()
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            api.call("flowgres_api.start_executions", workflow=name, inputs=[{} for _ in range(2000)])
        leases = runner.claim(200)
        runner.db.connection.autocommit = False
        runner.report([runner.result(lease, completed()) for lease in leases], want=200)
        read = runner.db.value(
            """select sum(pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid))::integer
            from pg_class as c
            where c.relnamespace = 'flowgres'::regnamespace and c.relkind in ('r', 'i')"""
        )
        runner.db.connection.rollback()
    # 200 reports and 200 claims, each with a few look-ups by key; a scan of 2,000 rows a step would read 800,000.
    assert 400 < read < 400 * 40
