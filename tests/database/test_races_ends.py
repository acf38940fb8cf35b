"""Cancels beside ends, starts beside deletes: both orders, one side holding its locks until the other waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, get, hands, import_workflow, start
from tests.support.races import (
    Run,
    caller,
    descend,
    drain,
    execution_of,
    import_call_tree,
    natural,
    refusal_code,
    rivals,
)


@pytest.fixture
def run(db: Db) -> Iterator[Run]:
    with rivals(db) as run:
        yield run


# A child that ends, and a cancel of it or of its parent.


@pytest.mark.parametrize("workflow", ["leaf", "middle", "top"])
@pytest.mark.parametrize("is_cancelled_first", [True, False], ids=["cancelled first", "ended first"])
def test_cancel_and_the_end_of_a_leaf_never_meet_in_a_deadlock(
    database: Database, db: Db, tenant: Tenant, run: Run, runner: Hands, is_cancelled_first: bool, workflow: str
) -> None:
    import_call_tree(db, tenant)
    top = start(database, tenant, "top")
    lease = descend(runner, to="second")["second"]
    target = execution_of(db, workflow)
    report = [runner.result(lease, completed("done"))]
    with ExitStack() as stack:
        api = stack.enter_context(database.as_role("member", tenant_id=tenant.tenant_id))
        cancel = partial(api.call, "flowgres_api.cancel_execution", execution_id=target)
        if is_cancelled_first:
            cancel()
            rival = run(runner.db, lambda: runner.report_once(report))
            rival.run_until_blocked()
            stack.close()
            assert rival.refusal() is None
            # What was passed over is sent again.
            assert runner.report(report) == []
        else:
            with runner.db.connection.transaction():
                runner.report(report)
                rival = run(api, cancel)
                rival.run_until_blocked()
            refusal = rival.refusal()
            assert refusal is None or (refusal_code(refusal), workflow) == ("execution_ended", "leaf"), refusal
            stack.close()
    assert_invariants(db, drained=False)
    drain(database, db, runner)
    ended = {name: get(database, tenant, execution_of(db, name))["status"] for name in ("top", "middle", "leaf")}
    if workflow == "leaf":
        assert ended["leaf"] == ("cancelled" if is_cancelled_first else "completed")
        assert ended["top"] == ("failed" if is_cancelled_first else "completed")
    else:
        assert ended[workflow] == "cancelled"
    assert get(database, tenant, top)["status"] != "running"


@pytest.mark.parametrize("holder_of", ["middle", "top"])
def test_cancel_between_a_parent_that_fails_and_a_grandchild_that_ends_does_not_deadlock(
    database: Database, db: Db, tenant: Tenant, run: Run, runner: Hands, holder_of: str
) -> None:
    """One batch fails `top` and ends `leaf`; the cancel of `middle` between them touches what both of them touch."""
    import_call_tree(db, tenant, parent=[{"id": "bad"}])
    start(database, tenant, "top")
    leases = descend(runner, to="second", keep=("bad",))
    middle = execution_of(db, "middle")
    batch = [runner.result(leases["bad"], failed()), runner.result(leases["second"], completed())]
    with ExitStack() as stack, caller(database, tenant) as (api, request):
        holder = stack.enter_context(database.connect())
        stack.enter_context(holder.connection.transaction())
        parked = "select from flowgres.work_queue where execution_id = %s and due_at is not null for update"
        holder.run(parked, execution_of(db, holder_of))
        cancelling = run(api, lambda: request("cancel_execution", execution_id=middle))
        cancelling.run_until_blocked()
        reporting = run(runner.db, lambda: runner.report_once(batch))
        reporting.run_until_blocked()
        stack.close()
        errors = [rival.refusal() for rival in (cancelling, reporting)]
    assert errors == [None, None]
    assert_invariants(db, drained=False)
    drain(database, db, runner)


def test_delete_of_the_children_s_workflow_beside_a_batch_that_fails_their_parents_does_not_deadlock(
    database: Database, db: Db, tenant: Tenant, run: Run, runner: Hands
) -> None:
    """The younger parent has the older child: in the order of the children the parents come the wrong way round."""
    import_call_tree(db, tenant, parent=[{"id": "bad"}])
    tops = [start(database, tenant, "top") for _ in range(2)]
    leases = sorted(runner.claim(), key=lambda lease: tops.index(str(lease["execution_id"])))
    for lease in reversed([lease for lease in leases if runner.step_name(lease) == "call_middle"]):
        runner.report([runner.result(lease, natural(lease, "call_middle"))])
    batch = [runner.result(lease, failed()) for lease in leases if runner.step_name(lease) == "bad"]
    with ExitStack() as stack, caller(database, tenant) as (api, request):
        holder = stack.enter_context(database.connect())
        stack.enter_context(holder.connection.transaction())
        holder.run("select from flowgres.work_queue where execution_id = %s and due_at is not null for update", tops[1])
        deleting = run(api, lambda: request("delete_workflow", workflow="middle", cancel_running=True))
        deleting.run_until_blocked()
        reporting = run(runner.db, lambda: runner.report_once(batch))
        reporting.run_until_blocked()
        stack.close()
        errors = [rival.refusal() for rival in (deleting, reporting)]
    assert errors == [None, None]
    assert_invariants(db, drained=False)
    drain(database, db, runner)


# Nothing of a tree starts once its cancel has committed.


@pytest.mark.parametrize("workflow", ["top", "middle"])
@pytest.mark.parametrize("is_cancelled_first", [True, False], ids=["cancelled first", "reported first"])
def test_no_step_of_a_descendant_starts_after_a_cancel(
    database: Database, db: Db, tenant: Tenant, run: Run, runner: Hands, is_cancelled_first: bool, workflow: str
) -> None:
    import_call_tree(db, tenant)
    start(database, tenant, "top")
    lease = descend(runner, to="first")["first"]
    target = execution_of(db, workflow)
    report = [runner.result(lease, completed())]
    with ExitStack() as stack:
        api = stack.enter_context(database.as_role("member", tenant_id=tenant.tenant_id))
        cancel = partial(api.call, "flowgres_api.cancel_execution", execution_id=target)
        if is_cancelled_first:
            cancel()
            rival = run(runner.db, lambda: runner.report_once(report))
            rival.run_until_blocked()
        else:
            with runner.db.connection.transaction():
                runner.report(report)
                rival = run(api, cancel)
                rival.run_until_blocked()
        if not is_cancelled_first:
            rival.answer()
        stack.close()
        handed = [row for row in rival.answer() if not row["is_passed_over"]] if is_cancelled_first else []
    # The cancel has committed. `leaf` may have been handed its next step before that, and not after.
    leaf = execution_of(db, "leaf")
    with hands(database) as second:
        assert [row for row in second.claim() if str(row["execution_id"]) == leaf] == []
        second.db.call("flowgres.stop_runner", p_runner_id=second.id)
    assert get(database, tenant, leaf)["status"] == "cancelled"
    for late in [report, *([runner.result(row, completed())] for row in handed)]:
        assert runner.report(late) == []
    assert get(database, tenant, leaf)["status"] == "cancelled"
    drain(database, db, runner)


def test_late_report_of_a_cancelled_descendant_is_kept_as_discarded(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    import_call_tree(db, tenant)
    top = start(database, tenant, "top")
    lease = descend(runner, to="first")["first"]
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.cancel_execution", execution_id=top)
    assert runner.report([runner.result(lease, completed("late"))]) == []
    leaf = execution_of(db, "leaf")
    tries = db.all("select step, status from flowgres.attempts where execution_id = %s", leaf)
    assert tries == [{"step": "first", "status": "discarded"}]
    assert get(database, tenant, leaf)["steps"]["first"]["status"] == "cancelled"
    drain(database, db, runner)


# A start, and the end of its workflow.


def _start_one(api: Db, workflow: str) -> list[str]:
    return [str(api.call("flowgres_api.start_execution", workflow=workflow)["execution_id"])]


def _start_version(api: Db, workflow: str) -> list[str]:
    return [str(api.call("flowgres_api.start_execution", workflow=workflow, version=1)["execution_id"])]


def _start_many(api: Db, workflow: str) -> list[str]:
    return [str(x) for x in api.call("flowgres_api.start_executions", workflow=workflow, inputs=[{}, {}])]


STARTS = [_start_one, _start_version, _start_many]


@pytest.mark.parametrize("start_some", STARTS, ids=["one", "a version", "many"])
@pytest.mark.parametrize("is_started_first", [True, False], ids=["started first", "deleted first"])
def test_nothing_runs_on_a_deleted_workflow(
    database: Database,
    db: Db,
    tenant: Tenant,
    run: Run,
    is_started_first: bool,
    start_some: Callable[[Db, str], list[str]],
) -> None:
    import_workflow(db, tenant, dag("doomed", [{"id": "only"}]))
    with ExitStack() as first, ExitStack() as second:
        here = first.enter_context(database.as_role("member", tenant_id=tenant.tenant_id))
        there = second.enter_context(database.as_role("member", tenant_id=tenant.tenant_id))
        starter, deleter = (here, there) if is_started_first else (there, here)
        begin = partial(start_some, starter, "doomed")
        delete = partial(deleter.call, "flowgres_api.delete_workflow", workflow="doomed", cancel_running=True)
        (begin if is_started_first else delete)()
        rival = run(there, delete if is_started_first else begin)
        rival.run_until_blocked()
        first.close()
        refusal = rival.refusal()
        second.close()
    if is_started_first:
        assert refusal is None, refusal
    elif refusal is not None:
        assert refusal_code(refusal) == "workflow_not_found"
    assert_nothing_runs_on(database, db, "doomed")


@pytest.mark.parametrize("is_started_first", [True, False], ids=["started first", "deleted first"])
def test_no_child_runs_on_a_deleted_workflow(
    database: Database, db: Db, tenant: Tenant, run: Run, runner: Hands, is_started_first: bool
) -> None:
    import_call_tree(db, tenant)
    start(database, tenant, "middle")
    (lease,) = runner.claim(1)
    report = [runner.result(lease, natural(lease, "call_leaf"))]
    with ExitStack() as stack:
        api = stack.enter_context(database.as_role("member", tenant_id=tenant.tenant_id))
        delete = partial(api.call, "flowgres_api.delete_workflow", workflow="leaf", cancel_running=True)
        if is_started_first:
            with runner.db.connection.transaction():
                runner.report(report)
                rival = run(api, delete)
                rival.run_until_blocked()
            rival.answer()
            stack.close()
        else:
            delete()
            rival = run(runner.db, lambda: runner.report_once(report))
            rival.run_until_blocked()
            stack.close()
            rival.answer()
            runner.report(report)
    assert_nothing_runs_on(database, db, "leaf")
    drain(database, db, runner)
    assert get(database, tenant, execution_of(db, "middle"))["status"] == "failed"


@pytest.mark.parametrize("is_chain", [False, True], ids=["as a report", "as a chain"])
def test_nothing_is_handed_over_on_a_workflow_whose_delete_was_under_way(
    database: Database, db: Db, tenant: Tenant, runner: Hands, is_chain: bool
) -> None:
    import_call_tree(db, tenant)
    start(database, tenant, "middle")
    (lease,) = runner.claim(1)
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.delete_workflow", workflow="leaf", cancel_running=True)
        # Not deleted yet, as far as anybody else knows.
        runner.report([runner.result(lease, natural(lease, "call_leaf"))])
        (first,) = runner.claim(1)
        assert runner.step_name(first) == "first"
    if is_chain:
        handed = runner.report_chains([(first, [1])], want=10)
    else:
        handed = runner.report_once([runner.result(first, completed(1))], room=10) + runner.claim()
    assert handed == []
    assert_nothing_runs_on(database, db, "leaf")
    drain(database, db, runner)
    assert get(database, tenant, execution_of(db, "middle"))["status"] == "failed"


@pytest.mark.parametrize("start_some", STARTS, ids=["one", "a version", "many"])
def test_start_beside_a_delete_that_is_rolled_back_goes_through(
    database: Database, db: Db, tenant: Tenant, run: Run, start_some: Callable[[Db, str], list[str]]
) -> None:
    import_workflow(db, tenant, dag("spared", [{"id": "only"}]))
    with ExitStack() as first, database.as_role("member", tenant_id=tenant.tenant_id) as starter:
        deleter = first.enter_context(database.as_role("admin", tenant_id=tenant.tenant_id, commit=False))
        deleter.call("flowgres_api.delete_workflow", workflow="spared", cancel_running=True)
        rival = run(starter, partial(start_some, starter, "spared"))
        rival.run_until_blocked()
        first.close()
        ids = rival.answer()
    with hands(database) as runner:
        assert {str(lease["execution_id"]) for lease in runner.claim()} == set(ids)
        drain(database, db, runner)


def test_delete_goes_on_when_what_it_cancels_ends_meanwhile(
    database: Database, db: Db, tenant: Tenant, run: Run, runner: Hands
) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("ending", [{"id": "only"}])))
    (lease,) = runner.claim(1)
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        with runner.db.connection.transaction():
            runner.report([runner.result(lease, completed())])
            rival = run(api, lambda: api.call("flowgres_api.delete_workflow", workflow="ending", cancel_running=True))
            rival.run_until_blocked()
        assert isinstance(rival.answer(), dict)
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)


CHANGES: dict[str, dict[str, Any]] = {
    "activate_workflow": {},
    "deactivate_workflow": {},
    "archive_workflow": {},
    "update_workflow": {"changes": {"title": "Late"}},
    "delete_workflow": {},
}


@pytest.mark.parametrize(("change", "arguments"), CHANGES.items(), ids=CHANGES.keys())
def test_change_that_waited_for_a_delete_does_not_find_the_workflow(
    database: Database, db: Db, tenant: Tenant, run: Run, change: str, arguments: dict[str, Any]
) -> None:
    import_workflow(db, tenant, dag("gone", [{"id": "only"}]))
    with ExitStack() as stack, caller(database, tenant) as (other, request):
        api = stack.enter_context(database.as_role("member", tenant_id=tenant.tenant_id))
        api.call("flowgres_api.delete_workflow", workflow="gone")
        rival = run(other, lambda: request(change, workflow="gone", **arguments))
        assert rival.run_until_blocked()
        stack.close()
        refusal = rival.refusal()
    assert refusal is not None
    assert refusal_code(refusal) == "workflow_not_found"


def assert_nothing_runs_on(database: Database, db: Db, workflow: str) -> None:
    """No runner gets anything of it, and whatever was started there is cancelled by the next sweep."""
    open_ones = (
        "select e.id, e.status from flowgres.executions as e join flowgres.workflows as w on w.id = e.workflow_id"
        " where w.name = %s and w.deleted_at is not null and e.finished_at is null"
    )
    assert db.all("select from flowgres.workflows where name = %s and deleted_at is not null", workflow)
    with hands(database) as late:
        claimed = {str(lease["version_id"]) for lease in late.claim()}
        while late.db.call("flowgres.cancel_orphan"):
            pass
        late.db.call("flowgres.stop_runner", p_runner_id=late.id)
    assert db.all(open_ones, workflow) == []
    versions = db.column(
        "select v.id::text from flowgres.workflow_versions as v join flowgres.workflows as w on w.id = v.workflow_id"
        " where w.name = %s",
        workflow,
    )
    assert claimed.isdisjoint(versions)
