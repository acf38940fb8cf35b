"""What surrounds every route: bodies, headers, unknown addresses, and a database that is not there."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowgres_cli.stack.ports import free_port
from tests.cases import Case, load_cases
from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database, end_sessions
from tests.support.runner import wait_for

PROBLEM = "application/problem+json"
WELL_FORMED = "fg_live_" + "0" * 32 + "_" + "0" * 64


def send(front: Api, raw: bytes) -> bytes:
    """Bytes on a socket, and all that comes back until the server closes or falls silent."""
    address = urlsplit(front.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        connection.sendall(raw)
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(65_536)
            if not chunk:
                break
            received += chunk
        return received


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"", b"null", b"[]", b'"text"', b"{} {}", b'{"value": NaN}', b'{"value": Infinity}', b'{"value": 1e999}',
        b'{"value": "v", "value": "w"}', b'{"value": "\\ud800"}', b'{"value": "\\u0000"}', b'\xff\xfe{"value": "v"}',
        b"[" * 100_000, b'{"value":' * 5_000 + b"1" + b"}" * 5_000, b'{"value": ' + b"9" * 5_000 + b"}",
    ],
)  # fmt: skip
def test_json_that_cannot_be_taken_is_the_callers_mistake(front: Api, tenant: TenantKeys, body: bytes) -> None:
    answer = front.as_key(tenant.admin).request(
        "PUT", "/secrets/NAME", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM
    assert {"type", "title", "status", "detail", "code", "hint"} <= set(answer.json())


@pytest.mark.parametrize("case", load_cases("json"), ids=str)
def test_no_json_makes_the_front_fail(front: Api, tenant: TenantKeys, case: Case) -> None:
    text = case.input.get("json_text")
    body = base64.b64decode(case.input["bytes_b64"]) if text is None else text.encode()

    for wrapped in (body, b'{"value": ' + body + b"}"):
        answer = front.as_key(tenant.admin).request(
            "PUT", "/secrets/NAME", content=wrapped, headers={"Content-Type": "application/json"}
        )
        assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"])
def test_another_kind_of_body_is_unsupported(front: Api, tenant: TenantKeys, kind: str) -> None:
    answer = front.as_key(tenant.admin).request(
        "PUT", "/secrets/NAME", content=b'{"value": "a-secret"}', headers={"Content-Type": kind}
    )

    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"


def test_a_compressed_body_is_unsupported(front: Api, tenant: TenantKeys) -> None:
    answer = front.as_key(tenant.admin).request(
        "PUT",
        "/secrets/NAME",
        content=b"\x1f\x8b",
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )

    assert answer.status_code == 415


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(front: Api, tenant: TenantKeys) -> None:
    head = (
        "PUT /secrets/NAME HTTP/1.1\r\nHost: front\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {tenant.admin}\r\nContent-Length: 1048577\r\n\r\n"
    )

    assert send(front, head.encode()).startswith(b"HTTP/1.1 413")


def test_a_body_that_grows_too_large_is_refused_while_it_comes(front: Api, tenant: TenantKeys) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    answer = front.as_key(tenant.admin).request(
        "PUT", "/secrets/NAME", content=endless(), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


def test_a_body_that_never_ends_is_given_up(
    start_front: Callable[..., Api], module_database: Database, tenant: TenantKeys
) -> None:
    # The default is longer than a test should wait.
    hasty = start_front(module_database.url("front"), FRONT_BODY_TIMEOUT="1")
    head = (
        "PUT /secrets/NAME HTTP/1.1\r\nHost: front\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {tenant.admin}\r\nContent-Length: 1000\r\n\r\n{{"
    )

    assert send(hasty, head.encode()).startswith(b"HTTP/1.1 408")


def test_a_head_that_never_ends_is_given_up(start_front: Callable[..., Api], module_database: Database) -> None:
    hasty = start_front(module_database.url("front"), FRONT_BODY_TIMEOUT="1")

    answer = send(hasty, b"PUT /secrets/NAME HTTP/1.1\r\nHost: front\r\nX-Slow: ")

    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code": "head_timeout"' in answer


def test_a_head_that_is_too_large_is_refused(front: Api) -> None:
    answer = send(front, b"GET /health HTTP/1.1\r\nHost: front\r\nX-Long: " + b"x" * 40_000)

    assert answer.startswith(b"HTTP/1.1 431")
    assert b'"code": "headers_too_large"' in answer


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 5000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + b" " * 5000],
    ids=["declared", "chunked"],
)
def test_a_token_takes_four_kibibytes(front: Api, framing: bytes) -> None:
    answer = send(front, b"POST /token HTTP/1.1\r\nHost: front\r\nContent-Type: application/json\r\n" + framing)

    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/secrets/NAME"), ("POST", "/workflows"), ("DELETE", "/secrets/NAME")]
)
@pytest.mark.parametrize("key", ["", "nonsense", WELL_FORMED])
def test_nobody_has_a_body_read_before_its_credentials_are_known(front: Api, method: str, path: str, key: str) -> None:
    header = f"X-API-Key: {key}\r\n" if key else ""
    # The body does not come.
    head = f"{method} {path} HTTP/1.1\r\nHost: front\r\n{header}Content-Length: 1000\r\n\r\n"

    assert send(front, head.encode()).startswith(b"HTTP/1.1 401")


def test_one_tenant_has_so_many_requests_under_way_and_another_is_served(
    front: Api, tenant: TenantKeys, module_database: Database
) -> None:
    with module_database.connect() as db, ExitStack() as stack:
        other = TenantKeys(db)
        assert front.as_key(tenant.admin).request("PUT", "/secrets/NAME", json={"value": "a-secret"}).is_success
        for _ in range(32):
            # Each waits for its body.
            stack.enter_context(unfinished(front, tenant.admin))

        refused = wait_for_status(front.as_key(tenant.admin), 429)
        served = front.as_key(other.admin).request("PUT", "/secrets/NAME", json={"value": "a-secret"})

    assert refused.json()["code"] == "too_many_at_once"
    assert refused.json()["hint"]
    assert int(refused.headers["retry-after"]) > 0
    assert served.status_code == 201


@contextmanager
def unfinished(front: Api, key: str) -> Iterator[None]:
    """A request whose body does not come, until the block ends."""
    address = urlsplit(front.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        head = f"PUT /secrets/X HTTP/1.1\r\nHost: f\r\nX-API-Key: {key}\r\nContent-Length: 9\r\n\r\n"
        connection.sendall(head.encode())
        yield


def wait_for_status(caller: Api, status: int) -> httpx.Response:
    """Call until the answer has this status."""
    answers: list[httpx.Response] = []

    def has_it() -> bool:
        answers.append(caller.request("DELETE", "/secrets/NOTHING"))
        return answers[-1].status_code == status

    wait_for(has_it, what=f"status {status}")
    return answers[-1]


def test_an_unknown_address_is_a_problem_document(front: Api) -> None:
    answer = front.get("/nothing/here")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["code"] == "route_not_found"


def test_a_wrong_method_names_the_right_ones(front: Api) -> None:
    answer = front.request("PATCH", "/secrets/NAME")

    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert "allow" in answer.headers


@pytest.mark.parametrize("path", ["/health", "/nothing", "/token"])
def test_every_answer_carries_the_security_headers(front: Api, path: str) -> None:
    headers = front.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def test_any_origin_may_ask_and_none_with_cookies(front: Api) -> None:
    answer = front.request(
        "OPTIONS",
        "/workflows",
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key, content-type",
        },
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_without_a_database_the_front_says_so_and_asks_to_come_back(start_front: Callable[..., Api]) -> None:
    front = start_front(f"postgresql://flowgres_front@127.0.0.1:{free_port()}/flowgres")

    health = front.get("/health")
    assert health.status_code == 503
    assert health.json()["database"] == "unreachable"
    answer = front.as_key(WELL_FORMED).request("PUT", "/secrets/NAME", json={"value": "a-secret"})
    assert answer.status_code == 503
    assert answer.json()["code"] == "database_unreachable"
    assert int(answer.headers["retry-after"]) > 0


def test_a_lost_connection_is_replaced(front: Api, tenant: TenantKeys) -> None:
    def put() -> int:
        return front.as_key(tenant.admin).request("PUT", "/secrets/NAME", json={"value": "a-secret"}).status_code

    assert put() == 201
    end_sessions(tenant.db, "flowgres_front")
    # At once where the machine is free; who waits too long for a connection hears 503, and the next one finds it.
    wait_for(lambda: put() == 200, what="another connection")


def test_the_log_names_requests_and_no_secrets(
    start_front: Callable[..., Api], module_database: Database, tenant: TenantKeys, tmp_path: Path
) -> None:
    log_path = tmp_path / "front.log"
    front = start_front(module_database.url("front"), log_path=log_path)

    front.as_key(tenant.admin).request(
        "PUT", "/secrets/LOGGED?q=in-the-query", json={"value": "in-the-body"}, headers={"X-Other": "in-a-header"}
    )
    front.request("POST", "/webhooks/wh_in-the-path")
    front.request("POST", "/callbacks/in-the-address")

    def served() -> set[tuple[str, str, int]]:
        lines = [json.loads(line) for line in log_path.read_text().splitlines()]
        return {(line["method"], line["path"], line["status"]) for line in lines if line["event"] == "request_served"}

    expected = {
        ("PUT", "/secrets/LOGGED", 201),
        ("POST", "/webhooks/wh_...", 401),
        ("POST", "/callbacks/...", 404),
    }
    wait_for(lambda: expected <= served(), what="the log")
    for secret in (tenant.admin, "in-the-query", "in-the-body", "in-a-header", "in-the-path", "in-the-address"):
        assert secret not in log_path.read_text()


async def test_when_the_database_comes_back_so_does_the_front(
    start_front: Callable[..., Api], module_database: Database, tenant: TenantKeys
) -> None:
    port = free_port()
    url = module_database.url("front")
    front = start_front(make_conninfo(url, host="127.0.0.1", port=port)).as_key(tenant.admin)

    def put() -> int:
        return front.request("PUT", "/secrets/NAME", json={"value": "a-secret"}).status_code

    assert await asyncio.to_thread(put) == 503
    async with forwarding(port, to=conninfo_to_dict(url)):
        assert await asyncio.to_thread(put) == 201


@asynccontextmanager
async def forwarding(port: int, *, to: Mapping[str, object]) -> AsyncIterator[None]:
    """Pass every connection to a local port on to a server, until the block ends."""
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(str(to["host"]), int(str(to["port"])))
        writers.extend((writer, back))
        tasks.extend((asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.close()
        await asyncio.gather(*tasks, *(writer.wait_closed() for writer in writers), return_exceptions=True)
