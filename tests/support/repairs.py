"""Acts upon steps, as a member of a tenant does them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db, Row, Tenant
from tests.support.races import refusal_code

ACTS = ("retry_step", "skip_step", "complete_step", "fail_step", "cancel_step", "update_step")


def act(database: Database, tenant: Tenant, name: str, execution: str, step: str, **arguments: Any) -> dict[str, Any]:
    """Do it as ann; returns the step."""
    with database.as_role("member", tenant_id=tenant.tenant_id, sub="ann") as api:
        answer: dict[str, Any] = api.call(f"flowgres_api.{name}", execution_id=execution, step=step, **arguments)
    return answer


def refusal(database: Database, tenant: Tenant, name: str, **arguments: Any) -> str:
    """The code with which it is refused."""
    with pytest.raises(psycopg.Error) as refused:
        act(database, tenant, name, **arguments)
    return refusal_code(refused.value)


def events_of(db: Db, execution: str) -> list[Row]:
    """All events of an execution, in order."""
    return db.all("select * from flowgres.all_events where execution_id = %s order by seq", execution)
