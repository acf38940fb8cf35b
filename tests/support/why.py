"""What a tenant reads of why its executions do not move."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database, Row, Tenant


def why(database: Database, tenant: Tenant, execution_id: str | None = None, **claims: Any) -> dict[str, Row]:
    """The rows of an execution, or of all, by step and iteration, as a member reads them."""
    query = "select * from flowgres_api.execution_why"
    with database.as_role("member", tenant_id=tenant.tenant_id, **claims) as db:
        rows = db.all(query) if execution_id is None else db.all(f"{query} where execution_id = %s", execution_id)
    return {row["step"] if row["iteration"] is None else f"{row['step']}[{row['iteration']}]": row for row in rows}


def reasons(database: Database, tenant: Tenant, execution_id: str | None = None) -> dict[str, str]:
    """The reasons alone."""
    return {step: row["reason"] for step, row in why(database, tenant, execution_id).items()}
