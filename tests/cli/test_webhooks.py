"""Webhooks at the command line, against the real server and a real runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Flowgres
from .texts import GREET

SECRETS = {"standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


def trigger(scheme: str) -> str:
    secret = "" if scheme == "none" else ", secret: CLI_HOOK"
    return f"triggers: [{{type: webhook, scheme: {scheme}{secret}}}]\n"


@pytest.mark.parametrize("scheme", ["github", "standard", "stripe", "slack", "token", "none"])
def test_what_is_sent_is_signed_as_the_scheme_says(live: Flowgres, write: Callable[..., Path], scheme: str) -> None:
    secret = SECRETS.get(scheme, "a secret of the command line")
    live("secrets", "set", "CLI_HOOK", stdin=secret)
    name = f"hook-{scheme}"
    imported = live(
        "import", str(write(f"{name}.yaml", trigger(scheme) + GREET.replace("name: greet", f"name: {name}")))
    )
    assert imported.code == 0, imported.err

    secret_file = write("secret.txt", secret + "\n")
    sent = live("webhooks", "send", name, str(write("body.json", '{"name": "Ann"}')), "--secret-file", str(secret_file))

    assert sent.code == 0, sent.err
    execution = sent.json["execution_id"]
    assert live("executions", "watch", execution).code == 0
    assert live("executions", "show", execution).json["output"] == {"text": "Hello Ann! "}
    (delivery,) = live("webhooks", "deliveries", name).json
    assert (delivery["outcome"], delivery["execution_id"]) == ("accepted", execution)


def test_webhook_is_listed_rotated_and_delivered_once_more(live: Flowgres, write: Callable[..., Path]) -> None:
    live("secrets", "set", "CLI_HOOK", stdin="a secret of the command line")
    live("secrets", "set", "CLI_NEW", stdin="another secret of the command line")
    imported = live("import", str(write("turn.yaml", trigger("github") + GREET.replace("name: greet", "name: turn"))))
    assert imported.code == 0, imported.err
    (row,) = live("webhooks", "list", "--workflow", "turn").json
    assert "/webhooks/wh_" in live("webhooks", "list", "-o", "table").out
    assert live("webhooks", "show", row["id"]).json == row

    rotated = live("webhooks", "rotate", "turn", "--secret", "CLI_NEW", "--new-address").json
    assert (rotated["secret_name"], rotated["previous_secret_name"]) == ("CLI_NEW", "CLI_HOOK")
    assert rotated["path"] != row["path"]

    body = str(write("body.json", '{"name": "Ann"}'))
    for secret in ("a secret of the command line", "another secret of the command line"):
        secret_file = str(write("secret.txt", secret))
        assert live("webhooks", "send", "turn", body, "--secret-file", secret_file, "--key", secret).code == 0
    deliveries = live("webhooks", "deliveries", "turn", "--outcome", "accepted", "-o", "id").out.split()
    again = live("webhooks", "redeliver", deliveries[0], "-o", "id").out.strip()
    assert live("executions", "watch", again).code == 0


def test_mistakes_at_a_webhook_have_their_exit_codes(live: Flowgres, write: Callable[..., Path]) -> None:
    live("secrets", "set", "CLI_HOOK", stdin="a secret of the command line")
    live("import", str(write("odd.yaml", trigger("github") + GREET.replace("name: greet", "name: odd"))))
    body, wrong = str(write("body.json", "{}")), str(write("wrong.txt", "not the secret"))
    missing = live("webhooks", "show", "nobody")
    assert (missing.code, "flowgres webhooks list" in missing.err) == (3, True)
    assert live("webhooks", "rotate", "odd").code == 2
    assert live("webhooks", "rotate", "odd", "--secret", "NOT_STORED").code == 3
    forged = live("webhooks", "send", "odd", body, "--secret-file", wrong)
    assert (forged.code, "webhooks deliveries" in forged.err) == (5, True)
    assert live("webhooks", "send", "odd", body, stdin="").code == 2
    assert live("webhooks", "redeliver", "00000000-0000-7000-8000-000000000000").code == 3
