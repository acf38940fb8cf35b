"""Signatures beside the senders' own libraries: what they sign is taken, and what they refuse is refused."""

from __future__ import annotations

import time

import stripe
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier

from flowgres_front.webhooks.signatures import Proof, verify

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)
BODIES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)


def is_taken(scheme: str, secret: str, headers: dict[str, str], body: str) -> bool:
    given = {name.lower(): [value] for name, value in headers.items()}
    return isinstance(verify(scheme, [secret], given, body.encode()), Proof)


def is_of_stripe(secret: str, header: str, body: str) -> bool:
    """What Stripe's library says, whatever the time."""
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, secret))
    except stripe.SignatureVerificationError:
        return False


def stripe_signature(secret: str, at: int, body: str) -> str:
    return stripe.WebhookSignature._compute_signature(f"{at}.{body}", secret)


@given(secret=SECRETS, body=BODIES, at=st.integers(0, 10**11))
def test_what_stripe_signs_is_taken(secret: str, body: str, at: int) -> None:
    header = f"t={at},v1={stripe_signature(secret, at, body)}"
    assert is_of_stripe(secret, header, body)
    assert is_taken("stripe", secret, {"Stripe-Signature": header}, body)


@given(data=st.data(), secret=SECRETS, body=BODIES, at=st.integers(0, 10**11))
def test_stripe_and_we_agree_on_every_header(data: st.DataObject, secret: str, body: str, at: int) -> None:
    right = stripe_signature(secret, at, body)
    known = [
        f"t={at}",
        f"v1={right}",
        f" v1={right}",
        f"v0={right}",
        f"v1={right[:-1]}",
        f"V1={right}",
        "t=x",
        "v1",
        "",
    ]
    parts = data.draw(st.lists(st.sampled_from(known) | HEX.map("v1={}".format), max_size=6))
    header = ",".join(parts)

    ours = is_taken("stripe", secret, {"Stripe-Signature": header}, body)

    # Of several times Stripe's takes one; to us none is the one that was meant, and nobody sends that.
    assert ours == (is_of_stripe(secret, header, body) and header.count("t=") == 1)


@given(data=st.data(), secret=SECRETS, body=BODIES)
def test_slack_and_we_agree_on_every_signature(data: st.DataObject, secret: str, body: str) -> None:
    at = str(int(time.time()))
    verifier = SignatureVerifier(secret)
    right = verifier.generate_signature(timestamp=at, body=body)
    assert right is not None
    assert is_taken("slack", secret, {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": right}, body)

    wrong = [right.upper(), right[:-1], right + " ", right.replace("v0=", "v1="), right.removeprefix("v0="), "v0="]
    signature = data.draw(st.sampled_from([right, *wrong]) | HEX.map("v0={}".format))
    sent = data.draw(st.sampled_from([body, body + " "]))
    theirs = verifier.is_valid(sent, at, signature)
    assert theirs == is_taken("slack", secret, {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": signature}, sent)
