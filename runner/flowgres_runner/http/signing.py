"""Signatures of requests as Standard Webhooks has them: https://www.standardwebhooks.com, symmetric, version 1."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = "whsec_"


def sign(secret: str, *, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The three headers of a signed request, by name in lower case.

    `secret` is `whsec_` with the key in base64, or a text whose bytes are the key. `at`: seconds of the attempt, from
    1970. Raises ValueError for a secret that is no base64 behind `whsec_`, and for an id that no signature can hold.
    """
    if not message_id or "." in message_id or not message_id.isascii() or not message_id.isprintable():
        raise ValueError("an id is printable ASCII without dots")
    signed = f"{message_id}.{at}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the secret is no base64 behind whsec_") from None
    if not key:
        raise ValueError("the secret is empty")
    return key
