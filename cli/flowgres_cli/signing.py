"""Signing what is sent to a webhook, as the senders of each scheme do."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from flowgres_cli.errors import UsageProblemError

SCHEMES = ("github", "standard", "stripe", "slack", "token", "none")


def sign(scheme: str, secret: str, body: bytes, *, key: str, at: int) -> dict[str, str]:
    """The headers of a delivery that is called `key` and signed `at` a time, in seconds since 1970.

    Raises UsageProblemError for a secret that the scheme cannot sign with.
    """
    if scheme == "none":
        return {"Idempotency-Key": key}
    if not secret:
        raise UsageProblemError("the secret is empty", hint="Give the one that the sender has.")
    if scheme == "token":
        return {"Authorization": f"Bearer {secret}", "Idempotency-Key": key}
    if scheme == "standard":
        signature = base64.b64encode(_digest(_standard_key(secret), f"{key}.{at}.".encode() + body)).decode()
        return {"webhook-id": key, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}
    signing = secret.encode()
    if scheme == "github":
        return {"X-Hub-Signature-256": f"sha256={_digest(signing, body).hex()}", "X-GitHub-Delivery": key}
    if scheme == "stripe":
        return {"Stripe-Signature": f"t={at},v1={_digest(signing, f'{at}.'.encode() + body).hex()}"}
    signature = f"v0={_digest(signing, f'v0:{at}:'.encode() + body).hex()}"
    return {"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": signature}


def _standard_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageProblemError(
            "a secret of Standard Webhooks is base64, with whsec_ before it",
            hint='Make one: printf "whsec_%s\\n" "$(openssl rand -base64 24)"',
        ) from error
    if not key:
        raise UsageProblemError("the secret is empty", hint="Give the one that the sender has.")
    return key


def _digest(key: bytes, signed: bytes) -> bytes:
    return hmac.new(key, signed, hashlib.sha256).digest()
