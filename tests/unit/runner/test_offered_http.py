"""The HTTP client that step types of packages are given: the guarded one, with secrets and trace of the attempt."""

from __future__ import annotations

import pytest

from flowgres_runner.http import Client
from flowgres_runner.steps import Completed, HttpFailedError, Outcome, StepTask
from tests.support.offered import TRACE, make_task, served, typed
from tests.support.peers import Peer


@pytest.mark.parametrize("is_async", [True, False])
async def test_client_is_the_guarded_one(is_async: bool, client: Client, peer: Peer) -> None:
    async def run_async(task: StepTask) -> Outcome:
        answer = await task.http.request("POST", f"{peer.url}/echo/hunter2222", json={"key": "hunter2222"})
        return Completed([answer.status, answer.url])

    def run(task: StepTask) -> Outcome:
        answer = task.http.request_blocking("POST", f"{peer.url}/echo/hunter2222", json={"key": "hunter2222"})
        return Completed([answer.status, answer.url])

    async with served(typed(run_async if is_async else run)) as handler:
        outcome = await handler.run(make_task(client, secrets=("hunter2222",)))
    assert isinstance(outcome, Completed), outcome
    assert outcome.output == [200, f"{peer.url}/echo/***"]
    assert b'{"key":"hunter2222"}' in peer.requests[0].body
    assert {name: peer.requests[0].headers.get(name) for name in TRACE.headers} == TRACE.headers


async def test_trace_of_the_author_wins(client: Client, peer: Peer) -> None:
    async def run(task: StepTask) -> Outcome:
        await task.http.request("GET", f"{peer.url}/echo", headers={"Traceparent": "00-a-b-01"})
        return Completed(None)

    async with served(typed(run)) as handler:
        await handler.run(make_task(client))
    headers = peer.requests[0].headers
    assert (headers["traceparent"], headers.get("tracestate")) == ("00-a-b-01", None)


@pytest.mark.parametrize("is_async", [True, False])
async def test_client_refuses_private_addresses_and_tells_classes(is_async: bool, client: Client, peer: Peer) -> None:
    def judged(error: HttpFailedError) -> Outcome:
        return Completed([error.code, error.error_class, error.retry_after_seconds])

    async def run_async(task: StepTask) -> Outcome:
        try:
            await task.http.request("GET", task.config["url"])  # type: ignore[index,call-overload,arg-type]
        except HttpFailedError as error:
            return judged(error)
        raise AssertionError

    def run(task: StepTask) -> Outcome:
        try:
            task.http.request_blocking("GET", task.config["url"])  # type: ignore[index,call-overload,arg-type]
        except HttpFailedError as error:
            return judged(error)
        raise AssertionError

    async with served(typed(run_async if is_async else run)) as handler, Client() as guarded:
        blocked = await handler.run(make_task(guarded, url=peer.url))
        late = await handler.run(make_task(client, seconds=0.3, url=f"{peer.url}/hang"))
        full = await handler.run(make_task(client, url=f"{peer.url}/status/503"))
    assert isinstance(blocked, Completed)
    assert isinstance(late, Completed)
    assert isinstance(full, Completed)
    assert blocked.output == ["ssrf_blocked", "validation", None]
    assert late.output[:2] == ["http_timeout", "timeout"]  # type: ignore[index]
    assert full.output[1] == "5xx"  # type: ignore[index]
