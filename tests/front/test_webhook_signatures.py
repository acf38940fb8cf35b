"""Signatures: vectors that others have published, and no change of anything that was signed."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgres_front.webhooks.signatures import Headers, Proof, Refusal, verify
from tests.support.webhooks import SECRET, STANDARD_SECRET, signed

SIGNED_SCHEMES = ["github", "standard", "stripe", "slack"]
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14"
    b"d10d2c447fce8b6703c"
)
STANDARD = {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330"}
RIGHT = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
VECTORS: list[tuple[str, str, dict[str, str], bytes, bool]] = [
    # GitHub: Validating webhook deliveries.
    ("github", "It's a Secret to Everybody", {
        "X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
        b"Hello, World!", True),
    # Slack: Verifying requests from Slack.
    ("slack", "8f742231b10e8888abcd99yyyzzz85a5", {"X-Slack-Request-Timestamp": "1531420618",
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"}, SLACK_BODY, True),
    # The libraries of Standard Webhooks: the right one, several, of another version, none of them.
    ("standard", STANDARD_SECRET, STANDARD | {"webhook-signature": RIGHT}, b'{"test": 2432232314}', True),
    ("standard", STANDARD_SECRET.removeprefix("whsec_"), STANDARD | {"webhook-signature": RIGHT},
        b'{"test": 2432232314}', True),
    ("standard", STANDARD_SECRET, STANDARD | {"webhook-signature":
        "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= " + RIGHT},
        b'{"test": 2432232314}', True),
    ("standard", STANDARD_SECRET, STANDARD | {"webhook-signature": RIGHT.replace("v1,", "v2,")},
        b'{"test": 2432232314}', False),
    ("standard", STANDARD_SECRET, STANDARD | {"webhook-signature": "v1,dawfeoifkpqwoekfpqoekf"},
        b'{"test": 2432232314}', False),
    ("standard", STANDARD_SECRET, STANDARD | {"webhook-signature": RIGHT, "webhook-id": ""},
        b'{"test": 2432232314}', False),
    ("standard", STANDARD_SECRET, STANDARD | {"webhook-signature": RIGHT}, b'{"test": 2432232315}', False),
]  # fmt: skip


def lists(headers: Mapping[str, str]) -> Headers:
    """Headers as the front has them."""
    return {name.lower(): [value] for name, value in headers.items()}


@pytest.mark.parametrize(("scheme", "secret", "headers", "body", "is_right"), VECTORS)
def test_published_vectors(scheme: str, secret: str, headers: dict[str, str], body: bytes, is_right: bool) -> None:
    assert isinstance(verify(scheme, [secret], lists(headers), body), Proof) is is_right


def secret_of(scheme: str) -> str:
    return STANDARD_SECRET if scheme == "standard" else SECRET


@pytest.mark.parametrize("scheme", [*SIGNED_SCHEMES, "token"])
def test_any_of_several_secrets_is_enough_and_none_is_not(scheme: str) -> None:
    secret = secret_of(scheme)
    headers = lists(signed(scheme, b"body", secret=secret, at=1_700_000_000))
    other = "whsec_" + base64.b64encode(b"another one").decode()
    assert isinstance(verify(scheme, [other, secret], headers, b"body"), Proof)
    assert verify(scheme, [], headers, b"body") == Refusal("secret_missing")
    assert verify(scheme, [""], headers, b"body") == Refusal("secret_unusable")


def test_secret_that_is_empty_behind_its_prefix_is_none() -> None:
    headers = lists(signed("standard", b"body", secret="whsec_", at=1_700_000_000))
    assert verify("standard", ["whsec_"], headers, b"body") == Refusal("secret_unusable")


@pytest.mark.parametrize("scheme", [*SIGNED_SCHEMES, "token"])
def test_a_header_that_is_there_twice_says_nothing(scheme: str) -> None:
    headers = lists(signed(scheme, b"body", secret=secret_of(scheme), at=1_700_000_000))
    for name in headers.keys() - {"x-github-delivery", "idempotency-key"}:
        twice = {**headers, name: [*headers[name], *headers[name]]}
        assert isinstance(verify(scheme, [secret_of(scheme)], twice, b"body"), Refusal)


@given(data=st.data(), body=st.binary(min_size=1, max_size=200), scheme=st.sampled_from(SIGNED_SCHEMES))
def test_no_byte_of_what_was_signed_may_change(data: st.DataObject, body: bytes, scheme: str) -> None:
    headers = signed(scheme, body, secret=secret_of(scheme), at=1_700_000_000)
    assert isinstance(verify(scheme, [secret_of(scheme)], lists(headers), body), Proof)

    what = data.draw(st.sampled_from([None, *sorted(headers.keys() - {"X-GitHub-Delivery"})]))
    if what is None:
        at = data.draw(st.integers(0, len(body) - 1))
        changed = bytes([body[at] ^ data.draw(st.integers(1, 255))])
        assert isinstance(
            verify(scheme, [secret_of(scheme)], lists(headers), body[:at] + changed + body[at + 1 :]), Refusal
        )
    else:
        value = headers[what]
        at = data.draw(st.integers(0, len(value) - 1))
        char = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda char: char != value[at]))
        wrong = headers | {what: value[:at] + char + value[at + 1 :]}
        assert isinstance(verify(scheme, [secret_of(scheme)], lists(wrong), body), Refusal)


@given(
    scheme=st.sampled_from([*SIGNED_SCHEMES, "token"]),
    values=st.lists(st.text(st.characters(max_codepoint=255), max_size=60), min_size=4, max_size=4),
)
def test_whatever_headers_say_there_is_a_verdict(scheme: str, values: list[str]) -> None:
    names = [*sorted(lists(signed(scheme, b"", secret=secret_of(scheme)))), "x-gitlab-token", "webhook-id"]
    headers = {name: [value] for name, value in zip(names, values, strict=False)}
    assert isinstance(verify(scheme, [secret_of(scheme)], headers, b"body"), Refusal)
