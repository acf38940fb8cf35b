"""The step type: from configuration to request, from answer to output."""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

import pytest

from flowgres_runner.http import Client
from flowgres_runner.steps.base import Completed, Failed, Handler, Json
from flowgres_runner.steps.http import HttpStep
from tests.support.behaviours import Received
from tests.support.peers import Peer
from tests.unit.http.tasks import error_of, make_task, output_of


@pytest.fixture
def step(client: Client) -> HttpStep:
    return HttpStep(client)


def test_step_is_a_handler(step: HttpStep) -> None:
    assert isinstance(step, Handler)
    assert step.type == "http"


async def test_output_has_status_headers_and_body(step: HttpStep, peer: Peer) -> None:
    outcome = await step.run(make_task(method="POST", url=f"{peer.url}/echo", json={"a": ["ü", 1, None]}))
    output = output_of(outcome)
    assert output["status"] == 200
    assert output["body"] == {"a": ["ü", 1, None]}
    assert isinstance(output["headers"], dict)
    assert output["headers"]["content-type"] == "application/json"
    assert isinstance(outcome, Completed)
    assert isinstance(outcome.detail, dict)
    assert {**outcome.detail, "duration_ms": 0} == {
        "method": "POST", "url": f"{peer.url}/echo", "status": 200, "duration_ms": 0,
    }  # fmt: skip


async def test_binary_body_is_flagged(step: HttpStep, peer: Peer) -> None:
    output = output_of(await step.run(make_task(method="PUT", url=f"{peer.url}/raw?type=image/png", body="abc")))
    assert (output["body"], output["body_encoding"]) == ("YWJj", "base64")


async def test_every_attempt_carries_the_key_and_the_trace(step: HttpStep, peer: Peer) -> None:
    task = make_task(url=peer.url, iteration=3)
    await step.run(task)
    await step.run(task)
    first, second = (request.headers for request in peer.requests)
    assert first["idempotency-key"] == second["idempotency-key"] == "e1/call/3"
    assert first["traceparent"] == second["traceparent"] == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_key_and_trace_of_the_author_win(step: HttpStep, peer: Peer) -> None:
    await step.run(make_task(url=peer.url, headers={"idempotency-KEY": "mine", "Traceparent": "00-a-b-01"}))
    assert peer.requests[0].headers["idempotency-key"] == "mine"
    assert peer.requests[0].headers["traceparent"] == "00-a-b-01"


@pytest.mark.parametrize(
    ("config", "content_type", "sent"),
    [
        ({"json": {"a": 1}}, "application/json", b'{"a":1}'),
        ({"json": None}, "application/json", b"null"),
        ({"body": "text"}, "text/plain; charset=utf-8", b"text"),
        ({"body": {"a": "ü"}}, "application/json", '{"a":"ü"}'.encode()),
        ({"body": 5}, "text/plain; charset=utf-8", b"5"),
        ({"form": {"a": "b c", "n": [1, True], "x": None}}, "application/x-www-form-urlencoded", b"a=b+c&n=1&n=true"),
        ({"body": "<a/>", "headers": {"content-type": "application/xml"}}, "application/xml", b"<a/>"),
    ],
)
async def test_body_is_sent(step: HttpStep, peer: Peer, config: dict[str, Any], content_type: str, sent: bytes) -> None:
    await step.run(make_task(method="POST", url=peer.url, **config))
    assert peer.requests[0].headers["content-type"] == content_type
    assert peer.requests[0].body == sent


async def test_query_is_added_to_the_url(step: HttpStep, peer: Peer) -> None:
    query: Json = {"q": "a b&c", "n": [1, 2], "flag": True, "none": None}
    await step.run(make_task(url=f"{peer.url}/echo?x=1#part", query=query))
    assert b"GET /echo?x=1&q=a+b%26c&n=1&n=2&flag=true HTTP/1.1" in peer.requests[0].head


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "basic", "username": "ann", "password": "p"}, "authorization", "Basic YW5uOnA="),
        ({"type": "bearer", "token": "t"}, "authorization", "Bearer t"),
        ({"type": "api_key", "value": "k"}, "x-api-key", "k"),
        ({"type": "api_key", "name": "X-Mine", "value": "k", "in": "header"}, "x-mine", "k"),
    ],
)
async def test_auth_becomes_a_header(
    step: HttpStep, peer: Peer, auth: dict[str, Json], header: str, value: str
) -> None:
    await step.run(make_task(url=peer.url, auth=auth))
    assert peer.requests[0].headers[header] == value


async def test_api_key_can_go_into_the_query(step: HttpStep, peer: Peer) -> None:
    auth: Json = {"type": "api_key", "name": "key", "value": "k&", "in": "query"}
    outcome = await step.run(make_task(url=peer.url, auth=auth))
    assert peer.requests[0].query == {"key": "k&"}
    assert isinstance(outcome, Completed)
    assert "k&" not in str(outcome.detail)


async def test_api_key_header_does_not_follow_to_another_origin(step: HttpStep, peer: Peer) -> None:
    async with Peer() as other:
        auth: Json = {"type": "api_key", "name": "X-Mine", "value": "k"}
        await step.run(make_task(url=f"{peer.url}/redirect", query={"to": other.url}, auth=auth))
        assert "x-mine" not in other.requests[0].headers


@pytest.mark.parametrize(
    ("expected", "status", "good"),
    [(404, 404, True), ([200, 404], 404, True), (["4xx"], 404, True), ("4XX", 500, False), ([201], 200, False),
     (["2xx", 503], 503, True), ("204", 204, True)],
)  # fmt: skip
async def test_expected_status_decides(step: HttpStep, peer: Peer, expected: Json, status: int, good: bool) -> None:
    outcome = await step.run(make_task(url=f"{peer.url}/status/{status}", expected_status=expected))
    assert isinstance(outcome, Completed) is good


async def test_failure_has_class_wait_details_and_detail(step: HttpStep, peer: Peer) -> None:
    outcome = await step.run(make_task(url=f"{peer.url}/status/503?retry_after=9"))
    error = error_of(outcome)
    assert (error.code, error.error_class, error.retry_after_seconds) == ("http_status", "5xx", 9.0)
    assert error.message == f"GET {peer.url}/status/503: answered 503"
    assert error.details == {"status": 503, "body": '{"status": 503}'}
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.detail, dict)
    assert outcome.detail["status"] == 503


@pytest.mark.parametrize("timeout", [0.1, "100ms", "0.1s", "PT0.1S"])
async def test_own_timeout_shortens_the_one_of_the_step(step: HttpStep, peer: Peer, timeout: Json) -> None:
    outcome = await step.run(make_task(url=f"{peer.url}/hang", timeout=timeout))
    assert error_of(outcome).message.endswith("no complete answer within 0.1 s")


async def test_own_timeout_does_not_lengthen_the_one_of_the_step(step: HttpStep, peer: Peer) -> None:
    outcome = await step.run(make_task(url=f"{peer.url}/hang", timeout="1h", timeout_seconds=0.1))
    assert error_of(outcome).error_class == "timeout"


@pytest.mark.parametrize(
    "config",
    [
        {"method": "TRACE"}, {"method": "GET\r\n"}, {"method": 5}, {"url": 5}, {"url": None}, {"headers": []},
        {"query": "a"}, {"query": {"a": {"b": 1}}}, {"form": [1]}, {"json": 1, "body": "x"}, {"auth": "x"},
        {"auth": {"type": "digest"}}, {"auth": {"type": "bearer"}}, {"auth": {"type": "bearer", "token": 5}},
        {"auth": {"type": "api_key", "value": "k", "in": "cookie"}},
        {"auth": {"type": "bearer", "token": "t"}, "headers": {"authorization": "x"}},
        {"expected_status": "ok"}, {"expected_status": [99]}, {"expected_status": [True]}, {"expected_status": [{}]},
        {"timeout": 0}, {"timeout": -1}, {"timeout": "soon"}, {"timeout": float("nan")}, {"follow_redirects": "yes"},
        {"unknown": 1}, {"json": float("nan")}, {"body": "\ud800"}, {"query": {"a": "\ud800"}},
        {"auth": {"type": "basic", "username": "\ud800", "password": ""}},
    ],
)  # fmt: skip
async def test_wrong_configuration_is_a_permanent_error(step: HttpStep, peer: Peer, config: dict[str, Any]) -> None:
    error = error_of(await step.run(make_task(**{"url": peer.url, **config})))
    assert (error.code, error.error_class) == ("config_invalid", "validation")
    assert peer.connections == 0


@pytest.mark.parametrize("headers", [{"X-A": {}}, {"X-A": [1]}, {"X-A": "1", "x-a": "2"}, {"Host": "x"}])
async def test_wrong_header_is_a_permanent_error(step: HttpStep, peer: Peer, headers: dict[str, Json]) -> None:
    error = error_of(await step.run(make_task(url=peer.url, headers=headers)))
    assert (error.code, error.error_class) == ("header_invalid", "validation")
    assert peer.connections == 0


async def test_secrets_appear_in_no_outcome(step: HttpStep, peer: Peer) -> None:
    auth: Json = {"type": "basic", "username": "a", "password": "hunter22"}
    good = await step.run(make_task(secret_values=("hunter22",), url=f"{peer.url}/echo/hunter22", auth=auth))
    bad = await step.run(
        make_task(secret_values=("hunter22",), url=f"{peer.url}/status/500/hunter22?a=hunter22", auth=auth)
    )
    assert peer.requests[0].path == "/echo/hunter22"
    for outcome in (good, bad):
        assert "hunter22" not in repr(outcome)
        assert "YTpodW50ZXIyMg==" not in repr(outcome)


async def test_one_step_keeps_no_secrets_of_another(step: HttpStep, peer: Peer) -> None:
    await step.run(make_task(secret_values=("echo",), url=peer.url))
    assert "***" not in repr(await step.run(make_task(url=f"{peer.url}/echo")))


async def test_headers_with_several_values_are_lists_as_well(step: HttpStep, peer: Peer) -> None:
    async def behaviour(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        lines = (
            "Set-Cookie: a=1",
            "Set-Cookie: b=hunter2222",
            "Link: </2?x=hunter2222>; rel=next",
            "Vary: a",
            "Vary: b",
        )
        writer.write(("HTTP/1.1 200 OK\r\n" + "\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode())

    peer.behaviour = behaviour
    output = output_of(await step.run(make_task(url=f"{peer.url}/1?x=1", secret_values=("hunter2222",))))
    assert isinstance(output["headers"], dict)
    assert output["headers"]["set-cookie"] == "a=1, b=***"
    assert output["header_values"] == {"set-cookie": ["a=1", "b=***"], "vary": ["a", "b"]}
    assert output["links"] == {"next": f"{peer.url}/2?x=***"}


async def test_multipart_is_read_as_it_was_meant(step: HttpStep, peer: Peer) -> None:
    parts: list[Json] = [
        {"name": "id", "value": 7},
        {"name": "who", "value": "Ann\r\n--x"},
        {"name": "gone", "value": None},
        {"name": "tags", "value": ["a", "b"]},
        {"name": "text", "filename": 'a "quoted" ü.txt', "content": "grüße"},
        {"name": "data", "filename": "d.json", "content": {"a": 1}},
        {"name": "pdf", "filename": "x.pdf", "base64": "AP8=", "content_type": "application/pdf"},
        {"name": "raw", "filename": "x.bin", "base64": ""},
    ]
    await step.run(make_task(method="POST", url=peer.url, multipart=parts))
    (request,) = peer.requests
    told = message_from_bytes(
        b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + request.body, policy=HTTP
    )
    assert [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get("content-type"),
            part.get_payload(decode=True))
        for part in told.iter_parts()
    ] == [
        ("id", None, None, b"7"),
        ("who", None, None, b"Ann\r\n--x"),
        ("tags", None, "application/json", b'["a","b"]'),
        ("text", "a %22quoted%22 ü.txt", 'text/plain; charset="utf-8"', "grüße".encode()),
        ("data", "d.json", "application/json", b'{"a":1}'),
        ("pdf", "x.pdf", "application/pdf", b"\x00\xff"),
        ("raw", "x.bin", "application/octet-stream", b""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({"name": "a"}, "config_invalid"),
        ({"name": "a", "value": 1, "content": 2}, "config_invalid"),
        ({"name": "a", "base64": "AP8="}, "config_invalid"),
        ({"name": "a", "filename": "b", "base64": "AP8"}, "config_invalid"),
        ({"name": "a", "filename": "b", "base64": "?"}, "config_invalid"),
        ({"name": "a", "filename": "b", "content": "", "content_type": "a\r\nX: y"}, "config_invalid"),
        ({"name": "a", "filename": "b", "content": "\ud800"}, "config_invalid"),
        ({"name": "a", "filename": "b", "content": "x" * (5 << 20)}, "request_too_large"),
    ],
)
async def test_part_that_cannot_be_sent_is_refused(step: HttpStep, peer: Peer, part: Json, code: str) -> None:
    error = error_of(await step.run(make_task(method="POST", url=peer.url, multipart=[part])))
    assert (error.code, error.error_class) == (code, "validation")
    assert peer.requests == []


async def test_boundary_occurs_in_no_part(step: HttpStep, peer: Peer) -> None:
    task = make_task(method="POST", url=peer.url, multipart=[{"name": "a", "value": "b"}])
    await step.run(task)
    await step.run(task)
    first, second = (request.headers["content-type"] for request in peer.requests)
    assert first != second
