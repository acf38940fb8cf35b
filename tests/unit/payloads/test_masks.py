"""Secrets leave no trace in results, and nothing else is changed."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from flowgres_runner.payloads.masks import MASK, Masker

SECRET = 'p@ss/"wörd +1'


def mixed(secret: str, chance: random.Random) -> str:
    """A secret as somebody may spell it who escapes what he likes, in letters of either case, and twice if he likes."""
    return "".join(
        chance.choice(
            [
                character,
                quote(character, safe=""),
                "".join(f"%{octet:02x}" for octet in character.encode()),
                quote(quote(character, safe=""), safe=""),
                json.dumps(character)[1:-1],
                f"\\u{ord(character):04X}",
            ]
        )
        for character in secret
    )


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").replace("%C3%B6", "%c3%b6"),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
    ],
)
def test_secret_is_masked_in_every_form_a_request_gives_it(form: str) -> None:
    masker = Masker([SECRET])
    assert masker.text(f"<{form}>") == f"<{MASK}>"
    assert masker.raw(f"<{form}>".encode()) == f"<{MASK}>".encode()
    assert masker.found_in(form)


@pytest.mark.parametrize("secret", [SECRET, "A^b!c-9Kq", "line\nbreak\ttab\\"])
def test_secret_is_masked_in_any_mixture_of_spellings(secret: str) -> None:
    chance = random.Random(7)
    masker = Masker([secret])
    for _ in range(300):
        form = mixed(secret, chance)
        assert masker.text(f"<{form}>") == f"<{MASK}>", form


def test_long_secret_is_masked_in_each_spelling_as_a_whole() -> None:
    secret = "-----BEGIN KEY-----\n" + "Ab+/" * 500
    masker = Masker([secret])
    for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
        assert masker.text(f"<{form}>") == f"<{MASK}>"


@pytest.mark.parametrize("before", ["", "u", "us", "user", "user:"])
@pytest.mark.parametrize("after", ["", "!", "!!", ":x?"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_secret_is_masked_in_base64_of_anything(before: str, after: str, encode: Callable[[bytes], bytes]) -> None:
    found = Masker([SECRET]).text(encode((before + SECRET + after).encode()).decode())
    assert MASK in found
    # At most a letter at either end, of which the secret has a part.
    assert len(found) <= len(MASK) + 4 * (len(before) + len(after)) // 3 + 6


def test_secret_without_the_space_around_it_is_masked() -> None:
    assert Masker(["  long-enough\n"]).text("token=long-enough;") == f"token={MASK};"


def test_only_texts_are_masked_in_json() -> None:
    masker = Masker(["12345678", "administrator"])
    value = {"administrator": ["x12345678x", 12345678, True, None], "n": {"role": "administrator"}}
    assert masker.json(value) == {"administrator": [f"x{MASK}x", 12345678, True, None], "n": {"role": MASK}}


def test_short_secret_changes_nothing() -> None:
    masker = Masker(["admin", "1234567"])
    assert not masker
    assert masker.json({"admin": True, "role": "admin"}) == {"admin": True, "role": "admin"}
    # But it is not sent elsewhere.
    assert masker.found_in("token=admin")
    assert masker.found_in(b"token=%61dmin")
    assert not masker.found_in("token=admit")


def test_longer_secret_is_masked_as_a_whole() -> None:
    assert Masker(["abcdefgh", "abcdefghijk"]).text("abcdefghijk abcdefgh") == f"{MASK} {MASK}"


def test_empty_secrets_mask_nothing() -> None:
    masker = Masker(["", ""])
    assert not masker
    assert masker.text("abc") == "abc"
    assert not masker.found_in("abc")
