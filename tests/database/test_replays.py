"""Replays: an execution started anew, whole or from a step on, with what the original had done."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import completed, dag, failed, get, hands, import_workflow, start, statuses

Json = Any


def replay(database: Database, tenant: Tenant, execution_id: str, **arguments: Any) -> dict[str, Json]:
    """Replay as a member of the tenant."""
    with database.as_role("member", tenant_id=tenant.tenant_id) as db:
        answer: dict[str, Json] = db.call("flowgres_api.replay_execution", execution_id=execution_id, **arguments)
    return answer


DIAMOND = dag(
    "diamond",
    [
        {"id": "a"},
        {"id": "b", "depends_on": ["a"]},
        {"id": "c", "depends_on": ["a"]},
        {"id": "d", "depends_on": ["b", "c"]},
    ],
)


def test_replay_repeats_input_version_trigger_and_correlation(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("once", [{"id": "a"}]))
    told: dict[str, Json] = {"input": {"n": 1}, "correlation_id": "o-1", "metadata": {"k": "v"}, "priority": 2}
    original = start(database, tenant, name, idempotency_key="x", **told)
    import_workflow(db, tenant, dag("once", [{"id": "a"}, {"id": "b"}]))
    answer = replay(database, tenant, original, reason="once more")
    id = answer["execution_id"]
    assert answer == {"execution_id": id, "status": "queued", "created": True, "replayed_from": original, "version": 1}
    again = get(database, tenant, id)
    assert {key: again[key] for key in told} == told
    assert (again["replayed_from"], again["trigger_type"], again["idempotency_key"]) == (original, "replay", None)
    trigger = db.value("select trigger from flowgres.executions where id = %s", answer["execution_id"])
    assert trigger == {"type": "api"}
    with hands(database) as runner:
        runner.work()
    assert get(database, tenant, answer["execution_id"])["status"] == "completed"
    events = db.all(
        "select type, message, actor is not null as is_told"
        " from flowgres.all_events where execution_id = %s order by seq",
        answer["execution_id"],
    )
    assert [event["type"] for event in events][:2] == ["execution_replayed", "execution_started"]
    assert (events[0]["message"], events[0]["is_told"]) == ("once more", True)
    audit = db.one("select subject, details from flowgres.audit_log where action = 'execution_replayed'")
    assert audit["subject"] == original
    assert audit["details"] == {"reason": "once more", "execution_id": answer["execution_id"]}


def test_fork_takes_over_what_the_step_does_not_reach(database: Database, db: Db, tenant: Tenant) -> None:
    original = start(database, tenant, import_workflow(db, tenant, DIAMOND))
    with hands(database) as runner:
        assert sorted(runner.work()) == ["a", "b", "c", "d"]
        answer = replay(database, tenant, original, from_step="b", overrides={"c": {"other": 1}})
        assert answer["status"] == "running"
        (lease,) = runner.claim()
        assert runner.step_name(lease) == "b"
        assert lease["context"]["steps"] == {}
        (joined,) = runner.report([runner.result(lease, completed("B"))])
        assert runner.step_name(joined) == "d"
        runner.report([runner.result(joined, completed("D"))])
    fork = get(database, tenant, answer["execution_id"])
    assert fork["status"] == "completed"
    assert {name: step["output"] for name, step in fork["steps"].items()} == {
        "a": "a", "b": "B", "c": {"other": 1}, "d": "D",
    }  # fmt: skip
    assert {name: step["reused_from"] for name, step in fork["steps"].items()} == {
        "a": original, "b": None, "c": original, "d": None,
    }  # fmt: skip
    types = db.all("select type, step from flowgres.all_events where execution_id = %s order by seq", fork["id"])
    assert [(event["type"], event["step"]) for event in types][:4] == [
        ("execution_replayed", None), ("execution_started", None), ("step_reused", "a"), ("step_overridden", "c"),
    ]  # fmt: skip


def test_fork_of_a_failed_one_goes_on_where_it_failed(database: Database, db: Db, tenant: Tenant) -> None:
    original = start(database, tenant, import_workflow(db, tenant, DIAMOND))
    with hands(database) as runner:
        runner.work(lambda lease, step: failed() if step == "b" else completed(step))
        assert get(database, tenant, original)["status"] == "failed"
        fork = replay(database, tenant, original, from_step="b")["execution_id"]
        ran = runner.work()
    assert get(database, tenant, fork)["status"] == "completed"
    assert "a" not in ran
    assert ran[-1] == "d"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"from_step": "x"}, "step_not_found"),
        ({"from_step": "b", "overrides": {"x": 1}}, "step_not_found"),
        ({"from_step": "b", "overrides": {"d": 1}}, "override_not_kept"),
        ({"from_step": "b", "overrides": {"b": 1}}, "override_not_kept"),
        ({"overrides": {"b": 1}}, "from_step_missing"),
        ({"from_step": "b", "overrides": [1]}, "overrides_invalid"),
        ({"version": 9}, "version_not_found"),
        ({"input": [1]}, "input_invalid"),
        ({"from_step": "b", "overrides": {"a": "x" * 2_000_000}}, "payload_too_large"),
        ({"reason": "x" * 1001}, "argument_too_long"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    database: Database, db: Db, tenant: Tenant, arguments: dict[str, Json], code: str
) -> None:
    original = start(database, tenant, import_workflow(db, tenant, DIAMOND))
    with hands(database) as runner:
        runner.work()
    with pytest.raises(psycopg.Error, match=f'"code": "{code}"'):
        replay(database, tenant, original, **arguments)
    assert db.value("select count(*) from flowgres.executions") == 1


def test_branches_stay_as_they_were_taken(database: Database, db: Db, tenant: Tenant) -> None:
    definition = {
        "name": "branching",
        "steps": [
            {"id": "check", "type": "condition",
             "config": {"expression": "{{ 1 == 1 }}", "true_branch": ["go"], "false_branch": ["stay"]}},
            {"id": "go", "type": "transform", "config": {"expression": "1"}, "depends_on": ["check"]},
            {"id": "stay", "type": "transform", "config": {"expression": "1"}, "depends_on": ["check"]},
            {"id": "end", "type": "transform", "config": {"expression": "1"}, "depends_on": ["go", "stay"]},
        ],
    }  # fmt: skip
    original = start(database, tenant, import_workflow(db, tenant, definition))

    def decide(lease: Json, step: str) -> Json:
        return completed({"branch": "true"}, taken=["go"]) if step == "check" else completed(step)

    with hands(database) as runner:
        runner.work(decide)
        before = statuses(get(database, tenant, original))
        assert before == {"check": "completed", "go": "completed", "stay": "skipped", "end": "completed"}
        fork = replay(database, tenant, original, from_step="go")["execution_id"]
        assert runner.work(decide) == ["go", "end"]
        assert statuses(get(database, tenant, fork)) == before
        whole = replay(database, tenant, original, from_step="check")["execution_id"]
        assert runner.work(decide) == ["check", "go", "end"]
        assert statuses(get(database, tenant, whole)) == before
    for arguments, code in (
        ({"from_step": "stay"}, "step_not_taken"),
        ({"from_step": "end", "overrides": {"stay": 1}}, "step_not_taken"),
        ({"from_step": "end", "overrides": {"check": {"branch": "false"}}}, "override_not_possible"),
    ):
        with pytest.raises(psycopg.Error, match=f'"code": "{code}"'):
            replay(database, tenant, original, **arguments)
