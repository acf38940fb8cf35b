"""Approvals as a real runner asks for them, reminds of them, and goes on; heard by a receiver that verifies."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, get, import_workflow, start, statuses
from tests.support.notifications import Notifications, verify
from tests.support.peers import Peer
from tests.support.runner import Runner, wait_for

PAGE = Path(__file__).parents[2] / "runner/flowgres_definitions/APPROVALS.md"
PAGE_MESSAGE = json.loads(re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[-1])


async def until(condition: Any, what: str) -> None:
    await asyncio.to_thread(wait_for, condition, timeout_seconds=30, what=what)


async def test_receiver_hears_that_people_are_asked_and_that_they_have_not_decided(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Runner, clock: Clock
) -> None:
    config = {
        "title": "Pay {{ input.amount }} EUR?",
        "message": "For {{ input.who }}.",
        "role": "manager",
        "approvers": ["{{ input.who }}"],
        "form": {"amount": {"type": "number", "default": "{{ input.amount }}"}},
        "quorum": "{{ 1 + 0 }}",
        "remind": "1d",
    }
    late = {"output": {"decision": "rejected", "notes": "nobody came for {{ input.who }}"}}
    ask = {"id": "ask", "type": "approval", "config": config, "timeout": "3d", "on_timeout": late}
    import_workflow(db, tenant, dag("w", [ask], outputs={"said": "{{ steps.ask.output }}"}))

    def heard(count: int) -> Any:
        return lambda: len([row for row in notifications.deliveries() if row["status"] == "delivered"]) >= count

    async with Peer() as peer:
        notifications.set(url=f"{peer.url}/echo", events=["waiting_for_approval", "approval_reminder", "completed"])
        execution = start(database, tenant, "w", input={"amount": 450, "who": "ann"})
        await until(heard(1), "the first message")
        clock.advance(seconds=86401)
        await until(heard(2), "the reminder")
        clock.advance(seconds=2 * 86400)
        await until(lambda: get(database, tenant, execution)["status"] == "completed", "the end of the time")
        await until(heard(3), "the end")
        messages = sorted((verify(request) for request in peer.requests), key=lambda one: one["timestamp"])
    first, reminder, end = messages[0], messages[1], messages[-1]
    assert [one["type"] for one in (first, reminder, end)] == [
        "execution.waiting_for_approval", "execution.approval_reminder", "execution.completed",
    ]  # fmt: skip
    asked = first["data"]["approval"]
    assert first["data"]["execution_id"] == execution
    assert (asked["title"], asked["message"], asked["roles"]) == ("Pay 450 EUR?", "For ann.", ["manager"])
    assert (asked["approvers"], asked["form"]["amount"]["default"]) == (["ann"], 450)
    assert asked.keys() == PAGE_MESSAGE["data"]["approval"].keys()
    assert first["data"].keys() == PAGE_MESSAGE["data"].keys()
    assert first.keys() == PAGE_MESSAGE.keys()
    assert end["data"]["output"] == {"said": {"decision": "rejected", "notes": "nobody came for ann"}}
    row = db.one("select * from flowgres_api.approvals where tenant_id = %s", tenant.tenant_id)
    assert row["status"] == "timed_out"


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"quorum": "{{ input.n }}"}, "config_invalid"),
        ({"approvers": "{{ input.people }}", "quorum": 3}, "config_invalid"),
        ({"approvers": "{{ input.people }}", "quorum": 2}, None),
        ({"role": "{{ input.people }}"}, None),
        ({"approvers": "{{ input.n }}"}, "config_invalid"),
    ],
)
def test_what_expressions_give_is_checked_before_anybody_is_asked(
    config: dict[str, Any], code: str | None, database: Database, tenant: Tenant, db: Db, runner: Runner
) -> None:
    import_workflow(db, tenant, dag("w", [{"id": "ask", "type": "approval", "config": config}]))
    execution = start(database, tenant, "w", input={"n": 0, "people": ["ann", "bob"]})
    wanted = ("waiting",) if code is None else ("failed",)
    wait_for(lambda: get(database, tenant, execution)["status"] in wanted, what="the step")
    found = get(database, tenant, execution)
    if code is None:
        assert statuses(found) == {"ask": "waiting"}
    else:
        assert found["error"]["code"] == code
        assert db.value("select count(*) from flowgres.approvals") == 0
    assert_invariants(db, drained=False)
