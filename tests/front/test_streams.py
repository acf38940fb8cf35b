"""Streams of executions: what was, then what comes, until the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database, Tenant
from tests.support.engine import Hands, completed, dag, failed, hands, import_workflow, start
from tests.support.streams import stored, streaming

TWO_STEPS: list[dict[str, Any]] = [{"id": "one"}, {"id": "two", "depends_on": ["one"]}]


@pytest.fixture
def started(module_database: Database, tenant: TenantKeys) -> Callable[..., str]:
    """Starts an execution of a workflow with these steps; nobody runs it."""

    def begin(*steps: dict[str, Any], name: str = "flow") -> str:
        owner = Tenant(tenant.tenant_id, "", tenant.admin)
        definition = dag(name, list(steps) or TWO_STEPS)
        return start(module_database, owner, import_workflow(tenant.db, owner, definition))

    return begin


@pytest.fixture
def runner(module_database: Database) -> Any:
    with hands(module_database) as hand:
        yield hand


def test_stream_of_an_ended_execution_has_all_its_events_and_ends(
    front: Api, tenant: TenantKeys, started: Callable[..., str], runner: Hands
) -> None:
    execution_id = started()
    runner.work()

    with streaming(front.as_key(tenant.viewer), f"/executions/{execution_id}/stream") as stream:
        events = list(stream)

    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.response.headers["x-accel-buffering"] == "no"
    assert [(int(event.id), event.name) for event in events] == stored(tenant.db, execution_id)
    assert [event.data["progress"] for event in events] == [0, 0, 50, 50, 99, 100]
    assert [event.data["steps_completed"] for event in events] == [0, 0, 1, 1, 2, 2]
    assert {"type", "execution_id", "step", "status", "steps_completed", "total_steps", "progress", "at"} <= set(
        events[0].data
    )
    assert events[-1].data["status"] == "completed"


def test_events_come_as_they_happen(front: Api, tenant: TenantKeys, started: Callable[..., str], runner: Hands) -> None:
    execution_id = started()
    with streaming(front.as_key(tenant.viewer), f"/executions/{execution_id}/stream") as stream:
        leases = runner.claim()
        again = runner.report([runner.result(leases[0], completed(1))], want=1)
        assert [event.name for event in stream.take(3)] == ["execution_started", "step_started", "step_completed"]
        runner.report([runner.result(again[0], failed("permanent"))])
        rest = list(stream)

    assert [event.name for event in rest] == ["step_started", "step_failed", "execution_failed"]
    assert rest[-1].data["status"] == "failed"
