"""Signatures of requests, compared with the reference library."""

from __future__ import annotations

import base64
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from flowgres_runner.http.signing import sign

AT = 1_700_000_000


@given(key=st.binary(min_size=1, max_size=80), body=st.text(st.characters(codec="utf-8"), max_size=200))
def test_signature_is_that_of_the_reference_library(key: bytes, body: str) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    signed = sign(secret, message_id="msg_1", at=AT, body=body.encode())
    expected = Webhook(secret).sign("msg_1", dt.datetime.fromtimestamp(AT, dt.UTC), body)
    assert signed == {"webhook-id": "msg_1", "webhook-timestamp": str(AT), "webhook-signature": expected}


PLAIN = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: not text.startswith("whsec_"))


@given(text=PLAIN)
def test_any_text_is_a_key_by_its_bytes(text: str) -> None:
    secret = "whsec_" + base64.b64encode(text.encode()).decode()
    assert sign(text, message_id="m", at=AT, body=b"x") == sign(secret, message_id="m", at=AT, body=b"x")


@pytest.mark.parametrize("secret", ["whsec_", "whsec_%", "whsec_abc", "whsec_ü"])
def test_what_is_no_base64_behind_its_prefix_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        sign(secret, message_id="m", at=AT, body=b"")


@pytest.mark.parametrize("message_id", ["", "a.b", "a\nb", "ü"])
def test_id_that_no_signature_can_hold_is_refused(message_id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        sign("a key", message_id=message_id, at=AT, body=b"")
