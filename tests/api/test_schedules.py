"""Schedules over a real PostgREST: what a viewer reads, what a member does, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Clock, Database, Tenant
from tests.support.definitions import log_step, workflow

DEFINITION = workflow(
    log_step("a"), name="nightly", triggers=[{"type": "cron", "cron": "0 3 * * *", "timezone": "Europe/Berlin"}]
)
RANGE = {"since": "2026-05-01T00:00:00Z", "until": "2026-05-10T23:59:59Z"}


@pytest.fixture(scope="module")
def member(module_database: Database, module_api: Api, make_key: Callable[..., str]) -> Iterator[Api]:
    """A member whose tenant has one schedule, on the first of June."""
    tenant = module_database.make_tenant("Nightly")
    with module_database.connect() as db:
        Clock(db).set("2026-06-01T12:00:00Z")
        client = module_api.as_key(make_key(tenant, "member"))
        answer = client.rpc("import_workflow", definition=DEFINITION)
        assert [told["in_words"] for told in answer.json()["schedules"]] == ["at 03:00 every day, Europe/Berlin"]
        yield client


def row(client: Api) -> dict[str, Any]:
    (found,) = client.get("/schedules").json()
    return dict(found)


def test_view_tells_what_comes(member: Api) -> None:
    found = row(member)
    assert (found["workflow_name"], found["status"]) == ("nightly", "active")
    assert found["next_at"] == "2026-06-02T01:00:00+00:00"
    embedded = member.get("/schedules", params={"select": "cron,workflows(name)"}).json()
    assert embedded == [{"cron": "0 3 * * *", "workflows": {"name": "nightly"}}]


def test_preview_takes_a_name_an_id_or_an_expression(member: Api) -> None:
    by_name = member.rpc("preview_schedule", schedule="nightly").json()
    assert len(by_name["slots"]) == 10
    assert member.rpc("preview_schedule", schedule=row(member)["id"]).json() == by_name
    free = member.rpc("preview_schedule", cron="0 3 * * *", timezone="Europe/Berlin").json()
    assert free["slots"] == by_name["slots"]


def test_pause_and_resume(member: Api) -> None:
    assert member.rpc("pause_schedule", schedule="nightly").json()["status"] == "paused"
    assert row(member)["next_at"] is None
    assert member.rpc("resume_schedule", schedule="nightly").json()["next_at"] is not None
    assert row(member)["status"] == "active"


def test_trigger_and_backfill(member: Api) -> None:
    started = member.rpc("trigger_schedule", schedule="nightly")
    assert started.status_code == 201
    first = member.rpc("backfill_schedule", schedule="nightly", **RANGE).json()
    again = member.rpc("backfill_schedule", schedule="nightly", **RANGE).json()
    assert [(told["started"], told["passed_over"]) for told in (first, again)] == [(10, 0), (0, 10)]
    executions = member.get("/executions", params={"trigger_type": "eq.cron", "select": "created_by"}).json()
    assert len(executions) == 11
    assert all(found["created_by"].startswith("key:") for found in executions)
    refused = member.rpc("backfill_schedule", schedule="nightly", max=5, **RANGE)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_many_slots")
    assert refused.json()["details"] == "The last that would fit is 2026-05-05T01:00:00Z."


def test_what_is_no_expression_is_refused_at_the_import(member: Api) -> None:
    trigger = {"type": "cron", "cron": "0 0 31 2 *", "timezone": "CEST"}
    refused = member.rpc("import_workflow", definition=DEFINITION | {"triggers": [trigger]})
    assert refused.status_code == 422
    assert '"cron_invalid"' in refused.json()["details"]
    assert '"timezone_unknown"' in refused.json()["details"]
    assert member.rpc("preview_schedule", cron="@reboot").json()["code"] == "cron_invalid"


def test_viewer_reads_and_changes_nothing(
    member: Api, module_api: Api, module_database: Database, make_key: Callable[..., str]
) -> None:
    other: Tenant = module_database.make_tenant("Reader")
    viewer = module_api.as_key(make_key(other, "viewer"))
    assert viewer.rpc("preview_schedule", cron="@daily").status_code == 200
    for function in ("pause_schedule", "resume_schedule", "trigger_schedule"):
        assert viewer.rpc(function, schedule="nightly").status_code == 403
    assert viewer.rpc("backfill_schedule", schedule="nightly", **RANGE).status_code == 403
