"""Behind nginx and Caddy, as deploy/ sets them up: what comes from either side gets to the other as it is, at once."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api, make_token
from tests.support.database import Database, Tenant
from tests.support.engine import Hands, completed, dag, hands, import_workflow, start
from tests.support.proxies import PROXIES, Proxy
from tests.support.runner import wait_for
from tests.support.streams import Wanderer, stored, streaming
from tests.support.webhooks import Hooks, hook, signed

STEPS: list[dict[str, Any]] = [{"id": "one"}, {"id": "two", "depends_on": ["one"]}]


@pytest.fixture(scope="module")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("front") / "front.log"


@pytest.fixture(scope="module")
def front(start_front: Callable[..., Api], module_database: Database, module_api: Api, log_path: Path) -> Api:
    """The front itself."""
    return start_front(module_database.url("front"), log_path=log_path, FLOWGRES_API_URL=module_api.url)


@pytest.fixture(scope="module", params=list(PROXIES))
def proxy(
    request: pytest.FixtureRequest, front: Api, module_api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp(request.param)
    with Proxy(request.param, front=front.url, api=module_api.url, folder=folder) as proxy:
        yield proxy


@pytest.fixture
def member(proxy: Proxy, tenant: TenantKeys) -> Api:
    return Api(proxy.url).as_key(tenant.member)


@pytest.fixture
def execution_id(module_database: Database, tenant: TenantKeys) -> str:
    owner = Tenant(tenant.tenant_id, "", tenant.admin)
    with hands(module_database) as hand:
        hand.work()  # what other tests have left
    return start(module_database, owner, import_workflow(tenant.db, owner, dag("flow", STEPS)))


@pytest.fixture
def runner(module_database: Database) -> Iterator[Hands]:
    with hands(module_database) as hand:
        yield hand


def test_events_pass_one_by_one_as_they_happen(
    member: Api, execution_id: str, runner: Hands, tenant: TenantKeys
) -> None:
    with streaming(member, f"/executions/{execution_id}/stream") as stream:
        leases = runner.claim()
        again = runner.report([runner.result(leases[0], completed(1))], want=1)
        assert [event.name for event in stream.take(3)] == ["execution_started", "step_started", "step_completed"]
        runner.report([runner.result(again[0], completed(2))])
        rest = list(stream)

    assert rest[-1].name == "execution_completed"
    assert len(stored(tenant.db, execution_id)) == 3 + len(rest)


def test_comments_pass(
    proxy: Proxy,
    start_front: Callable[..., Api],
    module_database: Database,
    module_api: Api,
    tenant: TenantKeys,
    execution_id: str,
    tmp_path: Path,
) -> None:
    hasty = start_front(module_database.url("front"), FRONT_STREAM_HEARTBEAT="0.2")
    with Proxy(proxy.name, front=hasty.url, api=module_api.url, folder=tmp_path) as before:
        for path in (f"/executions/{execution_id}/stream", "/events/stream"):
            with streaming(Api(before.url).as_key(tenant.viewer), path) as stream:
                lines = (line for line in stream.response.iter_lines() if line.startswith(":"))
                assert list(itertools.islice(lines, 3)) == [": still here"] * 3


@pytest.mark.parametrize("path", ["/executions/{}/stream", "/events/stream"])
def test_client_that_goes_away_is_noticed_by_the_front(
    proxy: Proxy, member: Api, execution_id: str, log_path: Path, path: str
) -> None:
    def ended() -> int:
        return sum(f'"{path}"' in line and "request_served" in line for line in log_path.read_text().splitlines())

    path = path.format(execution_id)
    before = ended()
    with streaming(member, path):
        pass
    wait_for(lambda: ended() == before + 1, timeout_seconds=10, what="the end of the stream at the front")


def test_clients_that_come_and_go_have_each_event_once(
    member: Api, execution_id: str, runner: Hands, tenant: TenantKeys
) -> None:
    runner.work(lambda lease, step: completed(1, logs=[{"message": "größer 🐘"}] * 30))
    for seed in range(5):
        with Wanderer(member, f"/executions/{execution_id}/stream", seed=seed) as client:
            while client.come():
                pass
        assert [(int(event.id), event.name) for event in client.events] == stored(tenant.db, execution_id)


def test_call_that_waits_has_its_result(
    member: Api, execution_id: str, runner: Hands, module_database: Database, tenant: TenantKeys
) -> None:
    goes_on = member.request("POST", "/run/flow?wait=0.5", json={"input": {"a": 1}})
    assert goes_on.status_code == 202
    with streaming(member, goes_on.headers["location"]) as stream, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(member.request, "POST", "/run/flow?wait=25", json={"input": {"a": 2}})
        started = "select count(*) from flowgres.executions where tenant_id = %s"
        wait_for(lambda: tenant.db.value(started, tenant.tenant_id) == 3)
        runner.work()
        done = waiting.result()
        assert list(stream)[-1].name == "execution_completed"
    assert (done.status_code, done.json()["status"]) == (200, "completed")


@pytest.mark.parametrize("body", [b'{ "a":\t1.0, "b": "gr\xc3\xb6\xc3\x9fer"}\r\n', b"\r\n \x00\xff" * 50, b""])
def test_signatures_are_over_the_bytes_as_they_were_sent(
    proxy: Proxy, tenant: TenantKeys, hooks: Hooks, body: bytes
) -> None:
    behind = Hooks(Api(proxy.url), tenant.db, tenant_id=tenant.tenant_id, slug=hooks.slug, key=tenant.admin)
    (webhook,) = behind.import_(hook(scheme="standard"), secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    def send(url: str, content: Any, key: str, **headers: str) -> httpx.Response:
        given = signed("standard", body, secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", key=key, at=behind.now())
        return httpx.post(url + webhook["path"], content=content, headers={**given, **headers}, timeout=20)

    kind = {"Content-Type": "application/json"}
    direct = send(hooks.front.url, body, "direct", **kind)
    assert direct.status_code in (202, 400, 422)
    for content, key in ((body, "whole"), (iter([body[:7], body[7:]]), "in chunks")):
        answer = send(proxy.url, content, key.replace(" ", "-"), **kind)
        assert answer.status_code == direct.status_code, answer.text
        assert answer.headers["content-type"] == direct.headers["content-type"]
    assert send(proxy.url, gzip.compress(body), "x", **kind).status_code == 401


def test_what_is_too_large_is_413(proxy: Proxy, member: Api) -> None:
    for count in (1_500_000, 3_000_000):
        body = json.dumps({"input": {"a": "x" * count}})
        assert member.request("POST", "/run/flow", content=body).status_code == 413
        # Sent without its length.
        chunks = iter([body[:1_000_000].encode(), body[1_000_000:].encode()])
        assert member.request("POST", "/run/flow", content=chunks).status_code == 413


def test_what_is_for_this_machine_alone_does_not_get_through(proxy: Proxy, front: Api) -> None:
    assert front.get("/metrics").status_code == 200
    for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-For": ""}, {"Via": ""}):
        answer = Api(proxy.url, headers).get("/metrics")
        assert (answer.status_code, answer.json()["code"]) == (403, "metrics_closed"), headers


def test_postgrest_is_behind_api_and_the_front_at_the_root(proxy: Proxy, member: Api, execution_id: str) -> None:
    found = member.get("/api/executions", params={"select": "id,status"})
    assert found.json() == [{"id": execution_id, "status": "queued"}] or found.json()[0]["id"] == execution_id
    assert member.request("POST", "/api/rpc/get_execution", json={"execution_id": execution_id}).status_code == 200
    for path in ("/api/rpc/health", "/rpc/health"):
        assert member.request("POST", path, json={}).json()["engine"] == "flowgres"
    refused = Api(proxy.url).get("/api/executions")
    assert refused.status_code == 401
    redirect = member.request("GET", "/api")
    assert (redirect.status_code, redirect.headers["location"]) == (308, "/api/")
    assert member.get("/health").status_code in (200, 503)
    page = Api(proxy.url).get("/docs")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    assert Api(proxy.url).get("/openapi.json").json()["openapi"].startswith("3.1")


def test_tokens_and_keys_are_in_no_log(proxy: Proxy, tenant: TenantKeys, execution_id: str) -> None:
    token = make_token(role="viewer", tenant_id=tenant.tenant_id)
    path = f"/executions/{execution_id}/stream"
    with streaming(Api(proxy.url), path, access_token=token), streaming(Api(proxy.url).as_key(tenant.viewer), path):
        pass
    Api(proxy.url).get("/health")
    wait_for(lambda: path in proxy.log or proxy.name == "caddy", what="the line of the stream")
    assert token not in proxy.log
    assert tenant.viewer not in proxy.log
