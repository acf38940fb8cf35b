"""What runs after a failure, with a real runner: it sees the error, whatever that runner knew before."""

from __future__ import annotations

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, get, import_workflow, start
from tests.support.runner import Runner, wait_for


@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "large"])
def test_what_follows_a_failure_sees_its_error(
    database: Database, db: Db, tenant: Tenant, runner: Runner, size: int
) -> None:
    steps = [
        {
            "id": "a",
            "config": {"expression": "{{ input.text | length }}"},
            "compensate": {"type": "transform", "config": {"expression": "{{ error.step }} {{ steps.a.output }}"}},
        },
        {"id": "b", "depends_on": ["a"], "config": {"expression": "{{ input.text.nothing.at_all }}"}},
    ]
    late = [{"id": "told", "type": "transform", "config": {"expression": "{{ error.code }} {{ steps.b.status }}"}}]
    name = import_workflow(db, tenant, dag("heavy", steps, on_failure=late))
    execution_id = start(database, tenant, name, input={"text": "x" * size})
    ended = "select finished_at is not null from flowgres.executions where id = %s"
    wait_for(lambda: bool(db.value(ended, execution_id)), timeout_seconds=30, what="the end")
    execution = get(database, tenant, execution_id)
    assert execution["status"] == "failed"
    assert execution["steps"]["a.compensate"]["output"] == f"b {size}"
    assert execution["steps"]["told"]["output"] == "expression_undefined failed"
    assert_invariants(db)
