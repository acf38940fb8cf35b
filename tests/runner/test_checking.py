"""Versions that came in by SQL: a real runner confirms them, and production goes on whatever it finds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Database, Db, Tenant
from tests.support.definitions import log_step, workflow
from tests.support.engine import get, start
from tests.support.runner import Runner, wait_for

# What it takes a parser to see: SQL lets it in.
BROKEN = {"id": "a", "type": "http", "config": {"url": "https://x.example/{{ (input.x ~ secrets.KEY) | upper }}"}}


@pytest.fixture
def client(api: Api, tenant: Tenant) -> Api:
    return api.as_key(tenant.key)


def version(client: Api, number: int) -> Any:
    return client.get(f"/workflow_versions?version=eq.{number}").json()[0]


def test_broken_version_is_told_within_two_seconds_and_the_one_before_goes_on(
    client: Api, database: Database, tenant: Tenant, db: Db, runner: Runner
) -> None:
    client.rpc("import_workflow", definition=workflow(log_step("a")))
    wait_for(lambda: version(client, 1)["state"] == "ready", what="the confirmation of version 1", timeout_seconds=5)
    answer = client.rpc("import_workflow", definition=workflow(BROKEN)).json()
    assert (answer["state"], answer["active_version"], answer["pending_version"]) == ("checking", 1, 2)
    wait_for(lambda: version(client, 2)["state"] == "invalid", what="the refusal of version 2", timeout_seconds=2)
    assert [error["code"] for error in version(client, 2)["errors"]] == ["secret_misuse"]
    (row,) = client.get("/workflows?name=eq.w").json()
    assert (row["status"], row["active_version"], row["pending_version"]) == ("active", 1, None)
    execution_id = start(database, tenant, "w")
    wait_for(lambda: get(database, tenant, execution_id)["status"] == "completed", what="an execution of version 1")
    refused = client.rpc("start_execution", workflow="w", version=2)
    assert (refused.status_code, refused.json()["code"]) == (409, "version_invalid")
    assert "version 1" in refused.json()["hint"]


def test_sound_version_becomes_active_when_it_is_confirmed(client: Api, runner: Runner) -> None:
    client.rpc("import_workflow", definition=workflow(log_step("a")))
    client.rpc("import_workflow", definition=workflow(log_step("b")))
    wait_for(lambda: client.get("/workflows").json()[0]["active_version"] == 2, what="version 2", timeout_seconds=5)
    assert version(client, 2)["state"] == "ready"


def test_import_answers_422_for_what_sql_can_see(client: Api) -> None:
    answer = client.rpc("import_workflow", definition=workflow(log_step("a", config={"message": "{{ input. }}"})))
    assert (answer.status_code, answer.json()["code"]) == (422, "definition_invalid")
    assert '"expression_syntax"' in answer.json()["details"]
