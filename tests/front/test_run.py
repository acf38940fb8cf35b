"""POST /run: a start that waits for its result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api, make_token
from tests.support.database import Database, Tenant
from tests.support.engine import Hands, completed, dag, failed, hands, import_workflow
from tests.support.runner import wait_for

Decide = Callable[[Any, str], dict[str, Any]]


@pytest.fixture
def workflow(tenant: TenantKeys) -> str:
    owner = Tenant(tenant.tenant_id, "", tenant.admin)
    return import_workflow(tenant.db, owner, dag("greet", [{"id": "only"}]))


@contextmanager
def working(database: Database, decide: Decide | None = None) -> Iterator[None]:
    """Somebody who runs what is ready, over and over."""
    is_done = threading.Event()

    def work(hand: Hands) -> None:
        while not is_done.is_set():
            hand.work(decide)
            time.sleep(0.005)

    with hands(database) as hand, ThreadPoolExecutor(1) as pool:
        task = pool.submit(work, hand)
        try:
            yield
        finally:
            is_done.set()
            task.result(10)


def test_run_answers_with_the_result(front: Api, tenant: TenantKeys, workflow: str, module_database: Database) -> None:
    with working(module_database, lambda lease, step: completed({"hello": step})):
        answer = front.as_key(tenant.member).request("POST", f"/run/{workflow}", json={"input": {"a": 1}})

    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "completed"
    assert body["output"] == {"only": {"hello": "only"}}
    assert tenant.db.value("select input from flowgres.executions where id = %s", body["execution_id"]) == {"a": 1}


def test_run_that_fails_is_no_result(front: Api, tenant: TenantKeys, workflow: str, module_database: Database) -> None:
    with working(module_database, lambda lease, step: failed("permanent")):
        answer = front.as_key(tenant.member).request("POST", f"/run/{workflow}", json={})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "execution_failed"
    assert answer.json()["error"]["code"] == "broken"
    status = "select status from flowgres.executions where id = %s"
    assert tenant.db.value(status, answer.json()["execution_id"]) == "failed"


def test_run_that_takes_longer_answers_with_its_id_and_goes_on(
    front: Api, tenant: TenantKeys, workflow: str, module_database: Database
) -> None:
    member = front.as_key(tenant.member)
    answer = member.request("POST", f"/run/{workflow}?wait=0.2", json={"idempotency_key": "k"})

    assert answer.status_code == 202
    execution_id = answer.json()["execution_id"]
    assert answer.headers["location"] == f"/executions/{execution_id}/stream"
    with working(module_database):
        again = member.request("POST", f"/run/{workflow}", json={"idempotency_key": "k"})
    assert (again.status_code, again.json()["execution_id"], again.json()["created"]) == (200, execution_id, False)


def test_key_that_has_outlived_its_execution_is_answered_at_once(
    front: Api, tenant: TenantKeys, workflow: str, module_database: Database
) -> None:
    member = front.as_key(tenant.member)
    with working(module_database):
        first = member.request("POST", f"/run/{workflow}", json={"idempotency_key": "old"}).json()
    delete = "select flowgres.delete_executions(p_tenant_id => %s, p_execution_ids => array[%s::uuid])"
    tenant.db.run(delete, tenant.tenant_id, first["execution_id"])
    # The client gives up long before the wait is over.
    answer = member.request("POST", f"/run/{workflow}?wait=300", json={"idempotency_key": "old"})
    assert (answer.status_code, answer.json()) == (
        202,
        {"execution_id": first["execution_id"], "status": "pruned", "created": False},
    )


def test_call_that_waits_holds_no_connection_of_the_database(
    front: Api, tenant: TenantKeys, workflow: str, module_database: Database
) -> None:
    count = 20
    busy = (
        "select count(*) from pg_stat_activity where datname = current_database() and usename = 'flowgres_front'"
        " and state <> 'idle'"
    )
    waiting = "select count(*) from flowgres.executions where tenant_id = %s and is_awaited"
    with ThreadPoolExecutor(count) as pool:
        calls = [
            pool.submit(front.as_key(tenant.member).request, "POST", f"/run/{workflow}?wait=20", json={})
            for _ in range(count)
        ]
        wait_for(lambda: tenant.db.value(waiting, tenant.tenant_id) == count, what="all calls")
        wait_for(lambda: tenant.db.value(busy) == 0, what="rest")
        with working(module_database):
            assert [call.result().status_code for call in calls] == [200] * count


def test_end_is_found_without_a_notification(
    start_front: Callable[..., Api], tenant: TenantKeys, workflow: str, module_database: Database
) -> None:
    tenant.db.run("create or replace function flowgres.tell_ends() returns void language plpgsql as $$ begin end; $$;")
    with working(module_database):
        front = start_front(module_database.url("front"))
        assert front.as_key(tenant.member).request("POST", f"/run/{workflow}", json={}).status_code == 200


def test_end_of_others_is_no_end_of_mine(
    front: Api, tenant: TenantKeys, workflow: str, module_database: Database
) -> None:
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(front.as_key(tenant.member).request, "POST", f"/run/{workflow}", json={})
        waiting = "select count(*)::int from flowgres.executions where tenant_id = %s and is_awaited"
        wait_for(lambda: tenant.db.value(waiting, tenant.tenant_id) == 1, what="the call")
        for _ in range(3):
            tenant.db.run("notify flowgres_ends")
            time.sleep(0.05)
        assert not call.done()
        with working(module_database):
            answer = call.result(30)
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")


def test_client_that_goes_away_leaves_the_execution_running(
    front: Api, tenant: TenantKeys, workflow: str, module_database: Database
) -> None:
    with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.5, headers={"X-API-Key": tenant.member}) as client:
        client.post(f"{front.url}/run/{workflow}", json={})

    with hands(module_database) as hand:
        hand.work()
    status = "select status from flowgres.executions where tenant_id = %s"
    assert tenant.db.column(status, tenant.tenant_id) == ["completed"]


def test_wait_ends_before_the_token_does(front: Api, tenant: TenantKeys, workflow: str) -> None:
    token = make_token(role="member", tenant_id=tenant.tenant_id, exp=int(time.time()) + 2)
    answer = front.as_token(token).request("POST", f"/run/{workflow}?wait=60", json={})
    assert answer.status_code == 202


@pytest.mark.parametrize("wait", ["-1", "301", "nan", "soon", ""])
def test_wait_that_is_none_is_refused_before_anything_starts(
    front: Api, tenant: TenantKeys, workflow: str, wait: str
) -> None:
    answer = front.as_key(tenant.member).request("POST", f"/run/{workflow}?wait={wait}", json={})

    assert (answer.status_code, answer.json()["code"]) == (400, "argument_invalid")
    assert tenant.db.value("select count(*) from flowgres.executions where tenant_id = %s", tenant.tenant_id) == 0


@pytest.mark.parametrize(
    ("prefer", "status"), [("wait=0", 202), ("respond-async, wait=0", 202), ("handling=lenient; wait=0", 202)]
)
def test_preference_says_how_long_to_wait(
    front: Api, tenant: TenantKeys, workflow: str, prefer: str, status: int
) -> None:
    answer = front.as_key(tenant.member).request("POST", f"/run/{workflow}", json={}, headers={"Prefer": prefer})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/run/nothing", {}, 404, "workflow_not_found"),
        ("/run/greet", {"inputs": {}}, 400, "argument_unknown"),
        ("/run/greet", {"version": "1"}, 400, "argument_invalid"),
        ("/run/greet", {"input": []}, 422, "input_invalid"),
    ],
)
def test_refusals_of_a_start_are_those_of_sql(
    front: Api, tenant: TenantKeys, workflow: str, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    answer = front.as_key(tenant.member).request("POST", path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_viewer_may_not_run(front: Api, tenant: TenantKeys, workflow: str) -> None:
    answer = front.as_key(tenant.viewer).request("POST", f"/run/{workflow}", json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")
