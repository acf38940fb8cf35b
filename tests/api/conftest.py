"""Two tenants, one with something in every view, made once per file; and a runner made of SQL calls."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Database, Db, Row, Tenant
from tests.support.functions import make_shop
from tests.support.machines import machine, store_machine
from tests.support.webhooks import deliver, find_webhook

DEFINITION: dict[str, Any] = {
    "name": "pipe",
    "triggers": [
        {"type": "cron", "cron": "0 0 29 2 *"},
        {"type": "event", "name": "told"},
        {"type": "webhook", "path": "pipe", "scheme": "token", "secret": "TOKEN"},
    ],
    "inputs": {"order": {"type": "integer", "default": 0}},
    "steps": [
        {"id": "first", "type": "transform", "config": {"output": {"order": "{{ input.order }}"}}},
        {"id": "second", "type": "log", "config": {"message": "done"}},
    ],
    "outputs": {"result": "{{ steps.first.output }}"},
}


class SqlRunner:
    """A runner that does nothing but claim and report, over the same functions as the real one."""

    def __init__(self, db: Db) -> None:
        self.db = db
        self.id = str(uuid.uuid4())
        info = {"name": "sql", "version": "0", "protocol": 2, "environment": "development", "step_types": []}
        db.call("flowgres.register_runner", p_runner_id=self.id, p_info=info)

    def claim(self, want: int = 100) -> list[Row]:
        """Take up to `want` ready steps."""
        return self.db.all(
            "select * from flowgres.claim(p_runner_id => %s, p_want => %s, p_after_tenant => null)", self.id, want
        )

    def report(self, rows: list[Row], **result: Any) -> list[Row]:
        """Report one outcome for all rows (`o="completed", out={}` unless told); returns the steps handed over."""
        outcome = {"o": "completed", "out": {}, "ms": 1, **result}
        results = [
            {
                "t": str(row["tenant_id"]),
                "x": str(row["execution_id"]),
                "q": row["queue_id"],
                "k": row["token"],
                "s": row["step_index"],
                **outcome,
            }
            for row in rows
        ]
        return self.db.all(
            "select * from flowgres.complete_and_claim("
            "p_runner_id => %s, p_results => %s, p_want => 100, p_after_tenant => null)",
            self.id,
            results,
        )

    def run_all(self, rows: list[Row] | None = None) -> None:
        """Complete these steps and whatever else there is, until nothing is left."""
        rows = rows or self.claim()
        while rows:
            rows = self.report(rows) or self.claim()


@pytest.fixture(scope="module")
def operator(module_database: Database) -> Iterator[Db]:
    """A superuser's connection to the file's database."""
    with module_database.connect() as db:
        yield db


@pytest.fixture(scope="module")
def sql_runner(module_database: Database) -> Iterator[SqlRunner]:
    """A runner under the login of runners, without a process."""
    with module_database.connect("runner") as db:
        yield SqlRunner(db)


@pytest.fixture(scope="module")
def alice(module_database: Database, operator: Db, module_api: Api, sql_runner: SqlRunner) -> Tenant:
    """A tenant with rows in every view: executions that completed, failed and wait, a secret, a setting."""
    tenant = module_database.make_tenant("Alice")
    api = module_api.as_key(tenant.key)
    assert api.rpc("import_workflow", definition=DEFINITION).status_code in (200, 201)
    assert api.rpc("set_setting", name="rate_limit_per_minute", value=500).status_code == 200
    operator.run("select set_config('flowgres.tenant_id', %s, false)", tenant.tenant_id)
    operator.run(
        "select flowgres.put_secret(p_name => 'TOKEN', p_key_id => 'k1', p_nonce => %s, p_ciphertext => %s)",
        b"n" * 12,
        b"c" * 32,
    )
    ticket_machine = machine("open>taken", "open>done", "taken>done", name="ticket", final="done")
    ticket_machine["transitions"][0]["start"] = {"workflow": "pipe", "input": {}}
    store_machine(operator, tenant.tenant_id, ticket_machine)
    operator.run("select set_config('flowgres.tenant_id', '', false)")
    ticket = api.rpc("start_workflow", workflow_name="ticket", entity_table="tickets", entity_id="1")
    assert ticket.status_code == 200, ticket.text
    taken = api.rpc("execute_transition", instance_id=ticket.json(), to_state="taken")
    assert taken.status_code == 200, taken.text
    told = api.rpc("set_notification", name="ops", url="https://ops.example/hook", secret="TOKEN")
    assert told.status_code == 200, told.text
    assert api.rpc("set_limit", name="crm", capacity=5).status_code == 200
    with module_database.connect() as db:
        make_shop(db, allow=False)
        db.call("flowgres_api.allow_function", signature="shop.reserve", tenant=tenant.slug)
    assert api.rpc("send_signal", name="packed", key="1").status_code == 200
    for key in ("completed", "failed"):
        assert api.rpc("start_execution", workflow="pipe", idempotency_key=key).status_code == 201
        if key == "failed":
            error = {"code": "boom", "message": "it broke", "class": "internal"}
            sql_runner.run_all(sql_runner.report(sql_runner.claim(), o="failed", error=error, out=None))
        else:
            sql_runner.run_all()
    with module_database.connect("front") as front:
        path = api.get("/webhooks").json()[0]["path"]
        webhook = find_webhook(front, path)
        assert deliver(front, webhook, key="delivered")["outcome"] == "accepted"
        sql_runner.run_all()
    ask = {"name": "ask", "steps": [{"id": "ask", "type": "task", "config": {"queue": "mail"}}]}
    assert api.rpc("import_workflow", definition=ask).status_code in (200, 201)
    assert api.rpc("start_execution", workflow="ask").status_code == 201
    sql_runner.report(sql_runner.claim(), o="park", waits="task", input={"queue": "mail", "payload": {}}, out=None)
    assert api.rpc("start_execution", workflow="pipe", idempotency_key="queued").status_code == 201
    operator.run(
        "insert into flowgres.approvals (tenant_id, id, execution_id, workflow_id, step_index, iteration, number, step,"
        " roles, approvers, not_starter, quorum, requested_at)"
        " select tenant_id, id, id, workflow_id, 9, -1, 1, 'ask', '{}', '{}', false, 1, created_at"
        " from flowgres.executions where tenant_id = %s and idempotency_key = 'queued'",
        tenant.tenant_id,
    )
    return tenant


@pytest.fixture(scope="module")
def bob(module_database: Database) -> Tenant:
    """Another tenant, with nothing."""
    return module_database.make_tenant("Bob")


@pytest.fixture(scope="module")
def make_key(module_api: Api) -> Callable[..., str]:
    """`make_key(tenant, "viewer")` makes an API key of a role."""

    def make_key(tenant: Tenant, role: str, **arguments: Any) -> str:
        answer = module_api.as_key(tenant.key).rpc("create_api_key", name=role, role=role, **arguments)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["api_key"])

    return make_key
