"""Client certificates and authorities of a request's own, against servers that demand them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from flowgres_runner.http import Client, tls
from flowgres_runner.http.failures import HttpError
from flowgres_runner.http.tls import Contexts, Identity
from flowgres_runner.json_values import Json
from flowgres_runner.steps.http import HttpStep
from tests.support.authority import HOST, Authority
from tests.support.behaviours import Received, answer
from tests.support.oauth import OAuthServer
from tests.support.peers import Peer
from tests.unit.http.tasks import error_of, make_task, output_of

AUTHORITY = Authority()
ANN, BOB = AUTHORITY.sign("ann"), AUTHORITY.sign("bob")
STRANGER = Authority("stranger").sign("mallory")
LOCKED = AUTHORITY.sign("ann", password="open sesame")
CA: Json = {"ca": AUTHORITY.pem}


async def whoami(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
    shown: Any = writer.get_extra_info("ssl_object").getpeercert()
    name = dict(part[0] for part in shown["subject"])["commonName"] if shown else "nobody"
    writer.write(answer(name.encode(), content_type="text/plain"))


@pytest.fixture
def step(client: Client) -> HttpStep:
    return HttpStep(client)


@pytest.fixture
def demanding(tmp_path: Path) -> Peer:
    return Peer(behaviour=whoami, tls=AUTHORITY.server(tmp_path, demands=True))


def certificate(signed: Any, **more: str) -> dict[str, Json]:
    return {"type": "client_certificate", "certificate": signed.certificate, "key": signed.key, **more}


@pytest.mark.parametrize(
    ("auth", "name"), [(certificate(ANN), "ann"), (certificate(LOCKED, key_password="open sesame"), "ann")]
)
async def test_certificate_is_shown(step: HttpStep, demanding: Peer, auth: dict[str, Json], name: str) -> None:
    async with demanding as peer:
        assert output_of(await step.run(make_task(url=peer.url, auth=auth, tls=CA)))["body"] == name


async def test_connections_of_different_certificates_are_never_shared(step: HttpStep, demanding: Peer) -> None:
    async with demanding as peer:
        names = [
            output_of(await step.run(make_task(url=peer.url, auth=certificate(signed), tls=CA)))["body"]
            for signed in (ANN, BOB, ANN, BOB)
        ]
        assert names == ["ann", "bob", "ann", "bob"]
        assert peer.connections == 2


@contextlib.contextmanager
def refusing(context: ssl.SSLContext) -> Iterator[str]:
    """A server that tells why it ends a connection; asyncio's own hangs up without a word."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as shaken:
                    shaken.recv(1000)
                connection.close()

    with socket.create_server((HOST, 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"https://{HOST}:{listening.getsockname()[1]}/"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.mark.parametrize("auth", [None, certificate(STRANGER)])
async def test_server_that_wants_another_certificate_is_told_of(
    step: HttpStep, tmp_path: Path, auth: dict[str, Json] | None
) -> None:
    config: dict[str, Any] = {"tls": CA} | ({} if auth is None else {"auth": auth})
    with refusing(AUTHORITY.server(tmp_path, demands=True)) as url:
        error = error_of(await step.run(make_task(url=url, **config)))
    assert (error.code, error.error_class) == ("http_tls", "tls")
    assert "certificate" in error.message


async def test_private_authority_is_trusted_by_who_names_it_alone(step: HttpStep, tmp_path: Path) -> None:
    async with Peer(behaviour=whoami, tls=AUTHORITY.server(tmp_path)) as peer:
        assert output_of(await step.run(make_task(url=peer.url, tls=CA)))["body"] == "nobody"
        error = error_of(await step.run(make_task(url=peer.url)))
        assert (error.code, error.error_class) == ("http_tls", "tls")


async def test_certificate_follows_to_no_other_origin(step: HttpStep, demanding: Peer, tmp_path: Path) -> None:
    async def elsewhere(peer: Peer, request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status=307, headers={"Location": target}))

    (tmp_path / "other").mkdir()
    redirecting = Peer(behaviour=elsewhere, tls=AUTHORITY.server(tmp_path / "other", demands=True))
    async with demanding as peer, redirecting as first:
        target = peer.url
        error = error_of(await step.run(make_task(url=first.url, auth=certificate(ANN), tls=CA)))
    assert error.code == "http_tls"
    assert peer.requests == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"auth": certificate(ANN, certificate="nope")}, "auth.certificate is no certificate"),
        ({"auth": certificate(ANN, key="nope")}, "auth.key is no private key"),
        ({"auth": certificate(ANN, key=BOB.key)}, "does not belong"),
        ({"auth": certificate(LOCKED)}, "key_password"),
        ({"auth": certificate(LOCKED, key_password="wrong one")}, "key_password"),
        (
            {"auth": certificate(ANN, certificate=ANN.certificate[:99] + "!" + ANN.certificate[100:])},
            "cannot be loaded",
        ),
        ({"tls": {"ca": "nope"}}, "tls.ca"),
        ({"tls": {"ca": ""}}, "tls.ca"),
        ({"auth": certificate(ANN), "url": "http://127.0.0.1/"}, "https://"),
    ],
)
async def test_what_cannot_be_used_is_told(step: HttpStep, config: dict[str, Any], words: str) -> None:
    error = error_of(await step.run(make_task(**({"url": "https://127.0.0.1:1/"} | config))))
    assert (error.code, error.error_class) == ("config_invalid", "validation")
    assert words in error.message
    assert "PRIVATE" not in error.message


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    assert len(content) < 128
    return bytes((tag, len(content))) + content


def number(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def locked_by(*way: bytes) -> str:
    data = base64.b64encode(der(0x30, der(0x30, *way), der(4, b"x" * 16))).decode()
    return f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{data}\n-----END ENCRYPTED PRIVATE KEY-----\n"


def pbes2(function: str, *parameters: bytes) -> str:
    aes = der(0x30, der(6, bytes.fromhex("60864801650304012a")), der(4, b"i" * 16))
    made = der(0x30, der(6, bytes.fromhex(function)), der(0x30, der(4, b"salt"), *parameters))
    return locked_by(der(6, bytes.fromhex("2a864886f70d01050d")), der(0x30, made, aes))


COSTLY = {
    "PBKDF2": pbes2("2a864886f70d01050c", number(10**7)),
    "scrypt": pbes2("2b06010401da47040b", number(2**14), number(1), number(2**10)),
    "PBES1": locked_by(der(6, bytes.fromhex("2a864886f70d010c0103")), der(0x30, der(4, b"saltsalt"), number(10**7))),
}


@pytest.mark.parametrize("key", COSTLY.values(), ids=COSTLY.keys())
def test_key_that_takes_too_much_work_to_open_is_not_opened(key: str) -> None:
    with pytest.raises(HttpError, match="iterations"):
        tls.make_context(Identity(ANN.certificate, key, "open sesame"))


def test_key_that_takes_too_much_work_is_not_found_behind_another() -> None:
    costly = COSTLY["PBKDF2"]
    tls.make_context(Identity(costly + ANN.certificate, ANN.key + costly, "open sesame"))
    with pytest.raises(HttpError, match="cannot be loaded"):
        tls.make_context(Identity(ANN.certificate, costly.replace("ENCRYPTED PRIVATE", "PRIVATE"), "open sesame"))


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("lines", ["\n", "\r\n"])
@pytest.mark.parametrize("password", [None, "open sesame"])
def test_keys_of_every_form_are_loaded(form: serialization.PrivateFormat, lines: str, password: str | None) -> None:
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        lock = serialization.BestAvailableEncryption(password.encode())
    opened = serialization.load_pem_private_key(ANN.key.encode(), None)
    key = opened.private_bytes(serialization.Encoding.PEM, form, lock).decode()
    tls.make_context(Identity(ANN.certificate.replace("\n", lines), key.replace("\n", lines), password))


def test_authorities_may_be_named_in_any_letters() -> None:
    tls.make_context(Identity(ca=f"# Zertifizierungsstelle f\u00fcr \u4e16\n{AUTHORITY.pem}"))
    with pytest.raises(HttpError, match=r"tls\.ca"):
        tls.make_context(Identity(ca="\u00fc"))


async def test_contexts_are_made_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = Contexts()
    both = [await contexts.find(Identity(ANN.certificate, ANN.key)) for _ in range(2)]
    assert both[0] is both[1]
    assert isinstance(both[0], ssl.SSLContext)
    monkeypatch.setattr(tls, "MAX_CONTEXTS", 2)
    await contexts.find(Identity(BOB.certificate, BOB.key))
    await contexts.find(Identity(ca=AUTHORITY.pem))
    assert len(contexts._contexts) == 2
    assert await contexts.find(Identity(ANN.certificate, ANN.key)) is not both[0]


async def test_token_endpoint_is_trusted_by_the_same_authorities(step: HttpStep, tmp_path: Path) -> None:
    auth: dict[str, Json] = {"type": "oauth2", "client_id": "shop", "client_secret": "hunter2222"}
    async with Peer(behaviour=OAuthServer(client_secret="hunter2222"), tls=AUTHORITY.server(tmp_path)) as peer:
        auth["token_url"] = f"{peer.url}/token"
        assert output_of(await step.run(make_task(url=peer.url, auth=auth, tls=CA)))["status"] == 200
        error = error_of(await step.run(make_task(url=peer.url, auth=auth)))
    assert (error.code, error.error_class) == ("oauth2_failed", "tls")
