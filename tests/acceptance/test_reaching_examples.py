"""The examples that reach out with credentials and files, and the two that tell each other: servers check them."""

from __future__ import annotations

import asyncio
import json
import ssl
from asyncio import StreamWriter
from email import message_from_bytes
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.behaviours import Received, answer
from tests.support.certificates import server_context, write_certificate
from tests.support.oauth import OAuthServer
from tests.support.peers import Peer
from tests.support.runner import wait_for
from tests.support.stack import Stack, check

EXAMPLES = Path(__file__).parents[2] / "examples"


def read(name: str, file: str) -> Any:
    return json.loads((EXAMPLES / name / file).read_text())


def keep(stack: Stack, **secrets: str) -> None:
    for name, value in secrets.items():
        assert stack.front.request("PUT", f"/secrets/{name}", json={"value": value}).status_code in (200, 201, 204)


def is_waiting(stack: Stack, execution: str, label: str) -> bool:
    return bool(stack.get(execution)["steps"][0]["waits_for"] == label)


def run(stack: Stack, name: str, url: str) -> None:
    """Run an example with its input against a server at `url`, and compare."""
    given = {key: url if key.endswith("_url") else value for key, value in read(name, "input.json").items()}
    imported = stack.import_file(EXAMPLES / name / "workflow.yaml")
    check(stack.run(imported["name"], given), read(name, "expected.json"))


async def test_token_of_an_oauth2_server_is_shown(stack: Stack) -> None:
    server = OAuthServer()
    async with Peer(behaviour=server) as peer:
        await asyncio.to_thread(keep, stack, SHOP_SECRET=server.client_secret)
        await asyncio.to_thread(run, stack, "token_orders", peer.url)
    assert [asked["scope"] for asked in server.asked] == ["orders:read"]


async def test_certificate_is_shown_to_a_server_that_demands_it(stack: Stack, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "server", tmp_path / "client"
    theirs.mkdir()
    ours.mkdir()
    client = write_certificate(ours)
    tls = server_context(theirs)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(client)
    text = client.read_text()
    middle = text.index("-----BEGIN CERTIFICATE")
    authority = (theirs / "certificate.pem").read_text()

    async def bank(peer: Peer, request: Received, writer: StreamWriter) -> None:
        assert writer.get_extra_info("peercert")
        writer.write(answer(b'{"balance": 20.5}'))

    async with Peer(behaviour=bank, tls=tls) as peer:
        await asyncio.to_thread(
            keep,
            stack,
            BANK_CERTIFICATE=text[middle:],
            BANK_KEY=text[:middle],
            BANK_CA=authority[authority.index("-----BEGIN CERTIFICATE") :],
        )
        await asyncio.to_thread(run, stack, "bank_balance", f"https://127.0.0.1:{peer.port}")


async def test_file_that_was_fetched_is_handed_in_as_it_was(stack: Stack) -> None:
    invoice = b"%PDF-1.7\n\x00\xff\xfe"
    taken: list[bytes] = []

    async def services(peer: Peer, request: Received, writer: StreamWriter) -> None:
        if request.path == "/invoice.pdf":
            writer.write(answer(invoice, content_type="application/pdf"))
            return
        kind = request.headers["content-type"]
        form = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + request.body)
        parts: Any = form.get_payload()
        order, file = parts
        taken.append(file.get_payload(decode=True))
        assert file.get_content_type() == "application/pdf"
        name = f"{order.get_payload()}/{file.get_filename()}"
        writer.write(answer(json.dumps({"id": name}).encode(), status=201))

    async with Peer(behaviour=services) as peer:
        await asyncio.to_thread(run, stack, "invoice_upload", peer.url)
    assert taken == [invoice]


def test_one_workflow_tells_and_the_other_goes_on(stack: Stack) -> None:
    folder = EXAMPLES / "shipped_parcel"
    waiting, telling = (stack.import_file(folder / file)["name"] for file in ("workflow.yaml", "warehouse.yaml"))
    keep(stack, FLOWGRES_KEY=stack.api.headers["X-API-Key"])
    ours, other = stack.start(waiting, read("shipped_parcel", "input.json")), stack.start(waiting, {"order_id": "7"})
    for execution in (ours, other):
        label = "event:parcel.shipped"
        wait_for(partial(is_waiting, stack, execution, label), what="the wait")
    given = {"order_id": "1001", "carrier": "Rail", "front_url": stack.front.url}
    assert stack.run(telling, given)["output"] == {"woken": 1}
    check(stack.wait(ours), read("shipped_parcel", "expected.json"))
    assert stack.run(telling, given)["output"] == {"woken": 0}, "the same event again"
    assert stack.get(other)["steps"][0]["status"] == "waiting"
