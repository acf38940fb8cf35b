"""Executions that ask a tenant's people, and what these say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db, Row, Tenant, TenantRole
from tests.support.engine import Hands, completed, dag, get, import_workflow

NOON = "2026-06-01T12:00:00Z"


class Approvals:
    """A tenant with workflows whose step `ask` asks and is followed by `after`; `runner` is what runs them."""

    def __init__(self, database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
        self.database, self.db, self.tenant, self.runner = database, db, tenant, runner
        self.tenant_id = str(tenant.tenant_id)
        self.config: dict[str, Any] = {}
        self.late: dict[str, Any] = completed({"decision": "late"})

    def ask(self, name: str = "w", *, by: str = "starter", step: dict[str, Any] | None = None, **config: Any) -> str:
        """Start an execution, and let it ask; returns its id."""
        import_workflow(self.db, self.tenant, asking(name, config, **(step or {})))
        self.config = config
        with self.as_caller(by) as api:
            execution = str(api.call("flowgres_api.start_execution", workflow=name)["execution_id"])
        self.work()
        return execution

    def work(self) -> list[str]:
        """Run what is ready, as a runner would."""
        return self.runner.work(self.answer)

    def answer(self, lease: Row, step: str) -> dict[str, Any]:
        """What a runner reports of a step."""
        if step != "ask":
            return completed(step)
        if "status" not in (lease["resume"] or {}):
            config = {"role": [], "approvers": [], **self.config}
            return {"o": "park", "waits": "approval", "input": config, "seconds": None}
        return completed(lease["resume"]["output"]) if lease["resume"]["status"] == "decided" else self.late

    @contextmanager
    def as_caller(self, who: str, *, role: TenantRole = "member", roles: tuple[str, ...] = ()) -> Iterator[Db]:
        """One request of somebody, with these business roles."""
        with self.database.as_role(role, tenant_id=self.tenant_id, sub=who, roles=list(roles)) as api:
            yield api

    def decide(
        self, execution: str, decision: str = "approved", *, by: str = "ann", roles: tuple[str, ...] = (), **given: Any
    ) -> dict[str, Any]:
        """Decide, as a caller."""
        given = {"step": "ask", **given}
        with self.as_caller(by, roles=roles) as api:
            answer: dict[str, Any] = api.call(
                "flowgres_api.decide_approval", execution_id=execution, decision=decision, **given
            )
        return answer

    def refusal(self, execution: str, decision: str = "approved", **given: Any) -> dict[str, Any]:
        """{status, code, message, details, hint} of a decision that is refused."""
        with pytest.raises(psycopg.Error) as caught:
            self.decide(execution, decision, **given)
        diagnostics = caught.value.diag
        body: dict[str, Any] = json.loads(diagnostics.message_primary or "{}")
        return {**body, "status": json.loads(diagnostics.message_detail or "{}")["status"]}

    def rows(self, *, who: str = "ann", role: TenantRole = "member", roles: tuple[str, ...] = ()) -> list[Row]:
        """The approvals as somebody sees them, the oldest first."""
        with self.as_caller(who, role=role, roles=roles) as api:
            return api.all("select * from flowgres_api.approvals order by id")

    def get(self, execution: str) -> dict[str, Any]:
        """The execution, with its steps by id."""
        return get(self.database, self.tenant, execution)

    def cancel(self, execution: str) -> None:
        """Cancel an execution, as a member."""
        with self.as_caller("boss") as api:
            api.call("flowgres_api.cancel_execution", execution_id=execution)

    def fire(self) -> Row:
        """Remind and end what is due, as a runner does."""
        return self.runner.db.one("select * from flowgres.fire_approvals(100)")

    def events(self, execution: str) -> list[tuple[str, str | None]]:
        """Type and actor of the events that tell of approvals."""
        query = (
            "select type, actor from flowgres_api.execution_events"
            " where execution_id = %s and type like 'approval%%' order by seq"
        )
        return [(row["type"], row["actor"]) for row in self.db.all(query, execution)]


def asking(name: str, config: dict[str, Any], **step: Any) -> dict[str, Any]:
    """A workflow that asks, and goes on."""
    asks = {"id": "ask", "type": "approval", "config": config, **step}
    return dag(name, [asks, {"id": "after", "depends_on": ["ask"]}])
