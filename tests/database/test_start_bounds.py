"""What a start and a cancel may bring along: each has a bound, a code and a hint."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, hands, import_workflow, start


class _Written(str):
    """JSON that Python would not write."""


def _as_written(value: Any) -> str:
    return str(value)


NESTED: Any = {}
for _ in range(20):
    NESTED = {"a": NESTED}


@pytest.mark.parametrize(
    ("arguments", "state", "code"),
    [
        ({"correlation_id": "x" * 256}, "FG422", "argument_too_long"),
        ({"metadata": {"x": "y" * 20_000}}, "FG413", "metadata_too_large"),
        ({"metadata": {"x": ["y"] * 100_000}}, "FG413", "metadata_too_large"),
        ({"metadata": ["x"]}, "FG422", "metadata_invalid"),
        ({"metadata": NESTED}, "FG422", "payload_too_deep"),
        ({"metadata": Jsonb(_Written('{"n": 1e131071}'), _as_written)}, "FG413", "metadata_too_large"),
        ({"input": Jsonb(_Written('{"n": 1e5000}'), _as_written)}, "FG422", "number_too_long"),
        ({"input": Jsonb(_Written('{"a": [{"n": -1e131071}]}'), _as_written)}, "FG422", "number_too_long"),
    ],
)
def test_start_that_carries_too_much_is_refused(
    database: Database, db: Db, tenant: Tenant, arguments: dict[str, Any], state: str, code: str
) -> None:
    name = import_workflow(db, tenant, dag("bounds", [{"id": "only"}]))
    with database.as_role("member", tenant_id=tenant.tenant_id, commit=False) as api:
        # As in SQL, where the code is a field of its own.
        api.run("select set_config('request.method', '', true)")
        with pytest.raises(psycopg.Error) as refusal:
            api.call("flowgres_api.start_execution", workflow=name, **arguments)
    assert (refusal.value.sqlstate, refusal.value.diag.constraint_name) == (state, code)
    assert refusal.value.diag.message_hint
    assert db.value("select count(*) from flowgres.executions") == 0


def test_what_is_within_the_bounds_is_taken(database: Database, db: Db, tenant: Tenant) -> None:
    name = import_workflow(db, tenant, dag("bounds", [{"id": "only"}]))
    start(database, tenant, name, correlation_id="x" * 255, metadata={"x": "y" * 16_000}, input={"n": 10**3999})


@pytest.mark.parametrize("number", ["1e5000", "-1e131071"])
def test_many_starts_take_no_number_that_nobody_can_read(
    database: Database, db: Db, tenant: Tenant, number: str
) -> None:
    name = import_workflow(db, tenant, dag("bounds", [{"id": "only"}]))
    inputs = Jsonb(_Written(f'[{{"n": 1}}, {{"n": {number}}}]'), _as_written)
    with (
        database.as_role("member", tenant_id=tenant.tenant_id) as api,
        pytest.raises(psycopg.Error, match="more than 4000 digits"),
    ):
        api.call("flowgres_api.start_executions", workflow=name, inputs=inputs)


@pytest.mark.parametrize("number", ["1e309", "-1e131071"])
def test_definition_takes_no_number_that_its_readers_refuse(db: Db, tenant: Tenant, number: str) -> None:
    definition = f'{{"name": "w", "steps": [{{"id": "a", "type": "log", "config": {{"message": {number}}}}}]}}'
    found = db.value("select flowgres.check_definition(%s, %s::jsonb)", tenant.tenant_id, definition)
    assert [error["code"] for error in found["errors"]] == ["number_invalid"]


def test_cancel_with_a_reason_that_is_too_long_cancels_nothing(database: Database, db: Db, tenant: Tenant) -> None:
    execution_id = start(database, tenant, import_workflow(db, tenant, dag("bounds", [{"id": "only"}])))
    with (
        pytest.raises(psycopg.Error, match="reason has 1001 characters"),
        database.as_role("member", tenant_id=tenant.tenant_id) as api,
    ):
        api.call("flowgres_api.cancel_execution", execution_id=execution_id, reason="x" * 1001)
    assert db.value("select status from flowgres.executions") == "queued"


def test_start_that_had_looked_before_its_workflow_was_deleted_never_runs(
    database: Database, db: Db, tenant: Tenant
) -> None:
    name = import_workflow(db, tenant, dag("gone", [{"id": "only"}]))
    kept = start(database, tenant, import_workflow(db, tenant, dag("kept", [{"id": "only"}])))
    with database.as_role("member", tenant_id=tenant.tenant_id) as late:
        execution_id = late.call("flowgres_api.start_execution", workflow=name)["execution_id"]
        with database.as_role("admin", tenant_id=tenant.tenant_id) as api:
            api.call("flowgres_api.delete_workflow", workflow=name)
    with hands(database) as runner:
        assert [str(lease["execution_id"]) for lease in runner.claim()] == [kept]
        assert runner.db.call("flowgres.cancel_orphan") is True
        assert runner.claim() == []
    assert db.value("select status from flowgres.executions where id = %s", execution_id) == "cancelled"


def test_list_of_a_small_tenant_reads_its_own_rows_alone(database: Database, db: Db, tenant: Tenant) -> None:
    other = database.make_tenant("Other")
    for owner, count in ((other, 5000), (tenant, 30)):
        name = import_workflow(db, owner, dag("list", [{"id": "only"}]))
        with database.as_role("member", tenant_id=owner.tenant_id) as api:
            api.call("flowgres_api.start_executions", workflow=name, inputs=[{} for _ in range(count)])
    db.run("analyze flowgres.executions")
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as api:
        plan = api.value(
            "explain (analyze, buffers, format json)"
            " select id, status from flowgres_api.executions order by created_at desc limit 20"
        )[0]["Plan"]
    assert plan["Actual Rows"] == 20
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 150
