"""Migrating instances and exporting their history over a real PostgREST."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api, make_token
from tests.support.database import Database, Tenant
from tests.support.machines import faults_of_export, machine, store_machine

OLD = machine("new>paid", "paid>sent", final="sent")
NEW = machine("new>payed", "payed>sent", final="sent")


@pytest.fixture
def tenant(module_database: Database) -> Tenant:
    """A tenant with two instances, new and paid, of version 1 of a machine that has two."""
    tenant = module_database.make_tenant("Orders")
    with module_database.connect() as db:
        store_machine(db, tenant.tenant_id, OLD)
        for entity in ("1", "2"):
            db.call("flowgres.start_workflows", p_workflow="m", p_entities=[entity_of(entity)], p_on_error="fail")
        paid = db.value("select id from flowgres_api.entity_workflows where tenant_id = %s limit 1", tenant.tenant_id)
        db.call("flowgres_api.execute_transition", instance_id=paid, to_state="paid", metadata={"n": 1.50})
        store_machine(db, tenant.tenant_id, NEW)
    return tenant


def entity_of(entity_id: str) -> dict[str, Any]:
    return {"entity_table": "orders", "entity_id": entity_id}


def test_administrator_migrates(tenant: Tenant, module_api: Api) -> None:
    admin = module_api.as_key(tenant.key)
    asked: dict[str, Any] = {"workflow": "m", "to_version": 2}
    dry = admin.rpc("migrate_instances", **asked, dry_run=True)
    assert (dry.status_code, [one["from_state"] for one in dry.json()["problems"]]) == (200, ["paid"]), dry.text
    refused = admin.rpc("migrate_instances", **asked)
    assert (refused.status_code, refused.json()["code"]) == (422, "state_unmapped")
    done = admin.rpc("migrate_instances", **asked, map={"paid": "payed"}, limit=1)
    assert (done.json()["migrated"], done.json()["remaining"]) == (1, 1)
    done = admin.rpc("migrate_instances", **asked, map={"paid": "payed"})
    assert (done.json()["migrated"], done.json()["remaining"]) == (1, 0)
    rows = admin.get("/workflow_history", params={"transition_name": "eq.migrated"}).json()
    assert {(row["from_state"], row["to_state"]) for row in rows} == {("new", "new"), ("paid", "payed")}
    assert {tuple(row["context"].items()) for row in rows} == {(("to_version", 2), ("from_version", 1))}
    audited = admin.get("/audit_log", params={"action": "eq.instances_migrated"}).json()
    assert [(row["subject"], row["details"]["migrated"]) for row in audited] == [("m", 1), ("m", 1)]


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_others_do_not_migrate_and_do_export(tenant: Tenant, module_api: Api, role: str) -> None:
    caller = module_api.as_token(make_token(role=role, tenant_id=tenant.tenant_id, sub="ann"))
    assert caller.rpc("migrate_instances", workflow="m", to_version=2, dry_run=True).status_code == 403
    assert len(caller.rpc("export_history").json()["lines"]) == 3


def test_export_over_http_is_checked_by_what_the_page_says(tenant: Tenant, module_api: Api) -> None:
    api = module_api.as_key(tenant.key)
    lines: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = api.get("/rpc/export_history", params={"workflow": "m", "limit": "2", **after}).json()
        lines += page["lines"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert (len(lines), faults_of_export(lines)) == (3, [])
    assert any('"n": 1.5' in line for line in lines)
    assert api.get("/rpc/export_history", params={"since": "2999-01-01"}).json() == {"lines": [], "next": None}
    wrong = api.get("/rpc/export_history", params={"after": "x"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "argument_invalid")
