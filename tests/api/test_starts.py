"""Rules and rates of starts over HTTP: statuses, codes, and when to come again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Database, Tenant
from tests.support.definitions import log_step, workflow


@pytest.fixture(scope="module")
def api(module_database: Database, module_api: Api) -> Api:
    """A tenant with a workflow for each rule."""
    tenant: Tenant = module_database.make_tenant("Starts")
    api = module_api.as_key(tenant.key)
    rules: dict[str, dict[str, Any]] = {
        "bounced": {"debounce": "1h"},
        "alone": {"singleton": "reject", "key": "$.k"},
        "shared": {"singleton": "return"},
        "spread": {"throttle": {"limit": 1, "per": "1h"}},
        "bounded": {"throttle": {"limit": 1, "per": "1h", "when_full": "reject"}},
        "plain": {},
    }
    with module_database.connect("runner") as runner:
        for name, rule in rules.items():
            settings = {"start": rule} if rule else {}
            answer = api.rpc("import_workflow", definition=workflow(log_step("a"), name=name, settings=settings))
            assert answer.status_code in (200, 201), answer.text
            runner.call("flowgres.confirm_version", p_version_id=answer.json()["version_id"], p_errors=[])
    return api


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("bounced", 200, None),
        ("shared", 200, None),
        ("spread", 201, None),
        ("alone", 409, "singleton_running"),
        ("bounded", 429, "start_throttled"),
    ],
)
def test_second_start_is_answered_by_the_rule(api: Api, name: str, status: int, code: str | None) -> None:
    first = api.rpc("start_execution", workflow=name)
    assert first.status_code == 201, first.text
    assert first.json()["created"]
    second = api.rpc("start_execution", workflow=name)
    assert second.status_code == status, second.text
    if code is None:
        assert second.json()["created"] == (status == 201)
        same = second.json()["execution_id"] == first.json()["execution_id"]
        assert same == (status == 200)
    else:
        assert second.json()["code"] == code
        assert second.json()["hint"]
    if status == 409:
        assert second.json()["details"] == first.json()["execution_id"]
    assert ("Retry-After" in second.headers) == (status == 429)
    if status == 429:
        assert 3590 <= int(second.headers["Retry-After"]) <= 3600


def test_start_beyond_the_rate_says_when_to_come_again(api: Api) -> None:
    assert api.rpc("set_setting", name="rate_limit_per_minute", value=0).status_code == 200
    try:
        many = api.rpc("start_executions", workflow="plain", inputs=[{}] * 3)
        assert api.rpc("set_setting", name="rate_limit_per_minute", value=100).status_code == 200
        for _ in range(100):
            last = api.rpc("start_execution", workflow="plain")
            if last.status_code != 201:
                break
        else:
            last = api.rpc("start_execution", workflow="plain")
    finally:
        api.rpc("set_setting", name="rate_limit_per_minute", value=None)
    assert (many.status_code, many.json()["code"]) == (429, "start_rate_exceeded")
    assert (last.status_code, last.json()["code"]) == (429, "start_rate_exceeded")
    assert 1 <= int(last.headers["Retry-After"]) <= 60


def test_description_of_the_api_tells_of_these_refusals(api: Api) -> None:
    description = api.get("/").text
    for code in ("singleton_running", "start_throttled", "start_rate_exceeded", "scheduled_at_refused"):
        assert code in description, code
