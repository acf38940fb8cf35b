"""Workflows and tenants that stand still: nothing of them goes on, starts wait, and all of it goes on afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.control import CHAIN, HTTP, act, descend, nest
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, get, hands, import_workflow, start
from tests.support.races import caller, natural, rivals
from tests.support.tasks import Workers

TWO: list[dict[str, Any]] = [{"id": "first", **HTTP}, {"id": "last", "depends_on": ["first"], **HTTP}]


def settle(db: Db) -> None:
    """All that sweeps have to do."""
    while db.value("select flowgres.settle_pauses(100)"):
        pass


def as_admin(database: Database, owner: Tenant, verb: str, **arguments: str) -> dict[str, object]:
    """One call by an administrator of the tenant."""
    with database.as_role("admin", tenant_id=owner.tenant_id) as db:
        answer: dict[str, object] = db.call(f"flowgres_api.{verb}", **arguments)
    return answer


@pytest.mark.parametrize("whole", [False, True])
def test_nothing_goes_on(database: Database, db: Db, tenant: Tenant, runner: Hands, whole: bool) -> None:
    calm = import_workflow(db, tenant, dag("calm", TWO))
    running = start(database, tenant, calm)
    (lease,) = runner.claim()
    (lease,) = runner.report([runner.result(lease, completed(1))])
    waiting = start(database, tenant, calm)
    begun = start(database, tenant, calm)
    (other,) = [runner.claim(1)[0]]
    if whole:
        answer = as_admin(database, tenant, "pause_tenant", reason="audit")
    else:
        answer = act(database, tenant, "pause_workflow", workflow=calm, reason="audit")
    assert answer["is_paused"]
    # What was running when it was paused ends, and is recorded.
    assert runner.report([runner.result(other, completed(1))], want=100) == []
    late = start(database, tenant, calm)
    assert runner.claim() == []
    assert get(database, tenant, running)["status"] == "paused"
    assert_invariants(db, drained=False)
    runner.report([runner.result(lease, completed(1))])
    assert get(database, tenant, running)["status"] == "completed"
    if whole:
        answer = as_admin(database, tenant, "resume_tenant")
    else:
        answer = act(database, tenant, "resume_workflow", workflow=calm)
    assert not answer["is_paused"]
    settle(db)
    runner.work()
    for execution_id in (waiting, begun, late):
        assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)
    assert db.value("select count(*) from flowgres.pauses") == 0
    what = "tenant" if whole else "workflow"
    audit = db.all("select action, details from flowgres.audit_log where action like %s order by id", f"{what}%ed")
    assert [(row["action"], row["details"]) for row in audit if row["action"].endswith(("paused", "resumed"))] == [
        (f"{what}_paused", {"reason": "audit"}),
        (f"{what}_resumed", None),
    ]


@pytest.mark.parametrize("whole", [False, True])
def test_others_go_on(database: Database, db: Db, tenant: Tenant, runner: Hands, whole: bool) -> None:
    other = database.make_tenant("Other") if whole else tenant
    calm, busy = import_workflow(db, tenant, dag("calm", CHAIN[:1])), import_workflow(db, other, dag("busy", CHAIN[:1]))
    if whole:
        as_admin(database, tenant, "pause_tenant")
    else:
        act(database, tenant, "pause_workflow", workflow=calm)
    for _ in range(25):
        start(database, tenant, calm)
    execution_id = start(database, other, busy)
    # Whatever stands before it: a claim of one is enough.
    leases = runner.claim(1) or runner.claim(1) or runner.claim(1)
    assert [str(lease["execution_id"]) for lease in leases] == [execution_id]


def test_clock_stands_still_with_the_workflow(
    database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock
) -> None:
    calm = import_workflow(db, tenant, dag("calm", TWO, settings={"timeout": 100}))
    execution_id = start(database, tenant, calm)
    (lease,) = runner.claim()
    (lease,) = runner.report([runner.result(lease, completed(1))])
    clock.advance(seconds=40)
    # No sweep comes to what somebody holds.
    with database.connect() as other, other.connection.transaction():
        other.run("select from flowgres.executions where id = %s for update", execution_id)
        act(database, tenant, "pause_workflow", workflow=calm)
    assert get(database, tenant, execution_id)["status"] == "running"
    clock.advance(seconds=3600)
    assert db.value("select flowgres.expire_executions(100)") == 0
    assert get(database, tenant, execution_id)["status"] == "paused"
    act(database, tenant, "resume_workflow", workflow=calm)
    settle(db)
    clock.advance(seconds=50)
    assert db.value("select flowgres.expire_executions(100)") == 0
    clock.advance(seconds=11)
    assert db.value("select flowgres.expire_executions(100)") == 1


def test_what_is_paused_for_itself_stays_so(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    calm = import_workflow(db, tenant, dag("calm", TWO))
    execution_id = start(database, tenant, calm)
    act(database, tenant, "pause_workflow", workflow=calm)
    act(database, tenant, "pause_execution", execution_id=execution_id)
    act(database, tenant, "resume_workflow", workflow=calm)
    settle(db)
    assert get(database, tenant, execution_id)["status"] == "paused"
    assert runner.claim() == []
    assert_invariants(db, drained=False)


def test_view_says_who_paused_it(database: Database, db: Db, tenant: Tenant) -> None:
    calm = import_workflow(db, tenant, dag("calm", TWO))
    act(database, tenant, "pause_workflow", workflow=calm)
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        row = api.one("select is_paused, paused_at, paused_by from flowgres_api.workflows where name = 'calm'")
    assert row["is_paused"]
    assert row["paused_at"] is not None
    assert row["paused_by"]


@pytest.mark.parametrize("whole", [False, True])
def test_tasks_of_what_stands_still_are_not_claimed(
    database: Database, db: Db, tenant: Tenant, runner: Hands, whole: bool
) -> None:
    workers = Workers(database, db, runner, tenant)
    workers.start()
    what: dict[str, str] = {} if whole else {"workflow": "w0"}
    as_admin(database, tenant, "pause_tenant" if whole else "pause_workflow", **what)
    assert workers.claim() == []
    as_admin(database, tenant, "resume_tenant" if whole else "resume_workflow", **what)
    (task,) = workers.claim()
    workers.complete(task)


def test_task_of_a_paused_execution_is_not_claimed_and_one_that_is_out_comes_back(
    database: Database, db: Db, tenant: Tenant, runner: Hands
) -> None:
    workers = Workers(database, db, runner, tenant)
    first, second = workers.start(), workers.start()
    (task,) = workers.claim(limit=1)
    for execution_id in (first, second):
        act(database, tenant, "pause_execution", execution_id=execution_id)
    assert workers.claim() == []
    workers.complete(task, "done")
    assert workers.run() == []
    assert_invariants(db, drained=False)
    act(database, tenant, "resume_execution", execution_id=first)
    assert workers.run() == ["ask", "after"]


def test_children_of_another_workflow_go_on(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    root = nest(db, tenant)
    execution_id = start(database, tenant, root)
    (lease,) = runner.claim()
    act(database, tenant, "pause_workflow", workflow=root)
    runner.report([runner.result(lease, natural(lease, "call_middle"))])
    runner.work(natural)
    states = {row["depth"]: row["status"] for row in db.all("select depth, status from flowgres.executions")}
    assert (states[1], states[2]) == ("completed", "completed")
    act(database, tenant, "resume_workflow", workflow=root)
    settle(db)
    runner.work(natural)
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_claim_that_saw_the_pause_is_waited_for_by_the_resume(database: Database, db: Db, tenant: Tenant) -> None:
    calm = import_workflow(db, tenant, dag("calm", TWO))
    execution_id = start(database, tenant, calm)
    act(database, tenant, "pause_workflow", workflow=calm)
    with hands(database) as runner, caller(database, tenant) as (other, request), rivals(db) as run:
        with runner.db.connection.transaction():
            assert runner.claim() == []
            resume = run(other, lambda: request("resume_workflow", workflow=calm))
            assert resume.run_until_blocked()
        assert not resume.answer()["is_paused"]
        runner.work()
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)


def test_claim_does_not_wait_for_a_resume(database: Database, db: Db, tenant: Tenant) -> None:
    calm = import_workflow(db, tenant, dag("calm", TWO))
    execution_id = start(database, tenant, calm)
    act(database, tenant, "pause_workflow", workflow=calm)
    with hands(database) as runner:
        # Committed at its end.
        with database.as_role("member", tenant_id=tenant.tenant_id) as api, rivals(db) as run:
            api.call("flowgres_api.resume_workflow", workflow=calm)
            claim = run(runner.db, runner.claim)
            assert not claim.run_until_blocked()
            assert claim.answer() == []
            assert db.value("select bool_or(held) from flowgres.work_queue") is False
        runner.work()
    assert get(database, tenant, execution_id)["status"] == "completed"


def test_start_beside_a_pause_is_held(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    calm = import_workflow(db, tenant, dag("calm", TWO))
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.start_execution", workflow=calm)
        act(database, tenant, "pause_workflow", workflow=calm)
    assert runner.claim() == []
    act(database, tenant, "resume_workflow", workflow=calm)
    assert len(runner.claim()) == 1


def test_operator_names_any_tenant_and_others_only_theirs(database: Database, db: Db, tenant: Tenant) -> None:
    other = database.make_tenant("Other")
    slug = db.value("select slug from flowgres.tenants where tenant_id = %s", other.tenant_id)
    with database.connect("operator") as operator:
        answer = operator.call("flowgres_api.pause_tenant", tenant=slug, reason="unpaid")
    assert (answer["status"], answer["is_paused"]) == ("paused", True)
    with pytest.raises(Exception, match="only an operator may do this"):
        as_admin(database, tenant, "resume_tenant", tenant=str(slug))
    with pytest.raises(Exception, match="an operator has paused this tenant"):
        as_admin(database, other, "resume_tenant")
    with database.connect("operator") as operator:
        assert operator.call("flowgres_api.resume_tenant", tenant=slug)["status"] == "active"


def test_pause_of_an_operator_stands_above_that_of_an_administrator(database: Database, tenant: Tenant) -> None:
    as_admin(database, tenant, "pause_tenant")
    assert as_admin(database, tenant, "resume_tenant")["status"] == "active"
    as_admin(database, tenant, "pause_tenant")
    with database.connect("operator") as operator:
        operator.call("flowgres_api.pause_tenant", tenant=tenant.slug)
    with pytest.raises(Exception, match="an operator has paused this tenant"):
        as_admin(database, tenant, "resume_tenant")
    with database.connect("operator") as operator:
        operator.call("flowgres_api.resume_tenant", tenant=tenant.slug)
    as_admin(database, tenant, "pause_tenant")
    assert as_admin(database, tenant, "resume_tenant")["status"] == "active"


def test_restored_tenant_is_paused_as_it_was(database: Database, tenant: Tenant) -> None:
    as_admin(database, tenant, "pause_tenant")
    with database.connect("operator") as operator:
        operator.call("flowgres_api.suspend_tenant", tenant=tenant.slug, reason="unpaid")
        assert operator.call("flowgres_api.restore_tenant", tenant=tenant.slug, reason="paid")["status"] == "paused"
    assert as_admin(database, tenant, "resume_tenant")["status"] == "active"


def test_child_stays_with_its_own_workflow(database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
    execution_id = start(database, tenant, nest(db, tenant))
    lease = descend(runner, until="work")
    act(database, tenant, "pause_execution", execution_id=execution_id)
    act(database, tenant, "pause_workflow", workflow="middle")
    act(database, tenant, "resume_execution", execution_id=execution_id)
    states = {row["depth"]: row["status"] for row in db.all("select depth, status from flowgres.executions")}
    assert (states[0], states[1], states[2]) == ("waiting", "paused", "queued")
    assert_invariants(db, drained=False)
    for handed in runner.report([runner.result(lease, natural(lease, "work"))]):
        runner.report([runner.result(handed, completed())])
    runner.work(natural)
    assert get(database, tenant, execution_id)["status"] == "waiting"
    act(database, tenant, "resume_workflow", workflow="middle")
    settle(db)
    runner.work(natural)
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert_invariants(db)
