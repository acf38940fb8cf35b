"""Why executions do not move: every reason, as a tenant reads it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, completed, dag, failed, import_workflow, start
from tests.support.waits import Waiters

Json = Any
GO = {"signal": "go"}


@pytest.fixture
def waiters(database: Database, db: Db, tenant: Tenant, runner: Hands) -> Waiters:
    return Waiters(database, db, tenant, runner)


def why(database: Database, tenant: Tenant, execution_id: str | None = None) -> dict[str, Json]:
    """The rows of an execution, by step and iteration."""
    query = "select * from flowgres_api.execution_why"
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as db:
        rows = db.all(query) if execution_id is None else db.all(f"{query} where execution_id = %s", execution_id)
    return {row["step"] if row["iteration"] is None else f"{row['step']}[{row['iteration']}]": row for row in rows}


def test_step_that_waits_for_a_signal(waiters: Waiters, database: Database, tenant: Tenant) -> None:
    (execution,) = waiters.start({**GO, "key": "7"})
    waiters.send("go", {"secret": 1}, key="8")
    told = why(database, tenant, execution)
    hold = told["hold"]
    assert (hold["reason"], hold["detail"]["for"]) == ("waits_for_signal", [{"signal": "go", "key": "7"}])
    assert [(one["key"], one["but"]) for one in hold["detail"]["seen"]] == [("8", "it has another key")]
    assert "secret" not in str(hold["detail"])
    assert hold["command"] == "flowgres signal go --key=7"
    assert (told["after"]["reason"], told["after"]["detail"]) == ("waits_for_steps", {"steps": ["hold"]})
