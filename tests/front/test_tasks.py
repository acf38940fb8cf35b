"""GET /tasks: workers that wait for a task, and keys that may do nothing else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api, make_token
from tests.support.database import Database, Tenant
from tests.support.engine import hands
from tests.support.runner import wait_for
from tests.support.tasks import Workers


@pytest.fixture
def workers(tenant: TenantKeys, module_database: Database) -> Iterator[Workers]:
    with hands(module_database) as runner:
        yield Workers(module_database, tenant.db, runner, Tenant(tenant.tenant_id, "", tenant.admin))


def poll(front: Api, key: str, **query: Any) -> Any:
    given = {"worker": "w", **query}
    answer = front.as_key(key).request("GET", f"/tasks/{given.pop('queue', 'mail')}", params=given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_task_that_is_there_is_claimed_at_once(front: Api, tenant: TenantKeys, workers: Workers) -> None:
    execution = workers.start(payload={"n": 1})
    [task] = poll(front, tenant.member, wait=20, lease_seconds=300)
    assert (task["execution_id"], task["payload"], task["attempt"]) == (execution, {"n": 1}, 1)
    workers.complete(task, "done")
    assert workers.run() == ["ask", "after"]


def test_poll_ends_with_nothing_when_nothing_comes(front: Api, tenant: TenantKeys, workers: Workers) -> None:
    workers.start(queue="print")
    assert poll(front, tenant.member, wait=0) == []
    assert poll(front, tenant.member, wait=0.3) == []


def test_one_who_waits_has_the_task_as_soon_as_it_is_there(front: Api, tenant: TenantKeys, workers: Workers) -> None:
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(poll, front, tenant.member, worker=f"w{number}", wait=30) for number in range(3)]
        is_watched = "select count(*) from pg_stat_activity where application_name = 'flowgres-front watch'"
        wait_for(lambda: tenant.db.value(is_watched) > 0, what="somebody to look for tasks")
        began = time.monotonic()
        executions = {workers.start() for _ in range(3)}
        got = [task["execution_id"] for one in waiting for task in one.result(20)]
    assert (len(got), set(got)) == (3, executions)
    assert time.monotonic() - began < 15


def test_client_that_goes_away_during_its_claim_holds_no_task(
    front: Api, tenant: TenantKeys, workers: Workers, module_database: Database
) -> None:
    execution = workers.start()
    place = urlsplit(front.url)
    head = f"GET /tasks/mail?worker=gone&wait=30 HTTP/1.1\r\nHost: x\r\nX-API-Key: {tenant.member}\r\n\r\n"
    blocked = (
        "select count(*) from pg_stat_activity where usename = 'flowgres_front' and wait_event_type = 'Lock'"
        " and datname = current_database()"
    )
    with module_database.connect() as holder, holder.connection.transaction():
        holder.run("select from flowgres.executions where id = %s for update", execution)
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(head.encode())
            wait_for(lambda: tenant.db.value(blocked) == 1, what="its claim")
    is_back = "select token from flowgres.work_queue where execution_id = %s and waits_for = 'worker:mail'"
    wait_for(lambda: tenant.db.column(is_back, execution) == [2], what="the task to be given back")
    [task] = poll(front, tenant.member, worker="there", wait=20)
    assert (task["execution_id"], task["attempt"]) == (execution, 1)


@pytest.fixture
def worker_key(module_api: Api, tenant: TenantKeys) -> str:
    made = module_api.as_key(tenant.admin).rpc("create_api_key", name="mailer", role="worker", queues=["mail"])
    assert made.status_code == 201, made.text
    assert made.json()["roles"] == ["queue:mail"]
    return str(made.json()["api_key"])


def test_key_of_a_worker_serves_its_queues_and_no_other(
    front: Api, module_api: Api, workers: Workers, worker_key: str
) -> None:
    workers.start()
    workers.start(queue="print")
    [task] = poll(front, worker_key, wait=5)
    as_worker = module_api.as_key(worker_key)
    refused = as_worker.rpc("claim_tasks", queue="print", worker="w")
    assert (refused.status_code, refused.json()["code"]) == (403, "queue_not_served")
    [other] = workers.claim(queue="print")
    stolen = as_worker.rpc("complete_task", task_id=other["task_id"], token=other["token"])
    assert (stolen.status_code, stolen.json()["code"]) == (403, "queue_not_served")
    kept = as_worker.rpc("extend_task", task_id=task["task_id"], token=task["token"], progress=0.5)
    assert (kept.status_code, kept.json()["progress"]) == (200, 0.5)
    failed = as_worker.rpc("fail_task", task_id=task["task_id"], token=task["token"], error="no", retry=False)
    assert (failed.status_code, failed.json()["status"]) == (200, "failed")


def test_token_of_a_workers_key_serves_the_same(front: Api, workers: Workers, worker_key: str) -> None:
    workers.start()
    token = front.as_key(worker_key).request("POST", "/token").json()
    assert token["role"] == "worker"
    as_token = front.as_token(token["access_token"])
    assert len(as_token.request("GET", "/tasks/mail", params={"worker": "w", "wait": 5}).json()) == 1
    assert as_token.request("GET", "/tasks/print", params={"worker": "w"}).json()["code"] == "queue_not_served"


def test_token_of_a_worker_without_queues_serves_none(front: Api, tenant: TenantKeys) -> None:
    token = make_token(tenant_id=tenant.tenant_id, role="worker")
    answer = front.as_token(token).request("GET", "/tasks/mail", params={"worker": "w"})
    assert answer.json()["code"] == "queue_not_served"


def test_key_of_a_worker_may_do_nothing_else(module_api: Api, front: Api, tenant: TenantKeys, worker_key: str) -> None:
    as_worker = module_api.as_key(worker_key)
    tasks = {"claim_tasks", "extend_task", "complete_task", "fail_task"}
    names = tenant.db.column(
        "select distinct p.proname::text from pg_proc as p where p.pronamespace = 'flowgres_api'::regnamespace"
    )
    allowed = {name for name in names if as_worker.request("POST", f"/rpc/{name}", json={}).status_code != 403}
    callable_names = tenant.db.column(
        "select p.proname::text from pg_proc as p where p.pronamespace = 'flowgres_api'::regnamespace"
        " and has_function_privilege('flowgres_worker', p.oid, 'execute')"
    )
    assert set(callable_names) == tasks
    assert tasks <= allowed
    assert {name for name in allowed - tasks if as_worker.rpc(name).status_code < 300} == set()
    views = tenant.db.column("select viewname::text from pg_views where schemaname = 'flowgres_api'")
    assert {as_worker.get(f"/{view}").status_code for view in views} == {403}
    for method, path in (("POST", "/run/x"), ("POST", "/workflows"), ("PUT", "/secrets/A"), ("GET", "/stream")):
        body = {} if path == "/run/x" else {"value": "a-longer-one"}
        answer = front.as_key(worker_key).request(method, path, json=body)
        assert answer.status_code in (403, 404, 405, 415), (path, answer.text)


def test_worker_reads_and_writes_no_table_itself(tenant: TenantKeys) -> None:
    rights = tenant.db.all(
        "select c.oid::regclass::text, p.name from pg_class as c"
        " cross join (values ('select'), ('insert'), ('update'), ('delete')) as p (name)"
        " where c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace)"
        " and c.relkind in ('r', 'p', 'v') and has_table_privilege('flowgres_worker', c.oid, p.name)"
    )
    assert rights == []


@pytest.mark.parametrize(
    "given",
    [
        {"role": "worker"},
        {"role": "member", "queues": ["mail"]},
        {"role": "worker", "queues": ["Mail"]},
        {"role": "worker", "queues": ["mail"], "roles": ["manager"]},
    ],
)
def test_key_of_a_worker_has_queues_and_no_other_key_has(
    module_api: Api, tenant: TenantKeys, given: dict[str, Any]
) -> None:
    refused = module_api.as_key(tenant.admin).rpc("create_api_key", name="a", **given)
    assert (refused.status_code, refused.json()["code"]) == (400, "argument_invalid")


@pytest.mark.parametrize("query", [{"wait": "61"}, {"wait": "x"}, {"limit": "1.5"}, {"limit": "0"}, {"worker": ""}])
def test_query_that_is_wrong_is_refused(front: Api, tenant: TenantKeys, query: dict[str, str]) -> None:
    answer = front.as_key(tenant.member).request("GET", "/tasks/mail", params={"worker": "w", **query})
    assert (answer.status_code, answer.json()["code"]) == (400, "argument_invalid")
