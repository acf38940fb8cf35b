"""Handing messages to a real mail server on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowgres_runner.http import EgressPolicy, dialing
from flowgres_runner.mail import Delivery, Mailer, MailError, compose
from flowgres_runner.mail import MailServer as Address
from tests.support.certificates import write_certificate
from tests.support.mail import MailServer

ALLOWED = EgressPolicy(allow_private_networks=True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(scope="module")
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def send(
    url: str,
    *,
    recipients: Sequence[str] = ("ann@example.com",),
    policy: EgressPolicy = ALLOWED,
    tls: ssl.SSLContext | None = None,
    seconds: float = 5,
    text: str = "It is here.",
) -> Delivery:
    mailer = Mailer(policy=policy, tls=tls)
    letter = compose(
        sender="shop@example.com", recipients=list(recipients), subject="Hello", text=text, key="e1/tell",
        at=datetime.now(UTC),
    )  # fmt: skip
    try:
        return await mailer.send(letter, Address.parse(url), timeout_seconds=seconds)
    finally:
        await mailer.close()


async def failure(url: str, **given: object) -> MailError:
    with pytest.raises(MailError) as caught:
        await send(url, **given)  # type: ignore[arg-type]
    return caught.value


@asynccontextmanager
async def saying(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> AsyncIterator[int]:
    """A server that says what it is told to, as no good one would."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)  # type: ignore[misc]
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_starttls_with_login(server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    with MailServer(tls=server_tls, password="pass-word-1") as server:
        done = await send(f"smtp://shop:pass-word-1@127.0.0.1:{server.port}", tls=trusting)
    [mail] = server.mails
    assert (mail.is_encrypted, mail.user, mail.recipients) == (True, "shop", ["ann@example.com"])
    assert mail.message.get_content().strip() == "It is here."
    assert (done.accepted, done.refused) == (("ann@example.com",), ())


async def test_implicit_tls(server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    with MailServer(tls=server_tls, is_implicit=True) as server:
        await send(f"smtps://127.0.0.1:{server.port}", tls=trusting)
    assert server.mails[0].is_encrypted


async def test_lines_with_dots_and_other_letters_arrive_as_they_are(
    server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    text = "one\n.\n..two\nQUIT\n\u00e9\u4e16"
    with MailServer(tls=server_tls) as server:
        await send(f"smtp://127.0.0.1:{server.port}", tls=trusting, text=text)
    assert server.mails[0].message.get_content().replace("\r\n", "\n").rstrip("\n") == text


@pytest.mark.parametrize("is_implicit", [True, False])
async def test_certificate_that_nobody_vouches_for_is_refused(server_tls: ssl.SSLContext, is_implicit: bool) -> None:
    with MailServer(tls=server_tls, is_implicit=is_implicit) as server:
        error = await failure(f"{'smtps' if is_implicit else 'smtp'}://127.0.0.1:{server.port}")
    assert (error.code, error.error_class, server.mails) == ("smtp_tls", "tls", [])


async def test_nothing_is_sent_without_tls_unless_the_address_says_so() -> None:
    with MailServer() as server:
        error = await failure(f"smtp://127.0.0.1:{server.port}")
        assert (error.code, error.error_class, server.mails) == ("smtp_tls_required", "validation", [])
        await send(f"smtp://127.0.0.1:{server.port}?tls=none")
    assert len(server.mails) == 1


async def test_wrong_password_is_not_tried_again(server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    with MailServer(tls=server_tls, password="pass-word-1") as server:
        error = await failure(f"smtp://shop:wrong@127.0.0.1:{server.port}", tls=trusting)
    assert (error.code, error.error_class, error.smtp_code) == ("smtp_login_refused", "validation", 535)


async def test_who_was_refused_is_told_when_others_were_not() -> None:
    with MailServer(refusals={"bob@example.com": "550 no such user"}) as server:
        url = f"smtp://127.0.0.1:{server.port}?tls=none"
        done = await send(url, recipients=["ann@example.com", "bob@example.com"])
    assert done.accepted == ("ann@example.com",)
    assert done.refused == ({"recipient": "bob@example.com", "code": 550, "message": "no such user"},)


@pytest.mark.parametrize(("answer", "error_class"), [("550 no such user", "validation"), ("450 greylisted", "429")])
async def test_all_refused_fails_and_4yz_may_be_tried_again(answer: str, error_class: str) -> None:
    with MailServer(refusals={"ann@example.com": answer}) as server:
        error = await failure(f"smtp://127.0.0.1:{server.port}?tls=none")
    assert (error.code, error.error_class) == ("smtp_recipients_refused", error_class)
    assert error.refused[0]["recipient"] == "ann@example.com"


@pytest.mark.parametrize(("answer", "error_class"), [("554 spam", "validation"), ("451 try later", "429")])
async def test_refused_message(answer: str, error_class: str) -> None:
    with MailServer(answer=answer) as server:
        error = await failure(f"smtp://127.0.0.1:{server.port}?tls=none")
    assert (error.code, error.error_class, error.smtp_code) == ("smtp_refused", error_class, int(answer[:3]))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
async def test_private_address_is_refused_and_nothing_connects(host: str) -> None:
    with MailServer() as server:
        error = await failure(f"smtp://{host}:{server.port}?tls=none", policy=EgressPolicy())
        assert server.connections == 0
    assert (error.code, error.error_class) == ("ssrf_blocked", "validation")
    assert "HTTP_ALLOWED_HOSTS" in error.hint


async def test_name_that_leads_to_a_private_address_is_refused() -> None:
    async def resolve(host: str, port: int) -> list[tuple[str, int]]:
        return [("127.0.0.1", port)]

    mailer = Mailer(policy=EgressPolicy(), resolve=resolve)
    letter = compose(
        sender="a@b.example", recipients="c@d.example", subject="", text="x", key="k", at=datetime.now(UTC)
    )
    with pytest.raises(MailError) as caught:
        await mailer.send(letter, Address.parse("smtp://mail.example"), timeout_seconds=5)
    assert caught.value.code == "ssrf_blocked"


async def test_server_that_says_nothing_ends_at_the_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with saying(silent) as port:
        error = await failure(f"smtp://127.0.0.1:{port}?tls=none", seconds=0.2)
    assert (error.code, error.error_class) == ("smtp_timeout", "timeout")


async def test_deadline_during_the_goodbye_leaves_a_message_that_was_taken() -> None:
    async def lingering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := (await reader.readline()).strip():
            if line == b"QUIT":
                await reader.read()
                return
            writer.write(b"354 go on\r\n" if line == b"DATA" else b"250 taken\r\n")
            if line == b"DATA":
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 taken\r\n")

    async with saying(lingering) as port:
        done = await send(f"smtp://127.0.0.1:{port}?tls=none", seconds=0.8)
    assert done.accepted == ("ann@example.com",)


async def test_address_that_answers_nothing_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose queue is full answers nothing, as a packet filter would."""
    monkeypatch.setattr(dialing, "ADDRESS_SECONDS", 0.1)

    async def resolve(host: str, port: int) -> list[tuple[str, int]]:
        return [("127.0.0.2", port), ("127.0.0.1", port)]

    with MailServer() as server, socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.2", server.port))
        full.listen(0)
        for _ in range(3):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.2", server.port))
        mailer = Mailer(policy=ALLOWED, resolve=resolve)
        letter = compose(
            sender="a@b.example", recipients="c@d.example", subject="", text="x", key="k", at=datetime.now(UTC)
        )
        await mailer.send(letter, Address.parse(f"smtp://mail.example:{server.port}?tls=none"), timeout_seconds=5)
    assert len(server.mails) == 1


async def test_endless_greeting_is_cut_off() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(10_000):
            writer.write(b"220-" + b"x" * 1_000 + b"\r\n")
            await writer.drain()

    async with saying(endless) as port:
        error = await failure(f"smtp://127.0.0.1:{port}?tls=none")
    assert (error.code, error.error_class) == ("smtp_malformed", "validation")


async def test_what_hangs_up_may_be_tried_again() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.readline()

    async with saying(hang_up) as port:
        error = await failure(f"smtp://127.0.0.1:{port}?tls=none")
        assert (error.code, error.error_class) == ("smtp_connect", "connect")
    error = await failure(f"smtp://127.0.0.1:{port}?tls=none")
    assert (error.code, error.error_class) == ("smtp_connect", "connect")
