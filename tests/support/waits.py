"""Workflows that wait, and hands that run them as a runner does."""

from __future__ import annotations

from typing import Any

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, completed, dag, get, import_workflow, start

Json = Any


class Waiters:
    """A tenant whose executions wait in the step `hold`, and go on to `after`."""

    def __init__(self, database: Database, db: Db, tenant: Tenant, runner: Hands) -> None:
        self.database, self.db, self.tenant, self.runner = database, db, tenant, runner
        self.configs: dict[str, Json] = {}

    def start(
        self, *awaited: dict[str, Json], count: int = 1, rendered: dict[str, Json] | None = None, **step: Any
    ) -> list[str]:
        """Start executions that wait for the first of these, or what became of it, and let them begin to."""
        name = f"w{len(self.configs)}"
        self.configs[name] = list(awaited) if rendered is None else [rendered]
        config = awaited[0] if len(awaited) == 1 else {"first_of": list(awaited)}
        steps = [{"id": "hold", "type": "wait", "config": config, **step}, {"id": "after", "depends_on": ["hold"]}]
        import_workflow(self.db, self.tenant, dag(name, steps))
        ids = [start(self.database, self.tenant, name) for _ in range(count)]
        self.work()
        return ids

    def work(self) -> list[str]:
        """Run all that is ready; the steps that ran."""
        return self.runner.work(self.decide)

    def decide(self, lease: Row, step: str) -> dict[str, Any]:
        """What a runner's hands do of such a workflow."""
        if step != "hold":
            return completed(step)
        resume = lease["resume"]
        if resume is None or "status" not in resume:
            listed = self.configs[get(self.database, self.tenant, str(lease["execution_id"]))["workflow_name"]]
            indexed = listed if len(listed) == 1 else [{**one, "index": place} for place, one in enumerate(listed)]
            return {"o": "park", "waits": "wait", "input": {"for": indexed}}
        if resume["status"] == "timed_out":
            error = {"code": "timeout", "class": "timeout", "message": "late", "retryable": False}
            return {"o": "failed", "error": error}
        return completed({name: value for name, value in resume.items() if name != "status"})

    def send(self, name: str, payload: Json = None, **arguments: Any) -> int:
        """Send a signal as a member; how many it found waiting."""
        with self.database.as_role("member", tenant_id=self.tenant.tenant_id) as member:
            given = {"name": name, "payload": payload if payload is not None else {}, **arguments}
            return int(member.call("flowgres_api.send_signal", **given))

    def emit(self, name: str, payload: Json = None, **arguments: Any) -> int:
        """Tell of an event as a member; how many steps it found waiting."""
        with self.database.as_role("member", tenant_id=self.tenant.tenant_id) as member:
            given = {"name": name, "payload": payload if payload is not None else {}, **arguments}
            return int(member.call("flowgres_api.emit_event", **given)["woken"])

    def output(self, execution_id: str) -> Json:
        """What `hold` gave, without the time; None while it waits."""
        given = get(self.database, self.tenant, execution_id)["steps"]["hold"]["output"]
        return None if given is None else {name: value for name, value in given.items() if name != "received_at"}

    def outputs(self, ids: list[str]) -> list[Json]:
        """The same of several."""
        return [self.output(execution_id) for execution_id in ids]
