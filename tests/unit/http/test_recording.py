"""What an attempt keeps of its request and the response: masked, bounded, whatever came back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from flowgres_runner.http import Client
from flowgres_runner.http.recording import PART_BYTES, Recorder, current_recorder
from flowgres_runner.json_values import Json
from flowgres_runner.steps import Completed, HttpFailedError, Outcome, StepTask
from flowgres_runner.steps.http import HttpStep
from tests.support import offered
from tests.support.behaviours import Received, answer
from tests.support.peers import Peer
from tests.unit.http.tasks import error_of, make_task

SECRET = 'hunter2/"ü" secret'
SPELLINGS = (
    SECRET,
    quote(SECRET),
    quote(SECRET, safe=""),
    SECRET.replace(" ", "+"),
    json.dumps(SECRET)[1:-1],
    json.dumps(SECRET, ensure_ascii=False)[1:-1],
    base64.b64encode(SECRET.encode()).decode(),
    SECRET.encode().hex(),
    SECRET.encode().hex().upper(),
    quote(quote(SECRET)),
)
WITHIN = tuple(base64.urlsafe_b64encode(before + SECRET.encode() + b"~").decode() for before in (b"", b"x", b"xx"))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    token = current_recorder.set(recorder)
    yield recorder
    current_recorder.reset(token)


@pytest.fixture
def step(client: Client) -> HttpStep:
    return HttpStep(client)


def told(recorder: Recorder) -> Any:
    said = recorder.told()
    for part in ("request", "response"):
        assert len(json.dumps(said.get(part), ensure_ascii=False).encode()) <= PART_BYTES
    return said


def behaving(body: bytes, *, status: int = 500, **headers: str) -> Any:
    async def behaviour(peer: Peer, request: Received, writer: Any) -> None:
        writer.write(answer(body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()}))

    return behaviour


async def test_request_and_response_are_kept(client: Client, step: HttpStep, recorder: Recorder, peer: Peer) -> None:
    await step.run(make_task(method="POST", url=f"{peer.url}/status/503?a=b", json={"n": 1}, headers={"X-One": "1"}))
    said = told(recorder)
    assert said["request"]["method"] == "POST"
    assert said["request"]["url"] == f"{peer.url}/status/503?a=b"
    assert said["request"]["headers"]["x-one"] == "1"
    assert said["request"]["headers"]["idempotency-key"] == "e1/call"
    assert said["request"]["body"] == '{"n":1}'
    assert said["response"]["status"] == 503
    assert said["response"]["headers"]["content-type"] == "application/json"
    assert said["response"]["body"] == '{"status": 503}'


async def test_no_spelling_of_a_secret_is_kept(step: HttpStep, recorder: Recorder, peer: Peer) -> None:
    everything = " | ".join((*SPELLINGS, *WITHIN))
    peer.behaviour = behaving(
        everything.encode(), X_Echo=quote(SECRET), Set_Cookie="session=abcdefghij", X_Base=SPELLINGS[6]
    )
    await step.run(
        make_task(
            method="POST",
            url=f"{peer.url}/{quote(SECRET)}?q={quote(SECRET)}",
            body=everything,
            headers={"X-Secret": quote(SECRET)},
            secret_values=(SECRET,),
        )
    )
    said = json.dumps(told(recorder), ensure_ascii=False)
    assert [spelling for spelling in SPELLINGS if spelling in said] == []
    assert [encoded for encoded in WITHIN if encoded[4:-4] in said] == []
    assert "session=abcdefghij" not in said
    assert said.count("***") > 20


@pytest.mark.parametrize("size", [PART_BYTES - 600, 32_768 - 9, 40_000])
async def test_half_a_secret_does_not_remain_where_a_body_is_cut(
    step: HttpStep, recorder: Recorder, peer: Peer, size: int
) -> None:
    secret = "s3cr3t-" * 6
    peer.behaviour = behaving((secret * 900)[: size - size % 42].encode() + (secret + "~").encode() * 99)
    await step.run(make_task(url=peer.url, secret_values=(secret,)))
    said = told(recorder)
    assert "s3c" not in json.dumps(said)
    assert said["response"]["body"].startswith("***")


async def test_base64_of_binary_bodies_is_masked_before_it_is_cut(
    step: HttpStep, recorder: Recorder, peer: Peer
) -> None:
    secret = "s3cr3t-s3cr3t"
    peer.behaviour = behaving((b"\xff\xfe\x00" + secret.encode()) * 2_000)
    await step.run(make_task(method="POST", url=peer.url, secret_values=(secret,)))
    said = told(recorder)
    assert said["response"]["body_encoding"] == "base64"
    data = base64.b64decode(said["response"]["body"])
    assert data[:12] == b"\xff\xfe\x00***\xff\xfe\x00***"
    assert b"s3c" not in data
    assert said["response"]["cut"] is True


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "basic", "username": "u", "password": "open-sesame"},
        {"type": "bearer", "token": "open-sesame"},
        {"type": "api_key", "name": "X-Own", "value": "open-sesame"},
        {"type": "api_key", "name": "key", "value": "open-sesame", "in": "query"},
    ],
)
async def test_credentials_are_hidden_also_when_they_are_no_secrets(
    step: HttpStep, recorder: Recorder, peer: Peer, auth: dict[str, Json]
) -> None:
    await step.run(make_task(url=f"{peer.url}/status/401", auth=auth))
    said = json.dumps(told(recorder))
    assert "open-sesame" not in said
    assert base64.b64encode(b"u:open-sesame").decode() not in said
    assert "***" in said


async def test_large_headers_and_bodies_are_cut(step: HttpStep, recorder: Recorder, peer: Peer) -> None:
    many: dict[str, Json] = {f"X-{n}": "é" * 150 for n in range(40)}
    await step.run(
        make_task(method="POST", url=f"{peer.url}/status/500?{'q' * 3000}", headers=many, body="\x01" * 70_000)
    )
    said = told(recorder)
    assert said["request"]["cut"] is True
    assert said["request"]["body"].startswith("\x01\x01")


async def test_what_could_not_be_read_is_kept(step: HttpStep, recorder: Recorder, peer: Peer) -> None:
    peer.behaviour = behaving(b"<html>down for maintenance</html>", status=200)
    outcome = await step.run(make_task(url=peer.url))
    assert error_of(outcome).code == "response_not_json"
    assert told(recorder)["response"]["body"] == "<html>down for maintenance</html>"


async def test_without_an_answer_there_is_no_response(step: HttpStep, recorder: Recorder, peer: Peer) -> None:
    await step.run(make_task(url=f"{peer.url}/hang", timeout_seconds=0.1))
    assert set(told(recorder)) == {"request"}


async def test_what_went_nowhere_is_no_request(step: HttpStep, recorder: Recorder) -> None:
    await step.run(make_task(url="https://[::1"))
    assert told(recorder) == {}


async def test_a_good_answer_is_kept_as_well(step: HttpStep, recorder: Recorder, peer: Peer) -> None:
    await step.run(
        make_task(method="POST", url=f"{peer.url}/echo", json={"hunter2222": [1]}, secret_values=("hunter2222",))
    )
    assert told(recorder)["response"] | {"headers": {}} == {"status": 200, "headers": {}, "body": '{"***":[1]}'}


@pytest.mark.parametrize("is_async", [True, False])
async def test_requests_of_packages_are_kept(client: Client, recorder: Recorder, peer: Peer, is_async: bool) -> None:
    async def run_async(task: StepTask) -> Outcome:
        await task.http.request("GET", f"{peer.url}/status/200")
        await task.http.request("GET", f"{peer.url}/status/503")
        return Completed(None)

    def run(task: StepTask) -> Outcome:
        task.http.request_blocking("GET", f"{peer.url}/status/200")
        try:
            task.http.request_blocking("GET", f"{peer.url}/status/503")
        except HttpFailedError:
            return Completed(None)
        raise AssertionError

    async with offered.served(offered.typed(run_async if is_async else run)) as handler:
        await handler.run(offered.make_task(client))
    said = told(recorder)
    assert (said["response"]["status"], said["requests"]) == (503, 2)
    assert (said["earlier"]["number"], said["earlier"]["response"]["status"]) == (1, 200)


@pytest.mark.parametrize(
    ("statuses", "earlier"),
    [([200, 200, 503, 200], (3, 503)), ([503, 500, 200], (1, 503)), ([200, 200, 503], (1, 200)), ([200], None)],
)
async def test_of_several_requests_the_last_is_kept_and_the_first_that_failed(
    client: Client, step: HttpStep, recorder: Recorder, peer: Peer, statuses: list[int], earlier: Any
) -> None:
    for status in statuses:
        await step.run(make_task(url=f"{peer.url}/status/{status}"))
    said = told(recorder)
    assert said["response"]["status"] == statuses[-1]
    if earlier is None:
        assert said.keys() == {"request", "response"}
        return
    assert said["requests"] == len(statuses)
    assert (said["earlier"]["number"], said["earlier"]["response"]["status"]) == earlier
    assert said["earlier"]["request"]["url"] == f"{peer.url}/status/{earlier[1]}"
