"""Related rows are embedded by the name of their resource, in both directions, and only one's own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Tenant

# Resource -> what it embeds, and whether that is one row or many.
PAIRS = [
    ("executions", "workflows", "one"),
    ("executions", "workflow_versions", "one"),
    ("executions", "step_executions", "many"),
    ("executions", "attempts", "many"),
    ("executions", "execution_events", "many"),
    ("workflows", "executions", "many"),
    ("workflows", "workflow_versions", "many"),
    ("workflows", "workflow_steps", "many"),
    ("workflow_versions", "executions", "many"),
    ("workflow_versions", "workflows", "one"),
    ("workflow_versions", "workflow_steps", "many"),
    ("workflow_steps", "workflow_versions", "one"),
    ("workflow_steps", "workflows", "one"),
    ("step_executions", "executions", "one"),
    ("step_executions", "attempts", "many"),
    ("attempts", "executions", "one"),
    ("attempts", "step_executions", "one"),
    ("execution_events", "executions", "one"),
    ("executions", "tasks", "many"),
    ("tasks", "executions", "one"),
    ("executions", "approvals", "many"),
    ("approvals", "executions", "one"),
    ("approvals", "workflows", "one"),
    ("workflows", "tenants", "one"),
    ("tenants", "workflows", "many"),
]


@pytest.fixture(scope="module")
def alice_api(module_api: Api, alice: Tenant) -> Api:
    """The API as the tenant that has something everywhere."""
    return module_api.as_key(alice.key)


@pytest.fixture(scope="module")
def busy_bob(module_api: Api, alice: Tenant, bob: Tenant) -> Tenant:
    """The other tenant, with a workflow of the same name and an execution of it."""
    api = module_api.as_key(bob.key)
    definition = {"name": "pipe", "steps": [{"id": "first", "type": "log", "config": {"message": "Bob's"}}]}
    assert api.rpc("import_workflow", definition=definition).status_code in (200, 201)
    assert api.rpc("start_execution", workflow="pipe").status_code == 201
    return bob


@pytest.mark.parametrize(("resource", "embedded", "number"), PAIRS)
def test_related_rows_are_embedded_by_name(
    resource: str, embedded: str, number: str, alice: Tenant, busy_bob: Tenant, alice_api: Api, module_api: Api
) -> None:
    for tenant, api in ((alice, alice_api), (busy_bob, module_api.as_key(busy_bob.key))):
        answer = api.get(f"/{resource}", params={"select": f"tenant_id,{embedded}(*)"})
        assert answer.status_code == 200, answer.text
        rows = answer.json()
        found = [row[embedded] for row in rows if row[embedded]]
        related = found if number == "one" else [one for many in found for one in many]
        assert {row["tenant_id"] for row in (*rows, *related)} <= {tenant.tenant_id}
        if tenant is alice:
            assert related


def test_embedded_rows_are_those_that_belong_together(alice_api: Api) -> None:
    def rows(path: str, select: str) -> list[dict[str, Any]]:
        answer = alice_api.get(path, params={"select": select})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        assert found
        return found

    for row in rows("/executions", "workflow_id,version_id,version,workflows(id,name),workflow_versions(id,version)"):
        assert row["workflows"]["id"] == row["workflow_id"]
        assert row["workflows"]["name"] in ("pipe", "ask")
        assert row["workflow_versions"] == {"id": row["version_id"], "version": row["version"]}
    for row in rows("/step_executions", "execution_id,step,executions(id),attempts(execution_id,step)"):
        assert row["executions"] == {"id": row["execution_id"]}
        assert all(attempt == {"execution_id": row["execution_id"], "step": row["step"]} for attempt in row["attempts"])
    for row in rows("/attempts", "execution_id,step,executions(id),step_executions(execution_id,step)"):
        assert row["executions"] == {"id": row["execution_id"]}
        assert row["step_executions"] == {"execution_id": row["execution_id"], "step": row["step"]}
    for row in rows("/execution_events", "execution_id,executions(id)"):
        assert row["executions"] == {"id": row["execution_id"]}


def test_names_of_before_still_embed(alice_api: Api) -> None:
    answer = alice_api.get("/executions", params={"select": "workflow(name),parent(id),children(id),workflows(name)"})
    assert answer.status_code == 200, answer.text
    assert {row["workflow"]["name"] for row in answer.json()} == {"pipe", "ask"}
    assert all(row["workflow"] == row["workflows"] for row in answer.json())
    answer = alice_api.get("/step_executions", params={"select": "execution(id)"})
    assert answer.status_code == 200, answer.text


def test_embedded_rows_filter_the_outer_ones(alice_api: Api) -> None:
    params = {"select": "id,workflows!inner(name)", "workflows.name": "eq.pipe"}
    assert len(alice_api.get("/executions", params=params).json()) == 5
    assert alice_api.get("/executions", params=params | {"workflows.name": "eq.other"}).json() == []
