"""Steps that wait, with a real runner: what they give, and what becomes of them at their time."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow
from tests.support.runner import Runner, run_to_end


def wait(**step: Any) -> dict[str, Any]:
    return {"id": "hold", "type": "wait", "config": {"signal": "go"}, "timeout": "50ms", **step}


def test_step_that_nobody_wakes_gives_what_on_timeout_says(
    database: Database, db: Db, tenant: Tenant, runner: Runner
) -> None:
    first = {"id": "first", "type": "transform", "config": {"expression": "{{ input.n + 1 }}"}}
    late = wait(depends_on=["first"], on_timeout={"output": {"n": "{{ steps.first.output }}"}}, output="unused")
    execution = run_to_end(database, db, tenant, first, late, n=1)
    assert execution["steps"]["hold"]["output"] == {"n": 2}


def test_step_that_nobody_wakes_fails_with_timeout(database: Database, db: Db, tenant: Tenant, runner: Runner) -> None:
    execution = run_to_end(database, db, tenant, wait(on_error="continue"))
    step = execution["steps"]["hold"]
    assert (execution["status"], step["error"]["code"], step["error"]["class"]) == ("completed", "timeout", "timeout")
    assert "0.05 s" in step["error"]["message"]


def test_timeout_may_be_one_of_first_of(database: Database, db: Db, tenant: Tenant, runner: Runner) -> None:
    listed = [{"signal": "go"}, {"timeout": "1h"}, {"timeout": "50ms"}]
    execution = run_to_end(database, db, tenant, wait(config={"first_of": listed}, timeout="1d"))
    assert execution["steps"]["hold"]["output"] == {"index": 2, "timed_out": True}


def test_items_wait_each_for_itself(database: Database, db: Db, tenant: Tenant, runner: Runner) -> None:
    each = wait(foreach={"items": [1, 2, 3]}, on_timeout={"output": "{{ item * 2 }}"})
    execution = run_to_end(database, db, tenant, each)
    assert execution["steps"]["hold"]["output"] == [2, 4, 6]


def test_rounds_and_children_wait_as_any_other_step(database: Database, db: Db, tenant: Tenant, runner: Runner) -> None:
    child = dag("child", [{"id": "hold", "type": "wait", "config": {"signal": "child"}}])
    import_workflow(db, tenant, child)
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        for n in range(3):
            member.call("flowgres_api.send_signal", name="go", payload={"n": n})
        member.call("flowgres_api.send_signal", name="child", payload={"n": 9})
    rounds = wait(repeat={"until": "{{ output.payload.n == 2 }}"}, timeout="1h")
    nested = {"id": "nested", "type": "sub_workflow", "config": {"workflow": "child"}}
    execution = run_to_end(database, db, tenant, rounds, nested)
    assert execution["steps"]["hold"]["output"]["payload"] == {"n": 2}
    assert execution["steps"]["nested"]["output"]["hold"]["payload"] == {"n": 9}


def test_large_payload_is_read_when_the_step_goes_on(
    database: Database, db: Db, tenant: Tenant, runner: Runner
) -> None:
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.send_signal", name="go", payload={"text": "x" * 500_000})
    execution = run_to_end(database, db, tenant, wait(timeout="1h", output="{{ output.payload.text | length }}"))
    assert execution["steps"]["hold"]["output"] == 500_000
