"""Acts of people on executions, and workflows that have something to take in hand."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, dag, import_workflow
from tests.support.races import natural

CHAIN: list[dict[str, Any]] = [
    {"id": "first"},
    {"id": "second", "depends_on": ["first"]},
    {"id": "third", "depends_on": ["second"]},
]
HTTP: dict[str, Any] = {"type": "http", "config": {"url": "https://example.com"}}


def act(database: Database, tenant: Tenant, verb: str, **arguments: Any) -> Any:
    """One call by a member of the tenant."""
    with database.as_role("member", tenant_id=tenant.tenant_id) as db:
        return db.call(f"flowgres_api.{verb}", **arguments)


def nest(db: Db, tenant: Tenant) -> str:
    """A workflow whose child has a child."""
    import_workflow(db, tenant, dag("leaf", [{"id": "work", **HTTP}, {"id": "done", "depends_on": ["work"]}]))
    call: dict[str, Any] = {"id": "call_leaf", "type": "sub_workflow", "config": {"workflow": "leaf"}}
    import_workflow(db, tenant, dag("middle", [call]))
    call = {"id": "call_middle", "type": "sub_workflow", "config": {"workflow": "middle"}}
    return import_workflow(db, tenant, dag("root", [call, {"id": "after", "depends_on": ["call_middle"]}]))


def descend(runner: Hands, *, until: str) -> Row:
    """Work until the step of that name is leased; the lease."""
    while True:
        (lease,) = runner.claim()
        name = runner.step_name(lease)
        if name == until:
            return lease
        runner.report([runner.result(lease, natural(lease, name))])
