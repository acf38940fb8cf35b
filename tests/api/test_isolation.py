"""One tenant's rows are invisible and untouchable to another, through every view and every function."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import DEFINITION
from tests.support.api import Api
from tests.support.database import Db, Tenant

VIEWS = (
    "api_keys",
    "approvals",
    "attempts",
    "audit_log",
    "entity_workflows",
    "error_groups",
    "execution_events",
    "execution_why",
    "executions",
    "instance_executions",
    "limits",
    "notification_deliveries",
    "notifications",
    "runners",
    "schedules",
    "subscriptions",
    "secrets",
    "settings",
    "signals",
    "sql_functions",
    "step_executions",
    "task_queues",
    "tasks",
    "tenants",
    "webhook_deliveries",
    "webhooks",
    "workflow_history",
    "workflow_states",
    "workflow_steps",
    "workflow_transitions",
    "workflow_versions",
    "workflows",
)
RELATIONSHIPS = {
    "approvals", "attempts", "children", "execution", "execution_events", "executions", "parent", "step_executions",
    "workflow", "webhooks", "workflow_steps", "workflow_versions", "workflows", "original", "replays",
    "entity_workflows", "instance_executions", "workflow_history", "workflow_states", "workflow_transitions",
    "tasks", "execution_why",
}  # fmt: skip
OF_EXECUTIONS = {
    "approvals", "attempts", "children", "entity_workflows", "execution_events", "execution_why", "instance_executions",
    "original", "parent", "replays", "step_executions", "tasks", "workflow", "workflow_versions", "workflows",
}  # fmt: skip
# What Bob calls with what is Alice's, and the answer. {prefix} is that of a key; the others in braces are ids of hers.
CALLS: dict[str, tuple[dict[str, Any], int]] = {
    "activate_workflow": ({"workflow": "pipe"}, 404),
    "adopt_installation": ({}, 403),
    "add_tenant_login": ({"login": "flowgres_sql", "tenant": "alice"}, 403),
    "allow_function": ({"signature": "shop.reserve"}, 403),
    "add_step": ({"workflow": "pipe", "step": {"id": "x", "type": "log", "config": {"message": "x"}}}, 404),
    "archive_workflow": ({"workflow": "pipe"}, 404),
    "backfill_schedule": (
        {"schedule": "{schedule}", "since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
        404,
    ),
    "cancel_execution": ({"execution_id": "{execution}"}, 404),
    "cancel_step": ({"execution_id": "{execution}", "step": "first"}, 404),
    # Of all that is Bob's: nothing.
    "claim_tasks": ({"queue": "mail", "worker": "bob"}, 200),
    "complete_step": ({"execution_id": "{execution}", "step": "first", "output": 1}, 404),
    "complete_task": ({"task_id": "{task}", "token": 1}, 404),
    "compare_executions": ({"a": "{execution}", "b": "{execution}"}, 404),
    "create_api_key": ({"name": "mine"}, 201),
    "deactivate_workflow": ({"workflow": "pipe"}, 404),
    "delete_tenant": ({"tenant": "alice"}, 403),
    "purge_tenant": ({"tenant": "alice"}, 403),
    "restore_tenant": ({"tenant": "alice"}, 403),
    "suspend_tenant": ({"tenant": "alice"}, 403),
    "delete_workflow": ({"workflow": "pipe", "cancel_running": True}, 404),
    # Alice's workflow subscribes to it.
    "disallow_function": ({"signature": "shop.reserve"}, 403),
    "emit_event": ({"name": "told"}, 200),
    "decide_approval": ({"execution_id": "{execution}", "step": "first", "decision": "approved"}, 404),
    "delete_limit": ({"name": "crm"}, 404),
    "delete_notification": ({"name": "ops"}, 404),
    "execute_transition": ({"instance_id": "{instance}", "to_state": "done"}, 404),
    "execute_transitions": ({"instances": ["{instance}"], "to_state": "done"}, 404),
    "execution_metrics": ({"workflow": "pipe"}, 404),
    # Of all that is Bob's: nothing.
    "export_history": ({}, 200),
    "extend_task": ({"task_id": "{task}", "token": 1}, 404),
    "fail_step": ({"execution_id": "{execution}", "step": "first"}, 404),
    "fail_task": ({"task_id": "{task}", "token": 1, "error": "no"}, 404),
    "get_execution": ({"execution_id": "{execution}"}, 404),
    "get_transitions": ({"instance_id": "{instance}"}, 404),
    "health": ({}, 200),
    "import_workflow": ({"definition": {**DEFINITION, "name": "mine"}}, 200),
    "migrate_instances": ({"workflow": "{machine}", "to_version": 1}, 404),
    "openapi": ({}, 200),
    "pause_execution": ({"execution_id": "{execution}"}, 404),
    "pause_schedule": ({"schedule": "pipe"}, 404),
    "pause_tenant": ({"tenant": "alice"}, 403),
    "pause_workflow": ({"workflow": "pipe"}, 404),
    "preview_schedule": ({"schedule": "{schedule}"}, 404),
    "redeliver_webhook": ({"delivery": "{delivery}"}, 404),
    "redeliver_notification": ({"delivery_id": "{notification_delivery}"}, 404),
    "register_tenant": ({"name": "Carol"}, 403),
    "remove_tenant_login": ({"login": "flowgres_sql"}, 403),
    "resume_execution": ({"execution_id": "{execution}"}, 404),
    "replay_execution": ({"execution_id": "{execution}"}, 404),
    "resume_schedule": ({"schedule": "{schedule}"}, 404),
    "resume_tenant": ({"tenant": "alice"}, 403),
    "resume_workflow": ({"workflow": "pipe"}, 404),
    "retry_step": ({"execution_id": "{execution}", "step": "first"}, 404),
    "revoke_api_key": ({"prefix": "{prefix}"}, 404),
    "retry_execution": ({"execution_id": "{execution}"}, 404),
    "rotate_api_key": ({"prefix": "{prefix}"}, 404),
    "rotate_webhook": ({"webhook": "{webhook}", "new_address": True}, 404),
    "send_signal": ({"name": "packed", "execution_id": "{execution}"}, 404),
    "set_limit": ({"name": "crm", "capacity": 9}, 200),
    "set_notification": ({"name": "ops", "url": "https://mine.example/", "secret": "TOKEN"}, 422),
    "set_setting": ({"name": "rate_limit_per_minute", "value": 3}, 200),
    "skip_step": ({"execution_id": "{execution}", "step": "first"}, 404),
    "start_execution": ({"workflow": "pipe"}, 404),
    "start_executions": ({"workflow": "pipe", "inputs": [{}]}, 404),
    "start_workflow": ({"workflow_name": "ticket", "entity_table": "tickets", "entity_id": "1"}, 404),
    "start_workflow_by_id": (
        {"workflow_definition_id": "{machine}", "entity_table": "tickets", "entity_id": "1"},
        404,
    ),
    "start_workflows": ({"workflow": "{machine}", "entities": [{"entity_table": "tickets", "entity_id": "1"}]}, 404),
    "trigger_schedule": ({"schedule": "{schedule}"}, 404),
    "update_execution": ({"execution_id": "{execution}", "changes": {"priority": 0}}, 404),
    "update_step": ({"execution_id": "{execution}", "step": "first", "changes": {"timeout": 1}}, 404),
    "update_workflow": ({"workflow": "pipe", "changes": {"title": "stolen"}}, 404),
    "verify_history": ({"instance_id": "{instance}"}, 404),
    "validate_workflow": ({"definition": DEFINITION}, 200),
}


def snapshot(db: Db, tenant_id: str) -> dict[str, str]:
    """A fingerprint of everything a tenant owns, by table."""
    tables = db.column(
        "select c.oid::regclass::text from pg_class as c"
        " where c.relnamespace = 'flowgres'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition"
    )
    return {
        table: db.value(
            f"select md5(string_agg(t::text, ';' order by t::text)) from {table} as t where tenant_id = %s", tenant_id
        )
        for table in tables
    }


def test_every_view_is_tried(operator: Db) -> None:
    views = operator.column("select viewname from pg_views where schemaname = 'flowgres_api' order by 1")
    assert views == sorted(VIEWS)


def test_every_function_is_tried(operator: Db) -> None:
    functions = set(operator.column("select proname from pg_proc where pronamespace = 'flowgres_api'::regnamespace"))
    assert functions == set(CALLS) | RELATIONSHIPS


@pytest.mark.parametrize("view", VIEWS)
def test_view_shows_own_rows_and_nobody_elses(
    view: str, alice: Tenant, bob: Tenant, module_api: Api, operator: Db
) -> None:
    own = module_api.as_key(alice.key).get(f"/{view}", params={"tenant_id": f"eq.{alice.tenant_id}"})
    assert own.status_code == 200, own.text
    assert own.json() or view == "runners"  # runners belong to the installation

    for params in (
        {"tenant_id": f"eq.{alice.tenant_id}"},
        {"or": f"(tenant_id.eq.{alice.tenant_id},tenant_id.is.null)"},
    ):
        foreign = module_api.as_key(bob.key).get(f"/{view}", params=params)
        assert foreign.status_code == 200, foreign.text
        assert foreign.json() == []
    rows = module_api.as_key(bob.key).get(f"/{view}").json()
    system = operator.value("select flowgres.system_tenant_id()::text")
    assert {row["tenant_id"] for row in rows} <= {bob.tenant_id, system}


@pytest.mark.parametrize("view", VIEWS)
def test_view_is_closed_to_callers_without_credentials(view: str, module_api: Api) -> None:
    answer = module_api.get(f"/{view}")
    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_credentials"


@pytest.mark.parametrize("embedded", sorted(OF_EXECUTIONS))
def test_embedding_shows_own_rows(embedded: str, alice: Tenant, bob: Tenant, module_api: Api) -> None:
    select = {"select": f"id,{embedded}(tenant_id)"}
    own = module_api.as_key(alice.key).get("/executions", params=select)
    assert own.status_code == 200, own.text
    if embedded not in ("parent", "children", "original", "replays"):
        assert any(row[embedded] for row in own.json())
    assert module_api.as_key(bob.key).get("/executions", params=select).json() == []


@pytest.mark.parametrize("function", CALLS)
def test_function_does_not_reach_another_tenant(
    function: str, alice: Tenant, bob: Tenant, module_api: Api, operator: Db
) -> None:
    execution = operator.value(
        "select id::text from flowgres.executions where tenant_id = %s and idempotency_key = 'queued'", alice.tenant_id
    )
    arguments, status = CALLS[function]
    schedule = operator.value("select id::text from flowgres.schedules where tenant_id = %s", alice.tenant_id)
    webhook, delivery = operator.one(
        "select webhook_id::text as webhook, id::text as delivery from flowgres.webhook_deliveries"
        " where tenant_id = %s",
        alice.tenant_id,
    ).values()
    deliveries = "select id::text from flowgres_api.notification_deliveries where tenant_id = %s limit 1"
    instance, machine = operator.one(
        "select id::text as instance, workflow_id::text as machine from flowgres.instances where tenant_id = %s",
        alice.tenant_id,
    ).values()
    given = {
        "{execution}": execution,
        "{instance}": instance,
        "{task}": operator.value("select id from flowgres.tasks where tenant_id = %s", alice.tenant_id),
        "{machine}": machine,
        "{schedule}": schedule,
        "{webhook}": webhook,
        "{delivery}": delivery,
        "{notification_delivery}": operator.value(deliveries, alice.tenant_id),
        "{prefix}": alice.key.split("_")[-1][:8],
    }
    arguments = {
        name: given.get(value, value)
        if isinstance(value, str)
        else [given.get(item, item) if isinstance(item, str) else item for item in value]
        if isinstance(value, list)
        else value
        for name, value in arguments.items()
    }
    before = snapshot(operator, alice.tenant_id)

    answer = module_api.as_key(bob.key).rpc(function, **arguments)

    assert answer.status_code == status, answer.text
    if status == 404:
        assert answer.json()["code"].endswith("_not_found")
    assert alice.tenant_id not in answer.text
    assert snapshot(operator, alice.tenant_id) == before


def test_unknown_and_foreign_executions_are_told_apart_by_nothing(
    alice: Tenant, bob: Tenant, module_api: Api, operator: Db
) -> None:
    foreign = operator.value("select id::text from flowgres.executions where tenant_id = %s limit 1", alice.tenant_id)
    unknown = foreign[:-4] + ("0000" if not foreign.endswith("0000") else "1111")
    answers = [module_api.as_key(bob.key).rpc("get_execution", execution_id=id) for id in (foreign, unknown)]
    bodies = [answer.text.replace(foreign, "ID").replace(unknown, "ID") for answer in answers]
    assert bodies[0] == bodies[1]
