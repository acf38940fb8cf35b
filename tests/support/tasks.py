"""Workers of tasks without a process: a tenant with a workflow whose step `ask` is a task, and the calls of workers."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.support.database import Database, Db, Row, Tenant, TenantRole
from tests.support.engine import Hands, completed, dag, get, import_workflow, start

Json = Any


class Workers:
    """Starts executions with a task, and claims and ends tasks as a member of the tenant."""

    def __init__(self, database: Database, db: Db, runner: Hands, tenant: Tenant) -> None:
        self.database, self.db, self.runner, self.tenant = database, db, runner, tenant
        self._workflows: set[str] = set()

    def start(self, *, queue: str = "mail", payload: Json = None, lease: float = 60, **step: Any) -> str:
        """Start an execution of `ask` and `after`, and have a runner render the task."""
        name = f"w{len(self._workflows)}" if step or not self._workflows else "w0"
        if name not in self._workflows:
            self._workflows.add(name)
            steps = [
                {"id": "ask", "type": "task", "config": {"queue": "{{ input.q }}"}, **step},
                {"id": "after", "depends_on": ["ask"]},
            ]
            import_workflow(self.db, self.tenant, dag(name, steps))
        self.wanted = {"queue": queue, "payload": payload, "lease": lease}
        execution = start(self.database, self.tenant, name)
        self.run()
        return execution

    def run(self) -> list[str]:
        """Have the runner do all that it can; returns the steps that it has done."""
        return self.runner.work(self.decide)

    def decide(self, lease: Row, step: str) -> dict[str, Any]:
        """What the task step's handler does, by hand."""
        if step != "ask":
            return completed(step)
        resume = lease["resume"]
        if resume is None:
            return {"o": "park", "waits": "task", "input": self.wanted}
        if resume["status"] == "completed":
            return completed(resume["output"], detail={"worker": resume["worker"]})
        error = {"message": "no", **(resume.get("error") or {"code": resume["status"]}), "class": "task"}
        if resume["status"] == "lease_expired":
            error |= {"class": "lease_expired", "retryable": True}
        return {"o": "failed", "error": error, "detail": {"worker": resume["worker"]}}

    def call(self, function: str, role: TenantRole = "member", **arguments: Any) -> Any:
        """Call a function of the API as somebody of the tenant; rows of one that returns a set."""
        given = {key: Jsonb(value) if isinstance(value, dict | list) else value for key, value in arguments.items()}
        with self.database.as_role(role, tenant_id=self.tenant.tenant_id) as db:
            if function == "claim_tasks":
                names = ", ".join(f'"{key}" => %({key})s' for key in given)
                return db.column(f"select flowgres_api.claim_tasks({names})", **given)
            return db.call(f"flowgres_api.{function}", **given)

    def claim(self, worker: str = "one", queue: str = "mail", **more: Any) -> list[Row]:
        """Claim tasks."""
        return list(self.call("claim_tasks", queue=queue, worker=worker, **more))

    def complete(self, task: Row, output: Json = None) -> Any:
        """Complete a claimed task."""
        return self.call("complete_task", task_id=task["task_id"], token=task["token"], output=Jsonb(output))

    def fail(self, task: Row, error: Json = "broken", **more: Any) -> Any:
        """Fail a claimed task."""
        return self.call("fail_task", task_id=task["task_id"], token=task["token"], error=Jsonb(error), **more)

    def extend(self, task: Row, **more: Any) -> Any:
        """Extend a claimed task."""
        if "progress" in more:
            more["progress"] = Jsonb(more["progress"])
        return self.call("extend_task", task_id=task["task_id"], token=task["token"], **more)

    def get(self, execution_id: str) -> dict[str, Any]:
        """The execution, with its steps by id."""
        return get(self.database, self.tenant, execution_id)

    def row(self, execution_id: str) -> Row:
        """The task of an execution, as the view shows it."""
        with self.database.as_role("viewer", tenant_id=self.tenant.tenant_id) as db:
            return db.one("select * from flowgres_api.tasks where execution_id = %s", execution_id)
