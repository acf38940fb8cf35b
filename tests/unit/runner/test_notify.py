"""The step type `notify`: each channel to a real server on loopback, and what it does without one."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from flowgres_runner.http import Client, EgressPolicy
from flowgres_runner.mail import Mailer
from flowgres_runner.steps.base import Completed, Outcome
from flowgres_runner.steps.notify import NotifyHandler
from tests.support.certificates import write_certificate
from tests.support.mail import MailServer
from tests.support.peers import Peer
from tests.support.provided import attempt, error_of, output_of

MAIL = {"channel": "email", "recipient": "ann@example.com", "subject": "Hi", "message": "It is here."}


@pytest.fixture
async def handler() -> AsyncIterator[NotifyHandler]:
    mailer = Mailer(policy=EgressPolicy(allow_private_networks=True))
    yield NotifyHandler(mailer)
    await mailer.close()


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def account(server: MailServer, **more: str) -> dict[str, str]:
    return {"SMTP_URL": f"smtp://127.0.0.1:{server.port}?tls=none", "SMTP_FROM": "Shop <shop@example.com>"} | more


async def test_mail_is_sent_by_the_tenants_own_account(
    handler: NotifyHandler, client: Client, server: MailServer
) -> None:
    config = MAIL | {"recipient": ["ann@example.com", "bob@example.com"], "html": "<b>Hi</b>"}
    outcome = await attempt(handler, client, config, own=account(server))
    output = output_of(outcome)
    assert (output["sent"], output["mode"], output["accepted"]) == (True, "send", config["recipient"])
    [mail] = server.mails
    assert (mail.message["From"], mail.message["Message-ID"]) == ("Shop <shop@example.com>", output["id"])
    again = output_of(await attempt(handler, client, config, own=account(server)))
    assert again["id"] == output["id"]


async def test_who_was_refused_stands_in_output_and_log(handler: NotifyHandler, client: Client) -> None:
    with MailServer(refusals={"bob@example.com": "550 no such user"}) as server:
        config = MAIL | {"recipient": ["ann@example.com", "bob@example.com"]}
        outcome = await attempt(handler, client, config, own=account(server))
    assert output_of(outcome)["refused"] == [{"recipient": "bob@example.com", "code": 550, "message": "no such user"}]


async def test_operators_server_sends_in_its_own_name_alone(
    handler: NotifyHandler, client: Client, server: MailServer
) -> None:
    shared = account(server)
    assert output_of(await attempt(handler, client, MAIL, shared=shared))["sent"]
    assert output_of(await attempt(handler, client, MAIL | {"from": "Us <shop@example.com>"}, shared=shared))["sent"]
    error = error_of(await attempt(handler, client, MAIL | {"from": "ceo@bank.example"}, shared=shared))
    assert error.code == "sender_not_allowed"
    assert [mail.sender for mail in server.mails] == ["shop@example.com"] * 2


async def test_own_server_never_gets_the_operators_sender(handler: NotifyHandler, client: Client) -> None:
    with MailServer() as server:
        url = f"smtp://127.0.0.1:{server.port}?tls=none"
        error = error_of(
            await attempt(handler, client, MAIL | {"server": url}, shared={"SMTP_FROM": "ops@example.com"})
        )
    assert error.code == "provider_not_configured"
    assert "SMTP_FROM" in error.message


async def test_password_of_the_server_is_in_no_error(handler: NotifyHandler, client: Client) -> None:
    own = {"SMTP_URL": "smtps://shop:pass-word-1@127.0.0.1:1/x", "SMTP_FROM": "a@example.com"}
    for url in (own["SMTP_URL"], "smtps://shop:pass-word-1@127.0.0.1:1"):
        outcome = await attempt(handler, client, MAIL, own=own | {"SMTP_URL": url})
        assert error_of(outcome).code in ("smtp_url_invalid", "smtp_connect")
        assert "pass-word-1" not in repr(outcome)


async def test_password_that_the_server_says_again_is_masked(client: Client, tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    mailer = Mailer(
        policy=EgressPolicy(allow_private_networks=True), tls=ssl.create_default_context(cafile=str(certificate))
    )
    with MailServer(tls=tls, password="pass-word-1", answer="554 pass-word-1 is a bad one") as server:
        own = {"SMTP_URL": f"smtp://shop:pass-word-1@127.0.0.1:{server.port}", "SMTP_FROM": "a@example.com"}
        outcome = await attempt(NotifyHandler(mailer), client, MAIL, own=own)
    await mailer.close()
    assert error_of(outcome).message.endswith("554 *** is a bad one")
    assert "pass-word-1" not in repr(outcome)


async def test_address_that_is_none_is_told(handler: NotifyHandler, client: Client, server: MailServer) -> None:
    config = MAIL | {"recipient": "ann@example.com, eve@example.com"}
    assert error_of(await attempt(handler, client, config, own=account(server))).code == "recipient_invalid"


async def test_slack_gets_text_and_blocks(handler: NotifyHandler, client: Client, peer: Peer) -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "Hi"}}]
    config = {"channel": "slack", "recipient": "#ops", "subject": "Down", "message": "shop", "blocks": blocks}
    output = output_of(await attempt(handler, client, config, own={"SLACK_WEBHOOK_URL": f"{peer.url}/status/200"}))
    assert output == {"channel": "slack", "recipient": "#ops", "sent": True, "mode": "send"}
    assert json.loads(peer.requests[0].body) == {"text": "*Down*\nshop", "blocks": blocks}


@pytest.mark.parametrize(
    ("path", "code", "error_class", "seconds"),
    [
        ("/status/403", "slack_refused", "http_status", None),
        ("/status/429?retry_after=9", "http_status", "429", 9),
        ("/status/503", "http_status", "5xx", None),
    ],
)
async def test_slack_that_refuses(
    handler: NotifyHandler, client: Client, peer: Peer, path: str, code: str, error_class: str, seconds: float | None
) -> None:
    config = {"channel": "slack", "message": "x", "url": peer.url + path}
    error = error_of(await attempt(handler, client, config))
    assert (error.code, error.error_class, error.retry_after_seconds) == (code, error_class, seconds)


async def test_webhook_is_signed_under_one_id(handler: NotifyHandler, client: Client, peer: Peer) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    config = {
        "channel": "webhook",
        "recipient": f"{peer.url}/echo",
        "message": "up",
        "data": {"n": 1},
        "secret": secret,
    }
    for _ in range(2):
        assert output_of(await attempt(handler, client, config))["id"] == "e1/tell"
    first, second = peer.requests
    assert Webhook(secret).verify(first.body, dict(first.headers)) == {
        "execution_id": "e1", "step": "tell", "message": "up", "recipient": f"{peer.url}/echo", "data": {"n": 1},
    }  # fmt: skip
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "e1/tell"


async def test_webhook_needs_an_address(handler: NotifyHandler, client: Client) -> None:
    config = {"channel": "webhook", "recipient": "ops", "message": "x"}
    assert error_of(await attempt(handler, client, config)).code == "config_invalid"


@pytest.mark.parametrize("config", [MAIL, {"channel": "slack", "message": "x"}])
async def test_without_a_provider_production_fails_and_development_logs(
    handler: NotifyHandler, client: Client, config: dict[str, Any]
) -> None:
    error = error_of(await attempt(handler, client, config))
    assert (error.code, error.retryable) == ("provider_not_configured", False)
    output = output_of(await attempt(handler, client, config, is_development=True))
    assert (output["sent"], output["mode"]) == (False, "log")


async def test_setting_and_channel_log_send_nothing(handler: NotifyHandler, client: Client, server: MailServer) -> None:
    logs: list[Mapping[str, Any]] = [{"notify_mode": "log"}, {}]
    for settings, channel in zip(logs, ("email", "log"), strict=True):
        outcome: Outcome = await attempt(
            handler, client, MAIL | {"channel": channel}, own=account(server), settings=settings
        )
        assert isinstance(outcome, Completed)
        assert outcome.logs == (("info", f"{channel} to ann@example.com: Hi: It is here."),)
    assert server.mails == []
