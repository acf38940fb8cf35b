"""A start through PostgREST goes on with the trace of its caller."""

from __future__ import annotations

import pytest

from tests.support.api import Api
from tests.support.database import Db, Tenant
from tests.support.engine import dag, import_workflow

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("function", ["start_execution", "start_executions"])
def test_header_of_a_start_is_where_the_execution_stands(api: Api, db: Db, tenant: Tenant, function: str) -> None:
    import_workflow(db, tenant, dag("flow", [{"id": "a"}]))
    body = {"workflow": "flow"} if function == "start_execution" else {"workflow": "flow", "inputs": [{}, {}]}
    for header, trigger in ((GIVEN, {"type": "api", "traceparent": GIVEN}), ("00-nothing", None)):
        answer = api.as_key(tenant.key).request("POST", f"/rpc/{function}", json=body, headers={"traceparent": header})
        assert answer.status_code == 201, answer.text
        ids = [answer.json()["execution_id"]] if function == "start_execution" else answer.json()
        for execution_id in ids:
            assert db.value("select trigger from flowgres.executions where id = %s", execution_id) == trigger
