"""Deliveries by a real runner, heard by receivers that verify with the reference library."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.behaviours import Received, answer
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, get, import_workflow, start
from tests.support.notifications import SIGNING_SECRET, Notifications, verify
from tests.support.peers import Peer
from tests.support.runner import Runner, wait_for

StartRunner = Callable[..., Runner]


PAGE = Path(__file__).parents[2] / "runner/flowgres_definitions/NOTIFICATIONS.md"
PAGE_MESSAGE = re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[0]


def page_members(data: dict[str, Any]) -> set[str]:
    """Of a message, without what this one need not have."""
    return data.keys() - {"correlation_id"}


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_for, condition, timeout_seconds=30, what=what)


def a_status(notifications: Notifications, *statuses: str) -> Callable[[], bool]:
    return lambda: sorted(row["status"] for row in notifications.deliveries()) == sorted(statuses)


async def test_receiver_hears_signed_messages_of_what_ended(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Runner
) -> None:
    async with Peer() as peer:
        notifications.set(url=f"{peer.url}/echo")
        broken = {"url": f"{peer.url}/status/500"}
        import_workflow(db, tenant, dag("good", [{"id": "a"}]))
        import_workflow(db, tenant, dag("bad", [{"id": "a", "type": "http", "config": broken, "retry": 1}]))
        good, bad = start(database, tenant, "good"), start(database, tenant, "bad")
        await until(a_status(notifications, "delivered", "delivered"), "both")
        heard = {m["data"]["execution_id"]: m for m in map(verify, (r for r in peer.requests if r.path == "/echo"))}
    assert page_members(heard[bad]["data"]) == page_members(json.loads(PAGE_MESSAGE)["data"])
    assert (heard[good]["type"], heard[bad]["type"]) == ("execution.completed", "execution.failed")
    assert heard[good]["data"]["output"] == get(database, tenant, good)["output"]
    assert_invariants(db)


async def test_every_attempt_has_the_same_id_and_body_and_a_signature_of_its_own(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Runner, clock: Clock
) -> None:
    async def stubborn(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status=500 if len(peer.requests) < 3 else 204))

    async with Peer(behaviour=stubborn) as peer:
        notifications.set(url=peer.url)
        import_workflow(db, tenant, dag("w", [{"id": "a"}]))
        start(database, tenant, "w")
        for attempt in (1, 2):
            await until(lambda n=attempt: len(peer.requests) >= n, f"attempt {attempt}")  # type: ignore[misc]
            await until(lambda: notifications.deliveries()[0]["next_attempt_at"], "the next one")
            clock.advance(seconds=3600)
        await until(a_status(notifications, "delivered"), "the third")
        assert len({r.body for r in peer.requests}) == 1
        (row,) = notifications.deliveries()
        assert {r.headers["webhook-id"] for r in peer.requests} == {str(row["message_id"])}
        assert row["attempts"] == len([verify(r) for r in peer.requests]) == 3


async def test_redirects_are_not_followed_and_private_networks_not_reached(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, start_runner: StartRunner
) -> None:
    async with Peer() as peer:
        notifications.set("moved", url=f"{peer.url}/redirect?to={peer.url}/echo")
        import_workflow(db, tenant, dag("w", [{"id": "a"}]))
        runner = start_runner()
        start(database, tenant, "w")
        await until(lambda: notifications.deliveries() and notifications.deliveries()[0]["last_error"], "a refusal")
        assert [r.path for r in peer.requests] == ["/redirect"]
        runner.stop()
        notifications.call("delete", name="moved")
        notifications.set("inside", url=f"{peer.url}/echo")
        start_runner(HTTP_ALLOW_PRIVATE_NETWORKS="false")
        start(database, tenant, "w")
        await until(a_status(notifications, "cancelled", "given_up"), "the guard")
        assert [r.path for r in peer.requests] == ["/redirect"]
    assert notifications.deliveries()[-1]["last_error"]["code"] == "ssrf_blocked"


async def test_receiver_that_is_gone_is_told_no_more(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Runner
) -> None:
    async with Peer() as peer:
        notifications.set(url=f"{peer.url}/status/410")
        import_workflow(db, tenant, dag("w", [{"id": "a"}]))
        start(database, tenant, "w")
        await until(a_status(notifications, "given_up"), "the answer")
    assert notifications.rows()[0]["disabled_reason"] == "gone"


async def test_killed_runner_loses_no_delivery(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, start_runner: StartRunner
) -> None:
    async def late(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        if len(peer.requests) == 1:
            await asyncio.sleep(60)
        writer.write(answer(status=204))

    async with Peer(behaviour=late) as peer:
        notifications.set(url=peer.url)
        import_workflow(db, tenant, dag("w", [{"id": "a"}]))
        start(database, tenant, "w")
        runner = start_runner()
        await until(lambda: peer.requests, "the first attempt")
        runner.kill()
        start_runner()
        await until(a_status(notifications, "delivered"), "the second attempt")
        assert len({verify(r)["data"]["execution_id"] for r in peer.requests}) == 1
        assert len({r.headers["webhook-id"] for r in peer.requests}) == 1


async def test_receiver_that_hangs_holds_up_no_other_tenant(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, start_runner: StartRunner
) -> None:
    other = database.make_tenant("Other")
    async with Peer() as peer:
        notifications.set(url=f"{peer.url}/hang")
        import_workflow(db, tenant, dag("w", [{"id": "a"}]))
        import_workflow(db, other, dag("w", [{"id": "a"}]))
        for _ in range(40):
            start(database, tenant, "w")
        start_runner(RUNNER_CONCURRENCY="8")
        await until(lambda: len(peer.requests) >= 4, "requests that hang")
        # Eight hands for forty deliveries, each as long as its timeout: the other's turn comes all the same.
        for _ in range(10):
            start(database, other, "w")
        done = "select count(*) = 10 from flowgres.executions where tenant_id = %s and status = 'completed'"
        await until(lambda: db.value(done, other.tenant_id), "the other's executions")
        assert {row["status"] for row in notifications.deliveries()} == {"pending"}


async def test_http_steps_sign_what_they_send(
    notifications: Notifications, database: Database, tenant: Tenant, db: Db, runner: Runner
) -> None:
    async with Peer() as peer:
        sign: dict[str, Any] = {"secret": "{{ secrets.HOOK }}"}
        config = {"method": "POST", "url": f"{peer.url}/echo", "json": {"n": "{{ input.n }}"}, "sign": sign}
        named = {"method": "POST", "url": f"{peer.url}/echo", "body": "as it is", "sign": sign | {"id": "order-7"}}
        steps = [{"id": "a", "type": "http", "config": config}, {"id": "b", "type": "http", "config": named}]
        import_workflow(db, tenant, dag("w", steps))
        id_ = start(database, tenant, "w", input={"n": 7})
        await until(lambda: get(database, tenant, id_)["status"] == "completed", "the end")
        for request in peer.requests:
            if request.headers["webhook-id"] != "order-7":
                assert verify(request) == {"n": 7}
        assert {r.headers["webhook-id"] for r in peer.requests} == {f"{id_}/a", "order-7"}
    assert SIGNING_SECRET not in str(db.all("select * from flowgres.attempts"))
