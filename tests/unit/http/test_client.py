"""The client against real peers: deadline, sizes, redirects, broken answers, TLS."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from flowgres_runner.http import Client, EgressPolicy, Failure, Request, Response
from flowgres_runner.payloads.texts import JsonText
from tests.support.behaviours import Received, answer
from tests.support.certificates import server_context
from tests.support.peers import Listener, Peer


async def fetch(
    client: Client, url: str, *, timeout_seconds: float = 5, redact: tuple[str, ...] = (), **request: object
) -> Response | Failure:
    return await client.request(
        Request(url=url, **{"method": "GET", **request}),  # type: ignore[arg-type]
        timeout_seconds=timeout_seconds,
        redact=redact,
    )


async def failure(client: Client, url: str, **options: object) -> Failure:
    result = await fetch(client, url, **options)  # type: ignore[arg-type]
    assert isinstance(result, Failure), result
    return result


async def response(client: Client, url: str, **options: object) -> Response:
    result = await fetch(client, url, **options)  # type: ignore[arg-type]
    assert isinstance(result, Response), result
    return result


def redirect_to(peer: Peer, location: str, *, status: int = 302) -> str:
    return f"{peer.url}/redirect?status={status}&to={quote(location, safe='')}"


async def test_connection_is_used_again(client: Client, peer: Peer) -> None:
    for _ in range(5):
        await response(client, peer.url)
    assert peer.connections == 1
    assert len(peer.requests) == 5


async def test_connection_is_used_again_after_an_error_status(client: Client, peer: Peer) -> None:
    await failure(client, f"{peer.url}/status/503")
    await response(client, peer.url)
    assert peer.connections == 1


@pytest.mark.parametrize("path", ["hang", "drip", "continues", "slow?seconds=9", "slow_head"])
async def test_deadline_covers_the_whole_exchange(client: Client, peer: Peer, path: str) -> None:
    started = time.perf_counter()
    failed = await failure(client, f"{peer.url}/{path}", timeout_seconds=0.2)
    assert (failed.code, failed.error_class) == ("http_timeout", "timeout")
    assert time.perf_counter() - started < 1


async def test_deadline_covers_all_redirects_together(client: Client, peer: Peer) -> None:
    async def slowly(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        writer.write(answer(status=302, headers={"Location": "/again"}))

    peer.behaviour = slowly
    failed = await failure(client, peer.url, timeout_seconds=0.4)
    assert failed.code == "http_timeout"
    assert len(peer.requests) < 4


async def test_deadline_covers_the_wait_for_a_connection(peer: Peer) -> None:
    async with Client(policy=EgressPolicy(allowed_hosts=["127.0.0.1"]), concurrency=1) as client:
        first = asyncio.ensure_future(fetch(client, f"{peer.url}/hang", timeout_seconds=1))
        await asyncio.sleep(0.05)
        failed = await failure(client, peer.url, timeout_seconds=0.1)
        first.cancel()
    assert failed.code == "http_timeout"


async def test_cancelled_request_frees_its_slot(peer: Peer) -> None:
    arrived = asyncio.Event()

    async def hang(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await peer.stopping.wait()

    peer.behaviour = hang
    async with Client(policy=EgressPolicy(allowed_hosts=["127.0.0.1"]), concurrency=1) as client:
        task = asyncio.ensure_future(fetch(client, peer.url))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.behaviour = None
        await response(client, peer.url, timeout_seconds=1)
    assert peer.connections == 2


@pytest.mark.parametrize("path", ["reset", "close", "truncate", "cut_chunk", "bad_chunk?late=1"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST", "PATCH"])
async def test_broken_connection_is_a_connect_error_and_sent_once(
    client: Client, peer: Peer, path: str, method: str
) -> None:
    failed = await failure(client, f"{peer.url}/{path}", method=method)
    assert failed.error_class == "connect"
    assert len(peer.requests) == 1


async def test_refused_connection_is_a_connect_error(client: Client) -> None:
    async with Listener() as listener:
        port = listener.port
    failed = await failure(client, f"http://127.0.0.1:{port}/")
    assert (failed.code, failed.error_class) == ("http_connect", "connect")


@pytest.mark.parametrize("path", ["garbage", "bad_chunk"])
async def test_answer_that_is_no_http_is_permanent(client: Client, peer: Peer, path: str) -> None:
    failed = await failure(client, f"{peer.url}/{path}")
    assert (failed.code, failed.error_class) == ("response_malformed", "validation")


@pytest.mark.parametrize(
    "path", ["endless?mb=6", "endless?mb=6&chunked=1", "bomb?mb=6", "big_headers", "big_headers?many=1"]
)
async def test_too_large_answer_is_permanent(client: Client, peer: Peer, path: str) -> None:
    failed = await failure(client, f"{peer.url}/{path}")
    assert (failed.code, failed.error_class) == ("response_too_large", "validation")


async def test_answer_just_below_the_cap_arrives(client: Client, peer: Peer) -> None:
    result = await response(client, f"{peer.url}/endless?mb=5")
    assert isinstance(result.body.value, JsonText)
    assert result.body.is_binary


@pytest.mark.parametrize(
    ("status", "error_class"),
    [(304, "http_status"), (400, "http_status"), (404, "http_status"), (408, "timeout"), (425, "429"), (429, "429"),
     (500, "5xx"), (503, "5xx")],
)  # fmt: skip
async def test_status_has_its_class(client: Client, peer: Peer, status: int, error_class: str) -> None:
    failed = await failure(client, f"{peer.url}/status/{status}")
    assert (failed.code, failed.error_class, failed.status) == ("http_status", error_class, status)


async def test_retry_after_is_passed_on(client: Client, peer: Peer) -> None:
    assert (await failure(client, f"{peer.url}/status/429?retry_after=7")).retry_after_seconds == 7.0


async def test_beginning_of_an_error_body_is_kept(client: Client, peer: Peer) -> None:
    failed = await failure(client, f"{peer.url}/status/422")
    assert failed.details == {"status": 422, "body": '{"status": 422}'}


async def test_error_status_counts_even_if_its_body_never_ends(client: Client, peer: Peer) -> None:
    async def forbid(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nx")
        await peer.stopping.wait()

    peer.behaviour = forbid
    failed = await failure(client, peer.url)
    assert (failed.error_class, failed.status) == ("http_status", 403)


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [(301, "POST", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD"), (302, "PUT", "PUT"),
     (307, "POST", "POST"), (308, "POST", "POST")],
)  # fmt: skip
async def test_redirect_changes_the_method_as_browsers_do(
    client: Client, peer: Peer, status: int, method: str, becomes: str
) -> None:
    body = b"{}" if method != "HEAD" else None
    headers = {"Content-Type": "application/json"}
    await response(client, redirect_to(peer, "/echo", status=status), method=method, body=body, headers=headers)
    last = peer.requests[-1]
    assert last.method == becomes
    assert last.body == (body if becomes == method and body else b"")
    assert ("content-type" in last.headers) == (becomes == method)


async def test_redirects_end_after_five(client: Client, peer: Peer) -> None:
    failed = await failure(client, f"{peer.url}/loop")
    assert (failed.code, failed.error_class) == ("http_too_many_redirects", "http_status")
    assert len(peer.requests) == 6


async def test_redirect_is_not_followed_when_unwanted(client: Client, peer: Peer) -> None:
    failed = await failure(client, redirect_to(peer, "/echo"), follow_redirects=False)
    assert failed.status == 302
    assert len(peer.requests) == 1


async def test_redirect_that_is_expected_is_the_answer(client: Client, peer: Peer) -> None:
    result = await response(client, redirect_to(peer, "/echo"), is_expected=frozenset({302}).__contains__)
    assert result.headers["location"] == "/echo"


async def test_redirect_to_a_private_address_is_blocked(client: Client, peer: Peer) -> None:
    async with Listener(host="127.0.0.5") as canary:
        failed = await failure(client, redirect_to(peer, f"http://127.0.0.5:{canary.port}/"))
        assert failed.code == "ssrf_blocked"
        assert canary.connections == 0


async def test_credentials_stay_with_their_origin(client: Client, peer: Peer) -> None:
    headers = {"Authorization": "Bearer t", "Cookie": "c=1", "X-Key": "k", "X-Of-Secret": "a s3cret b", "X-Plain": "p"}
    options = {"headers": headers, "credentials": frozenset({"x-key"}), "redact": ("s3cret",)}
    async with Peer() as other:
        await response(client, redirect_to(peer, "/echo"), **options)
        await response(client, redirect_to(peer, f"{other.url}/echo"), **options)
        (elsewhere,) = other.requests
    assert {"authorization", "cookie", "x-key", "x-of-secret", "x-plain"} <= peer.requests[1].headers.keys()
    assert elsewhere.headers.keys() & {"authorization", "cookie", "x-key", "x-of-secret"} == set()
    assert elsewhere.headers["x-plain"] == "p"


async def test_body_with_a_secret_stays_with_its_origin(client: Client, peer: Peer) -> None:
    async with Peer() as other:
        url = redirect_to(peer, other.url, status=307)
        failed = await failure(client, url, method="POST", body=b"key=s3cret", redact=("s3cret",))
        assert failed.code == "redirect_refused"
        assert other.requests == []


async def test_user_in_the_url_becomes_a_header_and_is_never_shown(client: Client, peer: Peer) -> None:
    url = peer.url.replace("http://", "http://ann:pa%20ss@") + "/status/404?token=t0ken"
    failed = await failure(client, url)
    assert peer.requests[0].headers["authorization"] == "Basic YW5uOnBhIHNz"
    assert failed.url == f"{peer.url}/status/404"
    assert "ann" not in failed.message
    assert "t0ken" not in failed.message


async def test_secret_in_a_path_or_an_answer_is_masked(client: Client, peer: Peer) -> None:
    result = await response(
        client, f"{peer.url}/echo/s3cret-key?x=s3cret-key", headers={"X-A": "s3cret-key"}, redact=("s3cret-key",)
    )
    assert "s3cret-key" not in repr(result)
    assert "***" in repr(result.body.value)
    assert peer.requests[0].headers["x-a"] == "s3cret-key"


async def test_secret_in_an_error_body_is_masked(client: Client, peer: Peer) -> None:
    async def refuse(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"x" * 996 + b"s3cret-key", status=401, content_type="text/plain"))

    peer.behaviour = refuse
    failed = await failure(client, peer.url, redact=("s3cret-key",))
    assert "s3c" not in repr(failed)


async def test_identity_encoding_is_asked_for(client: Client, peer: Peer) -> None:
    await response(client, peer.url)
    assert peer.requests[0].headers["accept-encoding"] == "identity"


async def test_compressed_answer_is_read_all_the_same(client: Client, peer: Peer) -> None:
    result = await response(client, f"{peer.url}/bomb?mb=1")
    assert result.body.is_binary  # zeros are no text


async def test_cookies_are_not_kept(client: Client, peer: Peer) -> None:
    async def set_cookie(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"{}", headers={"Set-Cookie": "a=b"}))

    peer.behaviour = set_cookie
    await response(client, peer.url)
    await response(client, peer.url)
    assert "cookie" not in peer.requests[1].headers


async def test_large_request_body_arrives_whole(client: Client, peer: Peer) -> None:
    body = b"x" * (3 << 20)
    await response(client, f"{peer.url}/status/200", method="POST", body=body)
    assert peer.requests[0].body == body


async def test_too_large_request_body_is_not_sent(client: Client, peer: Peer) -> None:
    failed = await failure(client, peer.url, method="POST", body=b"x" * (5 * (1 << 20) + 1))
    assert failed.code == "request_too_large"
    assert peer.connections == 0


async def test_certificate_of_nobody_is_a_tls_error(client: Client, tmp_path: Path) -> None:
    async with Peer(tls=server_context(tmp_path)) as peer:
        failed = await failure(client, peer.url)
    assert (failed.code, failed.error_class) == ("http_tls", "tls")


async def test_plain_server_under_https_is_a_tls_error(client: Client) -> None:
    async with Listener(greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as listener:
        failed = await failure(client, f"https://127.0.0.1:{listener.port}/")
    assert (failed.code, failed.error_class) == ("http_tls", "connect")


async def test_head_has_no_body(client: Client, peer: Peer) -> None:
    result = await response(client, f"{peer.url}/echo", method="HEAD")
    assert result.body.value is None
