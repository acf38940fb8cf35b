"""Secrets leave no trace in results."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from flowgres_runner.http.masks import MASK, Masker

SECRET = 'p@ss/"wörd +1'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_secret_is_masked_in_every_form_a_request_gives_it(form: str) -> None:
    masker = Masker([SECRET])
    assert masker.text(f"<{form}>") == f"<{MASK}>" if not form.endswith("=") else f"<{MASK}=>"
    assert form.encode() not in masker.raw(form.encode())
    assert masker.found_in(form)


def test_json_is_masked_in_keys_strings_and_whole_numbers() -> None:
    masker = Masker(["12345", "key"])
    value = {"a key": ["x12345x", 12345, 123456, True, None], "n": {"key": 1.5}}
    assert masker.json(value) == {"a ***": ["x***x", MASK, 123456, True, None], "n": {MASK: 1.5}}


def test_longer_secret_is_masked_as_a_whole() -> None:
    assert Masker(["abc", "abcdef"]).text("abcdef abc") == f"{MASK} {MASK}"


def test_empty_secrets_mask_nothing() -> None:
    masker = Masker(["", ""])
    assert not masker
    assert masker.text("abc") == "abc"
    assert not masker.found_in("abc")
