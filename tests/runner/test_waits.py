"""Steps that wait, with a real runner: what they give, and what becomes of them at their time."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database, Db, Tenant
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
