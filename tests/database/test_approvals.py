"""Approvals: who may decide what, what a decision does, and what ends one without a decision."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.support.approvals import NOON, Approvals, asking
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, import_workflow, statuses

FORM = {
    "amount": {"type": "number", "minimum": 1, "required": True},
    "cost_center": {"type": "string", "default": "4711"},
    "urgent": {"type": "boolean"},
}


@pytest.fixture
def approvals(database: Database, db: Db, tenant: Tenant, runner: Hands, clock: Clock) -> Approvals:
    clock.set(NOON)
    return Approvals(database, db, tenant, runner)


def test_step_asks_waits_and_goes_on_with_the_decision(approvals: Approvals) -> None:
    execution = approvals.ask(title="Buy a mug?", message="It is red.", role=["manager"])
    (row,) = approvals.rows(roles=("manager",))
    assert (row["title"], row["message"], row["roles"], row["quorum"]) == ("Buy a mug?", "It is red.", ["manager"], 1)
    assert (row["status"], row["step"], row["workflow_name"], row["may_decide"]) == ("pending", "ask", "w", True)
    assert approvals.get(execution)["status"] == "waiting"
    assert statuses(approvals.get(execution)) == {"ask": "waiting", "after": "pending"}

    answer = approvals.decide(execution, by="ann", roles=("manager",), notes="a fine one")

    assert (answer["status"], answer["decided_by"], answer["approved_count"]) == ("approved", "ann", 1)
    assert approvals.work() == ["ask", "after"]
    after = approvals.get(execution)
    output = after["steps"]["ask"]["output"]
    assert output == answer["output"]
    assert (output["decision"], output["data"], output["notes"]) == ("approved", {}, "a fine one")
    assert output["decisions"] == [
        {"decision": "approved", "by": "ann", "at": output["decided_at"], "data": {}, "notes": "a fine one"}
    ]
    assert (after["status"], after["steps"]["ask"]["attempts"]) == ("completed", 1)
    (row,) = approvals.rows()
    assert (row["status"], row["decided_by"], row["may_decide"]) == ("approved", "ann", False)
    assert approvals.events(execution) == [("approval_approved", "ann")]
    audit = approvals.db.one("select actor, subject, details from flowgres.audit_log where action = 'approval_decided'")
    assert (audit["actor"], audit["subject"], audit["details"]["decision"]) == ("ann", execution, "approved")
    assert_invariants(approvals.db)


def test_rejection_completes_the_step(approvals: Approvals) -> None:
    execution = approvals.ask()
    approvals.decide(execution, "rejected", notes="no")
    approvals.work()
    assert approvals.get(execution)["status"] == "completed"
    assert approvals.get(execution)["steps"]["ask"]["output"]["decision"] == "rejected"


@pytest.mark.parametrize(
    ("config", "by", "roles", "code"),
    [
        ({"role": ["manager", "boss"]}, "ann", ("boss",), None),
        ({"role": ["manager"]}, "ann", ("clerk",), "not_an_approver"),
        ({"role": ["manager"]}, "ann", (), "not_an_approver"),
        ({"approvers": ["ann"]}, "ann", (), None),
        ({"approvers": ["ann"]}, "bob", ("ann",), "not_an_approver"),
        ({"approvers": ["ann"], "role": ["boss"]}, "bob", ("boss",), None),
        ({}, "starter", (), None),
        ({"not_starter": True}, "starter", (), "starter_may_not_decide"),
        ({"not_starter": True, "approvers": ["starter"]}, "starter", (), "starter_may_not_decide"),
        ({"not_starter": True}, "ann", (), None),
    ],
)
def test_only_who_is_asked_may_decide(
    config: dict[str, Any], by: str, roles: tuple[str, ...], code: str | None, approvals: Approvals
) -> None:
    execution = approvals.ask(**config)
    (row,) = approvals.rows(who=by, roles=roles)
    assert row["may_decide"] is (code is None)
    if code is None:
        assert approvals.decide(execution, by=by, roles=roles)["status"] == "approved"
        return
    refusal = approvals.refusal(execution, by=by, roles=roles)
    assert (refusal["status"], refusal["code"]) == (403, code)
    assert refusal["hint"]
    assert (approvals.rows()[0]["decisions"], approvals.events(execution)) == ([], [])
    assert approvals.db.value("select count(*) from flowgres.audit_log where action = 'approval_decided'") == 0


def test_viewer_sees_and_does_not_decide(approvals: Approvals) -> None:
    execution = approvals.ask()
    assert [row["may_decide"] for row in approvals.rows(role="viewer")] == [False]
    with pytest.raises(Exception, match="permission denied"), approvals.as_caller("ann", role="viewer") as api:
        api.call("flowgres_api.decide_approval", execution_id=execution, step="ask", decision="approved")


def test_child_knows_who_started_the_whole(approvals: Approvals) -> None:
    import_workflow(approvals.db, approvals.tenant, asking("child", {"not_starter": True}))
    parent = dag("parent", [{"id": "run", "type": "sub_workflow", "config": {"workflow": "child"}}])
    import_workflow(approvals.db, approvals.tenant, parent)
    approvals.config = {"not_starter": True}
    with approvals.as_caller("carl") as api:
        api.call("flowgres_api.start_execution", workflow="parent")

    def decide(lease: Any, step: str) -> dict[str, Any]:
        if step != "run":
            return approvals.answer(lease, step)
        return {"o": "child", "workflow": "child", "input": {}} if lease["resume"] is None else completed(1)

    approvals.runner.work(decide)
    (row,) = approvals.rows()
    child = str(row["execution_id"])
    assert row["starter"] == "carl"
    assert approvals.refusal(child, by="carl")["code"] == "starter_may_not_decide"
    approvals.decide(child)
    approvals.runner.work(decide)
    assert_invariants(approvals.db)


def test_nobody_is_the_starter_of_what_a_schedule_started(approvals: Approvals) -> None:
    execution = approvals.ask(by="starter", not_starter=True)
    approvals.db.run("update flowgres.approvals set starter = 'schedule:x'")
    assert approvals.decide(execution, by="starter")["status"] == "approved"


def test_form_is_checked_and_filled_in(approvals: Approvals) -> None:
    execution = approvals.ask(form=FORM)
    assert approvals.rows()[0]["form"] == FORM
    refusal = approvals.refusal(execution, data={"amount": 0, "urgent": "yes", "cost_centre": 1})
    assert (refusal["status"], refusal["code"]) == (422, "form_invalid")
    found = {(one["path"], one["code"]) for one in json.loads(refusal["details"])}
    assert found == {
        ("data.amount", "out_of_range"),
        ("data.urgent", "wrong_kind"),
        ("data.cost_centre", "unknown_field"),
    }
    assert "cost_center" in refusal["hint"]
    assert "amount is required" in approvals.refusal(execution, "rejected", data={})["message"]
    assert approvals.refusal(execution, data=[1])["code"] == "form_invalid"
    answer = approvals.decide(execution, data={"amount": 5})
    assert answer["output"]["data"] == {"amount": 5, "cost_center": "4711"}


@pytest.mark.parametrize("decision", ["approve", "yes", "", None])
def test_other_words_are_no_decision(decision: str | None, approvals: Approvals) -> None:
    execution = approvals.ask()
    refusal = approvals.refusal(execution, decision)  # type: ignore[arg-type]
    assert (refusal["status"], refusal["code"]) == (422, "decision_invalid")


def test_what_is_not_there_cannot_be_decided(approvals: Approvals, database: Database, db: Db) -> None:
    execution = approvals.ask()
    nobody = "00000000-0000-7000-8000-000000000000"
    assert approvals.refusal(nobody)["code"] == "execution_not_found"
    for step in ("after", "ask[0]", "no"):
        refusal = approvals.refusal(execution, step=step)
        assert (refusal["status"], refusal["code"]) == (404, "approval_not_found")
    other = Approvals(database, db, database.make_tenant("Other"), approvals.runner)
    assert other.refusal(execution)["code"] == "execution_not_found"
    assert other.rows() == []


def test_quorum_counts_each_person_once_and_the_first_rejection_decides(approvals: Approvals) -> None:
    execution = approvals.ask(quorum=2)
    first = approvals.decide(execution, by="ann")
    assert (first["status"], first["approved_count"], first["quorum"]) == ("pending", 1, 2)
    assert approvals.decide(execution, by="ann", notes="again") == first
    refusal = approvals.refusal(execution, "rejected", by="ann")
    assert (refusal["status"], refusal["code"]) == (409, "already_decided")
    assert approvals.work() == []
    second = approvals.decide(execution, by="bob", data={"n": 1})
    assert (second["status"], second["output"]["data"]) == ("approved", {"n": 1})
    assert [one["by"] for one in second["output"]["decisions"]] == ["ann", "bob"]

    rejected = approvals.ask(quorum=3)
    approvals.decide(rejected, by="ann")
    assert approvals.decide(rejected, "rejected", by="bob")["status"] == "rejected"
    assert approvals.events(rejected) == [("approval_approved", "ann"), ("approval_rejected", "bob")]
    approvals.work()
    assert_invariants(approvals.db)


def test_same_decision_of_the_same_person_gets_the_same_answer(approvals: Approvals) -> None:
    execution = approvals.ask(form={"amount": {"type": "integer"}})
    given: dict[str, Any] = {"data": {"amount": 5}, "notes": "n", "idempotency_key": "k"}
    answer = approvals.decide(execution, **given)
    assert approvals.decide(execution, **given) == answer
    assert approvals.decide(execution, data={"amount": 5.0}, notes="n") == answer
    assert approvals.events(execution) == [("approval_approved", "ann")]
    assert "key" not in approvals.rows()[0]["decisions"][0]
    reused = approvals.refusal(execution, "rejected", **given)
    assert (reused["status"], reused["code"]) == (422, "idempotency_key_reused")
    for by, decision in (("ann", "rejected"), ("bob", "approved")):
        refusal = approvals.refusal(execution, decision, by=by)
        assert (refusal["status"], refusal["code"]) == (409, "already_decided")
        assert "ann" in refusal["message"]


def test_time_that_is_over_ends_it(approvals: Approvals, clock: Clock) -> None:
    execution = approvals.ask(step={"timeout": 3600, "on_timeout": {"output": {"decision": "late"}}})
    (row,) = approvals.rows()
    assert row["due_at"] == row["requested_at"] + timedelta(hours=1)
    clock.advance(seconds=3601)
    assert approvals.rows()[0]["may_decide"] is False
    refusal = approvals.refusal(execution)
    assert (refusal["status"], refusal["code"]) == (409, "approval_ended")
    assert approvals.work() == ["ask", "after"]
    assert approvals.fire()["p_picked"] == 1
    assert [(row["status"], row["decided_at"]) for row in approvals.rows()] == [("timed_out", None)]
    assert approvals.get(execution)["steps"]["ask"]["output"] == {"decision": "late"}
    assert approvals.refusal(execution)["code"] == "approval_ended"
    assert_invariants(approvals.db)


def test_decision_in_time_stands_although_the_time_is_over_before_the_step_goes_on(
    approvals: Approvals, clock: Clock
) -> None:
    execution = approvals.ask(step={"timeout": 3600})
    clock.advance(seconds=3000)
    approvals.decide(execution)
    clock.advance(seconds=700)
    approvals.fire()
    approvals.work()
    assert approvals.get(execution)["steps"]["ask"]["output"]["decision"] == "approved"
    assert approvals.rows()[0]["status"] == "approved"


@pytest.mark.parametrize("way", ["cancel", "failure", "cancels"])
def test_what_ends_the_step_ends_the_approval(way: str, approvals: Approvals, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "ask", "type": "approval", "config": {}},
        {"id": "beside", "cancels": ["ask"] if way == "cancels" else []},
    ]
    import_workflow(db, tenant, dag("w", steps))
    with approvals.as_caller("ann") as api:
        execution = str(api.call("flowgres_api.start_execution", workflow="w")["execution_id"])
    leases = {approvals.runner.step_name(lease): lease for lease in approvals.runner.claim()}
    approvals.runner.report([approvals.runner.result(leases["ask"], approvals.answer(leases["ask"], "ask"))])
    assert [row["status"] for row in approvals.rows()] == ["pending"]
    if way == "cancel":
        approvals.cancel(execution)
    else:
        outcome = failed() if way == "failure" else completed(1)
        approvals.runner.report([approvals.runner.result(leases["beside"], outcome)])
    assert [(row["status"], row["may_decide"]) for row in approvals.rows()] == [("cancelled", False)]
    assert approvals.refusal(execution)["code"] == "approval_ended"
    assert approvals.fire()["p_picked"] == 0
    assert_invariants(db, drained=False)


def test_each_iteration_asks_for_itself(approvals: Approvals, db: Db, tenant: Tenant) -> None:
    step = {"id": "ask", "type": "approval", "config": {}, "foreach": {"items": [1, 2], "max_parallel": 2}}
    import_workflow(db, tenant, dag("w", [step]))
    with approvals.as_caller("ann") as api:
        execution = str(api.call("flowgres_api.start_execution", workflow="w")["execution_id"])

    def decide(lease: Any, step: str) -> dict[str, Any]:
        if lease["iteration"] == -1:
            return {"o": "expand", "out": [1, 2]}
        return approvals.answer(lease, step)

    approvals.runner.work(decide)
    assert [row["iteration"] for row in approvals.rows()] == [0, 1]
    assert approvals.refusal(execution)["code"] == "approval_not_found"
    assert approvals.decide(execution, step="ask[1]")["iteration"] == 1
    approvals.decide(execution, "rejected", iteration=0)
    approvals.runner.work(decide)
    output = approvals.get(execution)["steps"]["ask"]["output"]
    assert [one["decision"] for one in output] == ["rejected", "approved"]
    assert_invariants(db)


def test_step_that_repeats_asks_anew_and_a_key_names_the_time_it_was_asked(
    approvals: Approvals, db: Db, tenant: Tenant
) -> None:
    repeat = {"until": "{{ output.decision == 'approved' }}", "max_times": 5}
    import_workflow(db, tenant, dag("w", [{"id": "ask", "type": "approval", "config": {}, "repeat": repeat}]))
    with approvals.as_caller("ann") as api:
        execution = str(api.call("flowgres_api.start_execution", workflow="w")["execution_id"])

    def decide(lease: Any, step: str) -> dict[str, Any]:
        outcome = approvals.answer(lease, step)
        if outcome["o"] == "completed":
            outcome["o"] = "enough" if outcome["out"]["decision"] == "approved" else "again"
        return outcome

    approvals.runner.work(decide)
    first = approvals.decide(execution, "rejected", idempotency_key="one")
    approvals.runner.work(decide)
    assert [(row["number"], row["status"]) for row in approvals.rows()] == [(1, "rejected"), (2, "pending")]
    assert approvals.decide(execution, "rejected", idempotency_key="one") == first
    assert approvals.decide(execution, idempotency_key="two")["status"] == "approved"
    approvals.runner.work(decide)
    assert approvals.get(execution)["steps"]["ask"]["output"]["decision"] == "approved"
    assert_invariants(db)


def test_people_are_asked_after_a_failure_too(approvals: Approvals, db: Db, tenant: Tenant) -> None:
    undo = {"type": "approval", "config": {}}
    steps: list[dict[str, Any]] = [{"id": "a", "compensate": undo}, {"id": "b", "depends_on": ["a"]}]
    import_workflow(db, tenant, dag("w", steps, on_failure=[{"id": "ask", "type": "approval", "config": {}}]))
    with approvals.as_caller("ann") as api:
        execution = str(api.call("flowgres_api.start_execution", workflow="w")["execution_id"])

    def decide(lease: Any, step: str) -> dict[str, Any]:
        if step in ("a", "b"):
            return failed() if step == "b" else completed(1)
        return approvals.answer(lease, "ask")

    for count in (1, 2):
        approvals.runner.work(decide)
        assert len(approvals.rows()) == count
        approvals.decide(execution, step=approvals.rows()[-1]["step"])
    approvals.runner.work(decide)
    assert approvals.get(execution)["status"] == "failed"
    assert_invariants(db)


def test_login_of_the_database_decides_with_its_own_name(approvals: Approvals) -> None:
    execution = approvals.ask()
    with approvals.db.connection.transaction():
        approvals.db.run("select set_config('flowgres.tenant_id', %s, true)", approvals.tenant_id)
        answer = approvals.db.call(
            "flowgres_api.decide_approval", execution_id=execution, step="ask", decision="approved"
        )
    assert answer["decided_by"].startswith("login:")
    assert approvals.work() == ["ask", "after"]


def test_what_was_decided_is_kept_as_long_as_executions_are(approvals: Approvals, clock: Clock) -> None:
    execution = approvals.ask()
    approvals.ask(name="v")
    approvals.decide(execution)
    approvals.work()
    clock.advance(seconds=29 * 86400)
    approvals.runner.db.value("select flowgres.prune(100)")
    assert len(approvals.rows()) == 2
    clock.advance(seconds=2 * 86400)
    approvals.runner.db.value("select flowgres.prune(100)")
    assert [row["status"] for row in approvals.rows()] == ["pending"]


def test_inbox_reads_what_it_shows_however_much_was_decided(approvals: Approvals, db: Db) -> None:
    approvals.ask()
    db.run(
        "insert into flowgres.approvals (tenant_id, id, execution_id, workflow_id, step_index, iteration, number, step,"
        " roles, approvers, not_starter, quorum, requested_at, status, ended_at, expires_at)"
        " select tenant_id, gen_random_uuid(), gen_random_uuid(), workflow_id, 0, -1, 1, 'ask', roles, approvers,"
        " false, 1, requested_at - n * interval '1 second', case when n % 2 = 0 then 'pending' else 'approved' end,"
        " case when n % 2 = 1 then now() end, case when n % 2 = 1 then now() end"
        " from flowgres.approvals cross join generate_series(1, 100000) as n"
    )
    db.run("analyze flowgres.approvals")
    with approvals.as_caller("ann") as api:
        plan = api.value(
            "explain (analyze, buffers, format json) select * from flowgres_api.approvals"
            " where status = 'pending' order by requested_at desc limit 50"
        )[0]["Plan"]
    assert plan["Actual Rows"] == 50
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 1000
