"""GET /health: what stands, what does not go on, and the words for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flowgres_cli.stack.ports import free_port
from tests.support.api import Api
from tests.support.database import Clock, Database
from tests.support.definitions import log_step, workflow
from tests.support.engine import hands


def test_health_names_what_stands(front: Api) -> None:
    answer = front.get("/health")

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"  # no runner lives in this test
    assert answer.json()["database"] == "ok"
    assert answer.json()["postgrest"] == "not_configured"
    assert answer.json()["runners"] == 0
    components = answer.json()["components"]
    assert {name: part["status"] for name, part in components.items()} == {
        "database": "ok",
        "postgrest": "not_configured",
        "runners": "none",
        "listeners": "ok",
        "evaluators": "ok",
        "queue": "ok",
        "schedules": "ok",
        "slas": "ok",
        "changes": "ok",
        "history": "ok",
    }
    assert components["history"]["ahead_seconds"] > 86400
    assert [name for name, part in components.items() if "message" in part] == ["runners"]


@pytest.mark.parametrize(
    ("stats", "listeners", "evaluators"),
    [
        ({}, "ok", "ok"),
        ({"deaf_seconds": 14.9, "evaluators_died_lately": 9}, "ok", "ok"),
        ({"deaf_seconds": 15.1}, "deaf", "ok"),
        ({"evaluators_died_lately": 10}, "ok", "dying"),
        ({"is_without_evaluators": True, "evaluators_died_lately": 10}, "ok", "failing"),
        ({"deaf_seconds": "x", "evaluators_died_lately": {"a": 1}, "is_without_evaluators": 1}, "ok", "ok"),
    ],
)
def test_health_tells_how_the_parts_of_runners_are(
    start_front: Callable[..., Api], database: Database, stats: dict[str, Any], listeners: str, evaluators: str
) -> None:
    with hands(database) as runner:
        runner.db.call("flowgres.heartbeat", p_runner_id=runner.id, p_running=[], p_stats=stats)
        answer = start_front(database.url("front")).get("/health")
    components = answer.json()["components"]
    assert (components["listeners"]["status"], components["evaluators"]["status"]) == (listeners, evaluators)
    for name, status in (("listeners", listeners), ("evaluators", evaluators)):
        assert ("message" in components[name]) == (status != "ok")
    # Work goes on: a load balancer is to send more.
    assert (answer.status_code, answer.json()["status"]) == (
        200,
        "ok" if (listeners, evaluators) == ("ok", "ok") else "degraded",
    )


MACHINE = {"name": "kept", "states": [{"name": "new", "initial": True, "sla": {"after": "1h", "event": "kept.long"}}]}


def test_health_tells_what_does_not_go_on(start_front: Callable[..., Api], database: Database, clock: Clock) -> None:
    with database.as_role("admin", tenant_id=database.make_tenant().tenant_id) as admin:
        definition = workflow(log_step("a"), name="each", triggers=[{"type": "cron", "cron": "* * * * *"}])
        admin.call("flowgres_api.import_workflow", definition=definition)
        admin.call("flowgres_api.import_workflow", definition=MACHINE)
        admin.call("flowgres_api.start_workflow", workflow_name="kept", entity_table="orders", entity_id="1")
    clock.advance(seconds=400 * 86400)
    with hands(database):
        answer = start_front(database.url("front")).get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    components = answer.json()["components"]
    assert components["runners"] == {"status": "ok", "live": 1}
    assert components["schedules"]["status"] == "late"
    assert components["schedules"]["lag_seconds"] > 86400
    assert components["slas"]["status"] == "late"
    assert components["slas"]["lag_seconds"] > 86400
    assert components["history"]["status"] == "period_missing"


def test_health_is_503_without_postgrest(start_front: Callable[..., Api], module_database: Database) -> None:
    front = start_front(module_database.url("front"), FLOWGRES_API_URL=f"http://127.0.0.1:{free_port()}")

    answer = front.get("/health")

    assert answer.status_code == 503
    assert answer.json()["postgrest"] == "unreachable"
    assert answer.json()["database"] == "ok"


def test_health_is_well_with_postgrest(
    start_front: Callable[..., Api], module_database: Database, module_api: Api
) -> None:
    front = start_front(module_database.url("front"), FLOWGRES_API_URL=module_api.url)

    assert front.get("/health").json()["postgrest"] == "ok"
