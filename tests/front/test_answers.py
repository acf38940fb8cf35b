"""Every function of the API that a tenant may call answers in exactly the shape that its comment names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database

Json = Any
STEP = {"type": "log", "config": {"message": "done"}}
DEFINITION = {
    "name": "known",
    "steps": [{"id": "only", **STEP}],
    "triggers": [
        {"type": "cron", "cron": "0 6 * * *"},
        {"type": "webhook", "secret": "KEY"},
        {"type": "event", "name": "happened"},
    ],
}
SPAN = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-03T00:00:00Z"}


@pytest.fixture
def call(
    start_front: Callable[..., Api], module_database: Database, module_api: Api, tenant: TenantKeys
) -> Callable[..., Json]:
    front = start_front(module_database.url("front"), FLOWGRES_API_URL=module_api.url)
    paths = front.get("/openapi.json").json()["paths"]
    api = module_api.as_key(tenant.admin)

    def called(function: str, /, **arguments: Json) -> Json:
        path = f"/rpc/{function}"
        answer = api.request("POST", path, json=arguments, headers=api.headers)
        assert answer.status_code in (200, 201), f"{function}: {answer.text}"
        told = paths[path]["post"]["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
        faults = [error.message for error in Draft202012Validator(told).iter_errors(answer.json())]
        assert faults == [], function
        return answer.json()

    return called


def test_workflows(call: Callable[..., Json]) -> None:
    call("import_workflow", definition=DEFINITION)
    call("validate_workflow", definition=DEFINITION)
    call("validate_workflow", definition={"name": "nothing"})
    call("update_workflow", workflow="known", changes={"title": "Known"})
    call("add_step", workflow="known", step={"id": "next", **STEP})
    for function in ("activate_workflow", "deactivate_workflow", "archive_workflow", "delete_workflow"):
        call(function, workflow="known")


def test_executions_and_what_starts_them(call: Callable[..., Json]) -> None:
    call("import_workflow", definition=DEFINITION)
    started = call("start_execution", workflow="known")
    call("start_executions", workflow="known", inputs=[{}, {}])
    for function in ("get_execution", "cancel_execution"):
        call(function, execution_id=started["execution_id"])
    for function in ("preview_schedule", "pause_schedule", "resume_schedule", "trigger_schedule"):
        call(function, schedule="known")
    call("backfill_schedule", schedule="known", **SPAN)
    call("emit_event", name="happened")
    call("rotate_webhook", webhook="known", new_address=True)
    call("execution_metrics")


def test_keys_settings_and_health(call: Callable[..., Json]) -> None:
    made = call("create_api_key", name="more", role="viewer")
    again = call("rotate_api_key", prefix=made["prefix"])
    call("revoke_api_key", prefix=again["prefix"])
    call("set_setting", name="cron_timezone", value="UTC")
    call("health")
