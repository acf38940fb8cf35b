"""Tokens of steps that wait to be called."""

from __future__ import annotations

import uuid

import pytest

from flowgres_process.callbacks import CallbackPlace, Callbacks
from flowgres_process.secret_keys import SecretKeys

PLACE = CallbackPlace(str(uuid.UUID(int=1)), str(uuid.UUID(int=2)), 3, -1, 0, 1)
KEY, OTHER = "a" * 64, "b" * 64


def test_token_says_which_step_is_called() -> None:
    token = Callbacks(SecretKeys(KEY)).token(PLACE)
    assert Callbacks(SecretKeys(KEY)).read(token) == PLACE
    assert Callbacks(SecretKeys(OTHER, KEY)).read(token) == PLACE, "after a rotation"


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "A", lambda t: "B" + t[1:], lambda _: "", lambda _: "é"]
)
def test_token_that_nobody_made_is_none(change: object) -> None:
    token = Callbacks(SecretKeys(KEY)).token(PLACE)
    assert callable(change)
    assert Callbacks(SecretKeys(KEY)).read(change(token)) is None
    assert Callbacks(SecretKeys(OTHER)).read(token) is None


@pytest.mark.parametrize(("key", "address"), [("", "https://x.example"), (KEY, "")])
def test_without_key_or_address_there_is_no_callback(key: str, address: str) -> None:
    callbacks = Callbacks(SecretKeys(key), address)
    assert (callbacks.is_ready, callbacks.url(PLACE)) == (False, "")
