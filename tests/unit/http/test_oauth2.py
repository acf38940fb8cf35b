"""OAuth2 client credentials: tokens fetched once, kept, replaced when refused, told nowhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flowgres_runner.http import Client, EgressPolicy, tokens
from flowgres_runner.http.recording import Recorder, current_recorder
from flowgres_runner.json_values import Json
from flowgres_runner.steps.base import Completed, Failed, Outcome
from flowgres_runner.steps.http import HttpStep
from tests.support.oauth import OAuthServer
from tests.support.peers import Peer
from tests.unit.http.tasks import error_of, make_task, output_of


@pytest.fixture
def server() -> OAuthServer:
    return OAuthServer()


@pytest.fixture
async def peer(server: OAuthServer) -> AsyncIterator[Peer]:
    async with Peer(behaviour=server) as peer:
        yield peer


@pytest.fixture
def step(client: Client) -> HttpStep:
    return HttpStep(client)


def auth(peer: Peer, **more: Any) -> dict[str, Json]:
    return {
        "type": "oauth2", "token_url": f"{peer.url}/token", "client_id": "shop", "client_secret": "hunter2/ü secret",
    } | more  # fmt: skip


async def call(step: HttpStep, peer: Peer, tenant_id: str = "t1", path: str = "/api", **more: Any) -> Outcome:
    task = make_task(url=f"{peer.url}{path}", auth=auth(peer, **more), secret_values=("hunter2/ü secret",))
    task.tenant_id = tenant_id
    return await step.run(task)


@pytest.mark.parametrize("how", ["basic", "body"])
async def test_token_is_asked_for_and_sent(step: HttpStep, server: OAuthServer, peer: Peer, how: str) -> None:
    outcome = await call(step, peer, scope="read write", audience="https://api", client_authentication=how)
    assert output_of(outcome)["status"] == 200
    assert server.asked == [
        {"client": "shop", "grant_type": "client_credentials", "scope": "read write", "audience": "https://api"}
    ]


async def test_fifty_steps_at_once_fetch_one_token(step: HttpStep, server: OAuthServer, peer: Peer) -> None:
    server.delay_seconds = 0.05
    outcomes = await asyncio.gather(*(call(step, peer) for _ in range(50)))
    assert [output_of(outcome)["status"] for outcome in outcomes] == [200] * 50
    await call(step, peer)
    assert len(server.given) == 1


async def test_token_is_nowhere_in_what_is_kept(step: HttpStep, server: OAuthServer, peer: Peer) -> None:
    recorder = Recorder()
    reset = current_recorder.set(recorder)
    outcome = await call(step, peer)
    current_recorder.reset(reset)
    said = json.dumps([output_of(outcome), recorder.told()])
    assert server.given[0] not in said
    assert "hunter2" not in said
    assert "/token" not in said
    assert "Bearer ***" in said


async def test_token_that_names_a_secret_is_sent_as_it_is(step: HttpStep, server: OAuthServer, peer: Peer) -> None:
    server.client_id = "client-of-the-shop"
    task = make_task(
        url=f"{peer.url}/api", auth=auth(peer, client_id=server.client_id), secret_values=(server.client_id,)
    )
    assert output_of(await step.run(task))["status"] == 200


@pytest.mark.parametrize(
    "other",
    [{"tenant_id": "t2"}, {"scope": "read"}, {"audience": "a"}, {"client_authentication": "body"}],
)
async def test_token_is_shared_only_with_those_who_ask_for_the_same(
    step: HttpStep, server: OAuthServer, peer: Peer, other: dict[str, Any]
) -> None:
    await call(step, peer)
    await call(step, peer, **other)
    assert len(server.given) == 2


async def test_who_has_another_secret_gets_no_token_of_the_first(
    step: HttpStep, server: OAuthServer, peer: Peer
) -> None:
    await call(step, peer)
    error = error_of(await call(step, peer, client_secret="guessed-it"))
    assert (error.code, error.error_class) == ("oauth2_failed", "http_status")
    assert error.message == "no token: the token endpoint answered 401: invalid_client"
    assert error.details == {"status": 401, "error": "invalid_client", "error_description": "not ***"}


async def test_token_that_was_kept_and_is_refused_is_replaced_once(
    step: HttpStep, server: OAuthServer, peer: Peer
) -> None:
    await call(step, peer)
    server.valid.clear()
    assert output_of(await call(step, peer))["status"] == 200
    assert len(server.given) == 2
    server.is_open, server.valid = False, set()
    assert error_of(await call(step, peer)).code == "http_status"
    assert len(server.given) == 3


async def test_new_token_that_is_refused_is_not_asked_for_again(
    step: HttpStep, server: OAuthServer, peer: Peer
) -> None:
    server.is_open = False
    assert error_of(await call(step, peer)).code == "http_status"
    assert len(server.given) == 1


@pytest.mark.parametrize(
    ("expires_in", "fetched"), [(3600, 1), ("3600", 1), (None, 1), (0, 2), (-5, 2), ("soon", 1), (1e400, 1)]
)
async def test_token_is_kept_as_long_as_its_server_says(
    step: HttpStep, server: OAuthServer, peer: Peer, expires_in: object, fetched: int
) -> None:
    server.expires_in = expires_in
    await call(step, peer)
    await call(step, peer)
    assert len(server.given) == fetched


async def test_token_is_replaced_before_it_expires(
    step: HttpStep, server: OAuthServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MARGIN_SECONDS", 3600)
    server.expires_in = 0.02
    await call(step, peer)
    await asyncio.sleep(0.02)
    await call(step, peer)
    assert len(server.given) == 2


@pytest.mark.parametrize(
    ("status", "body", "error_class", "words"),
    [
        (400, b'{"error":"invalid_scope"}', "http_status", "answered 400: invalid_scope"),
        (400, b'{"error":"a b\\u0000<>"}', "http_status", "answered 400"),
        (429, b"slow down", "429", "answered 429"),
        (503, b"<html>", "5xx", "answered 503"),
        (302, b"", "http_status", "answered 302"),
        (200, b"{}", "validation", "no access_token"),
        (200, b'{"access_token":"a\\r\\nX: b"}', "validation", "no access_token"),
        (200, b'{"access_token":"abc","token_type":"mac"}', "validation", "no bearer"),
        (200, b"[", "validation", "no access_token"),
        (200, b" " * 70_000, "validation", "larger than 65536"),
    ],
)
async def test_trouble_with_the_token_endpoint_is_told(
    step: HttpStep, server: OAuthServer, peer: Peer, status: int, body: bytes, error_class: str, words: str
) -> None:
    server.refusal = (status, body)
    error = error_of(await call(step, peer))
    assert (error.code, error.error_class) == ("oauth2_failed", error_class)
    assert words in error.message
    assert error.retry_after_seconds == (None if status == 200 else 7)


async def test_token_endpoint_is_called_under_the_guard_and_the_deadline(server: OAuthServer, peer: Peer) -> None:
    async with Client(policy=EgressPolicy()) as guarded:
        error = error_of(await call(HttpStep(guarded), peer))
    assert (error.code, "refused to connect" in error.message) == ("oauth2_failed", True)
    server.delay_seconds = 60
    async with Client(policy=EgressPolicy(allowed_hosts=["127.0.0.1"])) as client:
        step = HttpStep(client)
        task = make_task(url=f"{peer.url}/api", auth=auth(peer), timeout_seconds=0.05)
        error = error_of(await step.run(task))
        assert (error.code, error.error_class) == ("oauth2_failed", "timeout")
        assert not step._tokens._coming


async def test_who_leaves_takes_the_token_from_nobody(step: HttpStep, server: OAuthServer, peer: Peer) -> None:
    server.delay_seconds = 0.1
    first = asyncio.create_task(call(step, peer))
    second = asyncio.create_task(call(step, peer))
    await asyncio.sleep(0.03)
    first.cancel()
    assert isinstance(await second, Completed)
    assert len(server.asked) == 1


async def test_tokens_of_one_tenant_are_bounded(
    step: HttpStep, server: OAuthServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_TENANT_TOKENS", 2)
    await call(step, peer, tenant_id="other")
    for scope in "abc":
        await call(step, peer, scope=scope)
    assert len(step._tokens._tokens) == 3
    await call(step, peer, tenant_id="other")
    await call(step, peer, scope="c")
    assert len(server.given) == 4
    await call(step, peer, scope="a")
    assert len(server.given) == 5


async def test_own_authorization_beside_oauth2_is_refused(step: HttpStep, peer: Peer) -> None:
    outcome = await step.run(make_task(url=peer.url, auth=auth(peer), headers={"authorization": "x"}))
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "config_invalid"
