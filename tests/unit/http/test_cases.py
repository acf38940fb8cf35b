"""Every case of the kinds url, header and http_peer, against real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flowgres_runner.http import Client, EgressPolicy
from flowgres_runner.steps.http import HttpStep
from tests.support.behaviours import BEHAVIOURS, answer
from tests.support.peers import Listener, Peer, blackhole
from tests.unit.http.tasks import make_task, output_of, run_attempts, word_for

CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "cases" / "cases.jsonl").read_text().splitlines()
    if line.strip()
]
ALLOWED = "127.0.0.2"
"""An address of loopback that the policy of the url cases lists; the canary is on 127.0.0.1."""
API_KEY = "sk-live-OPEN-51"
TIMEOUT_SECONDS = 0.3


def cases(kind: str) -> list[Any]:
    return [pytest.param(case["input"], case["expectation"], id=case["id"]) for case in CASES if case["kind"] == kind]


def rendered(text: str) -> str:
    environment = ImmutableSandboxedEnvironment()
    return environment.from_string(text).render(secrets={"API_KEY": API_KEY}) if "{{" in text else text


class StubDns:
    """Successive answers for one name; an allowed address is answered with the port of the peer."""

    def __init__(self, answers: Sequence[Sequence[str]], peer: Peer) -> None:
        self._answers = list(answers)
        self._peer = peer

    async def __call__(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        if not self._answers:
            raise OSError("no such name")
        addresses = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [(ALLOWED, self._peer.port) if item == "{allowed}" else (item, port) for item in addresses]


@pytest.mark.parametrize(("given", "expected"), cases("url"))
async def test_url_case(given: dict[str, Any], expected: dict[str, Any]) -> None:
    # The least of three: a machine that does something else must not fail it.
    for _ in range(3):
        if await _ask(given, expected) <= expected.get("max_ms", 2000):
            return
    pytest.fail(f"it took more than {expected.get('max_ms', 2000)} ms, three times")


async def _ask(given: dict[str, Any], expected: dict[str, Any]) -> float:
    """Ask once, as the case says; the milliseconds that it took."""
    async with AsyncExitStack() as stack:
        canary = await stack.enter_async_context(Listener(also_ipv6=True))
        peer = await stack.enter_async_context(Peer(host=ALLOWED))
        if "responses" in given:
            (response,) = given["responses"]
            location = response["location"].replace("{canary}", str(canary.port))

            async def redirect(peer: Peer, request: Any, writer: asyncio.StreamWriter) -> None:
                writer.write(answer(status=response["status"], headers={"Location": location}))

            peer.behaviour = redirect
        client = await stack.enter_async_context(
            Client(policy=EgressPolicy(allowed_hosts=[ALLOWED]), resolve=StubDns(given.get("dns", []), peer))
        )
        url = rendered(given["url"].replace("{canary}", str(canary.port)))
        started = time.perf_counter()
        outcome, attempts = await run_attempts(
            HttpStep(client), make_task(url=url, follow_redirects=True, timeout_seconds=TIMEOUT_SECONDS), attempts=2
        )
        elapsed_ms = (time.perf_counter() - started) * 1000
    word = {"completes": "allowed"}.get(word_for(outcome), word_for(outcome))
    assert word in expected["outcome"], outcome
    assert canary.connections == 0
    if word == "allowed":
        assert attempts == len(peer.requests) == 1
    else:
        assert len(peer.requests) == ("responses" in given)
    return elapsed_ms


@pytest.mark.parametrize(("given", "expected"), cases("header"))
async def test_header_case(given: dict[str, Any], expected: dict[str, Any], client: Client, peer: Peer) -> None:
    value = rendered(given["value"]) if "value" in given else given["unit"] * given["n"]
    step = HttpStep(client)
    outcome, attempts = await run_attempts(
        step, make_task(secret_values=(API_KEY,), url=peer.url, headers={given["name"]: value})
    )
    word = {"completes": "sent"}.get(word_for(outcome), word_for(outcome))
    assert word in expected["outcome"], outcome
    assert attempts == 1
    if word == "sent":
        assert f"{given['name'].lower()}: {value}".encode() in peer.requests[0].head
        assert API_KEY not in repr(outcome)
    else:
        assert peer.connections == 0


PEER_PATHS = {
    "accept_then_hang": "hang",
    "drip": "drip",
    "rst_after_request": "reset",
    "truncated_body": "truncate",
    "endless_1xx": "continues",
    "gzip_bomb": "bomb",
    "body": "endless",
    "headers_total_kb": "big_headers",
    "json_depth": "deep",
    "declares_json_sends_html": "html",
    "body_slow_ok": "slow",
    "fail_n_then_ok": "flaky",
}
PARAMETERS = {"content_length": "length", "decoded_mb": "mb"}


@asynccontextmanager
async def address_of(given: dict[str, Any], peer: Peer) -> AsyncIterator[str]:
    """Where the peer of a case listens."""
    mode = given["mode"]
    if mode == "connect_blackhole":
        with blackhole() as port:
            yield f"http://127.0.0.1:{port}/"
    elif mode == "tls_hang":
        async with Listener() as listener:
            yield f"https://127.0.0.1:{listener.port}/"
    elif mode == "status":
        retry_after = given.get("headers", {}).get("Retry-After")
        yield f"{peer.url}/status/{given['status']}" + (f"?retry_after={retry_after}" if retry_after else "")
    elif mode == "json":

        async def say(peer: Peer, request: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(json.dumps(given["body"]).encode()))

        peer.behaviour = say
        yield peer.url
    else:
        query = urlencode({PARAMETERS.get(key, key): value for key, value in given.items() if key != "mode"})
        assert PEER_PATHS[mode] in BEHAVIOURS
        yield f"{peer.url}/{PEER_PATHS[mode]}?{query}"


@pytest.mark.parametrize(("given", "expected"), cases("http_peer"))
async def test_http_peer_case(given: dict[str, Any], expected: dict[str, Any], peer: Peer) -> None:
    retried = "retry_then_fail" in expected["outcome"]
    timeout_seconds = TIMEOUT_SECONDS if retried else 15.0
    policy = EgressPolicy(allowed_hosts=["127.0.0.1"])
    async with Client(policy=policy, concurrency=1) as client, address_of(given, peer) as url, MemoryWatch() as memory:
        step = HttpStep(client)
        task = make_task(url=url, method="POST", json={"n": 1}, timeout_seconds=timeout_seconds)
        started = time.perf_counter()
        outcome, attempts = await run_attempts(step, task, attempts=3)
        elapsed_ms = (time.perf_counter() - started) * 1000
        seen = len(peer.requests)
        if retried:
            assert attempts == 3
            assert elapsed_ms <= attempts * timeout_seconds * 1000 + expected["slot_freed_within_ms"]
        # The only connection slot is free again.
        peer.behaviour = None
        assert output_of(await step.run(make_task(url=f"{peer.url}/echo", timeout_seconds=2)))["status"] == 200
    word = word_for(outcome)
    if expected["outcome"] == ["same_key"]:
        assert word == "completes"
        keys = {request.headers["idempotency-key"] for request in peer.requests[:seen]}
        assert keys == {task.idempotency_key}
        assert make_task(execution_id="e2").idempotency_key not in keys
    else:
        assert word in expected["outcome"], outcome
    if word == "step_failed_permanent":
        assert attempts == 1
    if "requests_seen" in expected:
        assert seen == expected["requests_seen"]
    if "max_rss_growth_mb" in expected:
        assert memory.growth_mb <= expected["max_rss_growth_mb"]


class MemoryWatch:
    """The highest resident memory of this process while inside, above what it was before."""

    def __init__(self) -> None:
        self.growth_mb = 0.0

    async def __aenter__(self) -> MemoryWatch:
        self._before = _resident_mb()
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            self.growth_mb = max(self.growth_mb, _resident_mb() - self._before)
            await asyncio.sleep(0.002)


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)
