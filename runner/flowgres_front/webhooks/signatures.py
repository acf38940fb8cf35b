"""Whether a delivery is authentic, by the raw bytes of its body and before anything of it is read.

Each scheme says what is signed and where the signature stands. Comparisons take the same time wherever texts differ.
The time of a signature is SQL's to judge: here it only has to be a plain integer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Headers = Mapping[str, Sequence[str]]
"""All values of each header, by its name in lower case."""

_TIMESTAMP: Final = re.compile(r"(0|[1-9][0-9]{0,11})", re.ASCII)
_STANDARD_ID: Final = re.compile(r"[!-\-/-~]{1,255}")
"""Printable, without the dot, which would leave open where the id ends in what was signed."""
_MOST_SIGNATURES: Final = 32
_STANDARD_PREFIX: Final = "whsec_"


@dataclass(frozen=True, slots=True)
class Proof:
    """The delivery is authentic.

    `signed_at` is when its sender signed, in seconds since 1970, where the scheme signs a time. `key` is what the
    sender calls the delivery, where a header says so. `signature` is the one that was right; "" without any.
    """

    signed_at: int | None = None
    key: str | None = None
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The delivery is not authentic. `reason` is a code for the log of its tenant; the sender never reads it."""

    reason: str


Verdict = Proof | Refusal


def verify(scheme: str, secrets: Sequence[str], headers: Headers, body: bytes) -> Verdict:
    """Check a delivery with each of the secrets that are good now; `scheme` is one that SQL knows.

    Without a secret nothing is authentic, but where the scheme is `none`.
    """
    if scheme == "none":
        return Proof(key=_own_key(headers))
    keys = [key for secret in secrets if (key := _key_of(scheme, secret))]
    if not keys:
        return Refusal("secret_unusable" if secrets else "secret_missing")
    return _SCHEMES[scheme](keys, headers, body)


def check_decoy(body: bytes) -> None:
    """Take the time of a check for an address that there is not."""
    hmac.digest(b"nobody", body, "sha256")


def _github(keys: Sequence[bytes], headers: Headers, body: bytes) -> Verdict:
    given = _only(headers, "x-hub-signature-256")
    if given is None:
        return Refusal("signature_missing")
    if not any(_is_same("sha256=" + _hex(key, body), given) for key in keys):
        return Refusal("signature_wrong")
    return Proof(key=_only(headers, "x-github-delivery") or _own_key(headers), signature=given)


def _standard(keys: Sequence[bytes], headers: Headers, body: bytes) -> Verdict:
    message, at, given = (_only(headers, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if message is None or at is None or given is None:
        return Refusal("signature_missing")
    if _STANDARD_ID.fullmatch(message) is None or _TIMESTAMP.fullmatch(at) is None:
        return Refusal("signature_malformed")
    signed = f"{message}.{at}.".encode() + body
    right = [f"v1,{_base64(key, signed)}" for key in keys]
    found = [one for one in given.split(" ")[:_MOST_SIGNATURES] if any([_is_same(expected, one) for expected in right])]
    return Proof(signed_at=int(at), key=message, signature=found[0]) if found else Refusal("signature_wrong")


def _stripe(keys: Sequence[bytes], headers: Headers, body: bytes) -> Verdict:
    given = _only(headers, "stripe-signature")
    if given is None:
        return Refusal("signature_missing")
    pairs = [part.partition("=") for part in given.split(",")[: _MOST_SIGNATURES + 1]]
    times = [value for name, _, value in pairs if name == "t"]
    if len(times) != 1 or ("v1", "", "") in pairs or _TIMESTAMP.fullmatch(times[0]) is None:
        return Refusal("signature_malformed")
    signed = f"{times[0]}.".encode() + body
    right = [_hex(key, signed) for key in keys]
    found = [
        value for name, _, value in pairs if name == "v1" and any([_is_same(expected, value) for expected in right])
    ]
    return Proof(signed_at=int(times[0]), signature=found[0]) if found else Refusal("signature_wrong")


def _slack(keys: Sequence[bytes], headers: Headers, body: bytes) -> Verdict:
    at, given = _only(headers, "x-slack-request-timestamp"), _only(headers, "x-slack-signature")
    if at is None or given is None:
        return Refusal("signature_missing")
    if _TIMESTAMP.fullmatch(at) is None:
        return Refusal("signature_malformed")
    signed = f"v0:{at}:".encode() + body
    if not any([_is_same("v0=" + _hex(key, signed), given) for key in keys]):
        return Refusal("signature_wrong")
    return Proof(signed_at=int(at), signature=given)


def _token(keys: Sequence[bytes], headers: Headers, body: bytes) -> Verdict:
    del body
    given = _bearer(headers) or _only(headers, "x-webhook-token") or _only(headers, "x-gitlab-token")
    if given is None:
        return Refusal("token_missing")
    if not any([hmac.compare_digest(key, given.encode()) for key in keys]):
        return Refusal("token_wrong")
    return Proof(key=_own_key(headers))


_SCHEMES: Final[Mapping[str, Callable[[Sequence[bytes], Headers, bytes], Verdict]]] = {
    "github": _github,
    "standard": _standard,
    "stripe": _stripe,
    "slack": _slack,
    "token": _token,
}


def _key_of(scheme: str, secret: str) -> bytes:
    """What a secret signs with; nothing when it is none."""
    if scheme != "standard":
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _own_key(headers: Headers) -> str | None:
    return _only(headers, "idempotency-key") or _only(headers, "webhook-id")


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = (_only(headers, "authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _only(headers: Headers, name: str) -> str | None:
    """The value of a header that is there once; which of several was meant nobody can say."""
    values = headers.get(name, ())
    return values[0] if len(values) == 1 and values[0] else None


def _hex(key: bytes, signed: bytes) -> str:
    return hmac.digest(key, signed, hashlib.sha256).hex()


def _base64(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _is_same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode())
