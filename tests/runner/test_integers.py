"""Integers are exact on their whole way: input, expression, child, output, and back in SQL."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, get, import_workflow, start
from tests.support.runner import Runner, wait_for


def test_integers_are_exact_from_a_start_to_the_output_of_a_child(
    database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner]
) -> None:
    given = {"id": {"type": "integer", "required": True}, "half": {"type": "integer"}}
    echo = {
        "id": "a",
        "type": "transform",
        "config": {"output": {"id": "{{ input.id + 1 }}", "half": "n{{ input.half }}"}},
    }
    import_workflow(db, tenant, dag("child", [echo], inputs=given, outputs={"all": "{{ steps.a.output }}"}))
    call = {
        "id": "call",
        "type": "sub_workflow",
        "config": {"workflow": "child", "input": {"id": "{{ input.id * 10 }}", "half": "{{ 10 / 2 }}"}},
    }
    name = import_workflow(db, tenant, dag("parent", [call], inputs=given))
    numbers = (1_000_000_000_000_000, 9_223_372_036_854_775_807, -(10**60), 10**1000 + 7)
    started = {number: start(database, tenant, name, input={"id": number, "half": 5.0}) for number in numbers}
    start_runner()
    open_ones = "select count(*) from flowgres.executions where finished_at is null"
    wait_for(lambda: db.value(open_ones) == 0, timeout_seconds=60, what="the executions")
    for number, execution_id in started.items():
        execution = get(database, tenant, execution_id)
        assert execution["status"] == "completed", execution["error"]
        assert execution["steps"]["call"]["output"] == {"all": {"id": number * 10 + 1, "half": "n5"}}
