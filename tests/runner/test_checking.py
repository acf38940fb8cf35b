"""Versions that came in by SQL: a real runner confirms them, and production goes on whatever it finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowgres_runner.database.connection import Link
from flowgres_runner.upkeep.checking import VersionChecker
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


# Each is well formed, and there is much of it: what SQL takes in a moment keeps a parser busy.
HEAVY = workflow(
    *[log_step(f"s{n}", config={"message": ["{{ " + " + ".join(["input.n"] * 40) + " }}"] * 20}) for n in range(48)]
)
CRON = {"type": "cron", "cron": "0 5 * * 1-5", "timezone": "Europe/Paris"}


@asynccontextmanager
async def checker(database: Database, **options: Any) -> AsyncIterator[VersionChecker]:
    link = Link(database.dsn("runner"), application_name="checker")
    checker = VersionChecker(link, on_work=lambda: None, **options)
    try:
        yield checker
    finally:
        await checker.close()
        await link.close()


async def test_version_that_takes_too_long_to_check_is_refused_and_the_next_is_checked(
    client: Api, database: Database
) -> None:
    client.rpc("import_workflow", definition=HEAVY)
    client.rpc("import_workflow", definition=workflow(log_step("a"), name="light", triggers=[CRON]))
    async with checker(database, cpu_seconds=0.3) as checks:
        assert [await checks.check_next() for _ in range(3)] == [True, True, False]
    found = {row["workflow_name"]: row for row in client.get("/workflow_versions").json()}
    assert (found["w"]["state"], [error["code"] for error in found["w"]["errors"]]) == ("invalid", ["check_limit"])
    # The time zone of a trigger is a file, which the process may read.
    assert (found["light"]["state"], found["light"]["errors"]) == ("ready", None)


async def test_two_runners_check_different_versions(client: Api, database: Database) -> None:
    for name in ("one", "two"):
        client.rpc("import_workflow", definition=workflow(log_step("a"), name=name))
    async with checker(database) as first, checker(database) as second:
        assert await first.check_next()
        assert await second.check_next()
        assert not await first.check_next()


def test_timers_fire_while_versions_are_checked(
    client: Api, database: Database, tenant: Tenant, runner: Runner
) -> None:
    delay = {"id": "wait", "type": "delay", "config": {"seconds": 1}}
    client.rpc("import_workflow", definition=workflow(delay, name="timer"))
    wait_for(lambda: version(client, 1)["state"] == "ready", what="the confirmation", timeout_seconds=5)
    for number in range(4):
        client.rpc("import_workflow", definition=HEAVY | {"name": f"heavy{number}"})
    execution_id = start(database, tenant, "timer")
    unchecked = "/workflow_versions?state=eq.checking"
    wait_for(lambda: get(database, tenant, execution_id)["status"] == "completed", what="the end", timeout_seconds=5)
    # They were under way all the time, one after the other.
    assert client.get(unchecked).json()
