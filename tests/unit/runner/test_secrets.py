"""Sealing, opening, stand-ins."""

from __future__ import annotations

import base64
import hashlib

import pytest

from flowgres_process.errors import SecretError
from flowgres_process.secret_keys import SealedSecret, SecretKeys
from flowgres_runner.secrets import MisusedSecretError, Placeholders, put_values
from flowgres_runner.steps.base import Json

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()


def test_what_was_sealed_opens_for_its_tenant_and_name_alone() -> None:
    keys = SecretKeys(KEY)
    sealed = keys.seal("välue", tenant_id="t", name="n")
    assert keys.open(sealed, tenant_id="t", name="n") == "välue"
    for tenant_id, name in (("u", "n"), ("t", "m")):
        with pytest.raises(SecretError):
            keys.open(sealed, tenant_id=tenant_id, name=name)
    changed = sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])
    with pytest.raises(SecretError):
        keys.open(SealedSecret(sealed.key_id, sealed.nonce, changed), tenant_id="t", name="n")


def test_previous_key_still_opens() -> None:
    sealed = SecretKeys(OTHER).seal("v", tenant_id="t", name="n")
    assert SecretKeys(KEY, OTHER).open(sealed, tenant_id="t", name="n") == "v"
    with pytest.raises(SecretError, match="which this runner does not have"):
        SecretKeys(KEY).open(sealed, tenant_id="t", name="n")


def test_hexadecimal_base64_and_passphrase_are_keys() -> None:
    assert SecretKeys(bytes(range(32)).hex()).current_id == SecretKeys(KEY).current_id
    assert SecretKeys("a long enough passphrase").current_id
    with pytest.raises(SecretError, match="at least"):
        SecretKeys("short")


def test_passphrase_is_stretched_and_what_one_hash_of_it_sealed_still_opens() -> None:
    passphrase = "a long enough passphrase"
    hashed = hashlib.sha256(b"flowgres secret key\0" + passphrase.encode()).digest()
    before = SecretKeys(hashed.hex())
    now = SecretKeys(passphrase)
    assert now.current_id != before.current_id
    assert now.open(before.seal("v", tenant_id="t", name="n"), tenant_id="t", name="n") == "v"
    sealed = now.seal("v", tenant_id="t", name="n")
    assert SecretKeys(KEY, passphrase).open(sealed, tenant_id="t", name="n") == "v"
    with pytest.raises(SecretError, match="does not have"):
        before.open(sealed, tenant_id="t", name="n")


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(SecretError) as caught:
        SecretKeys("").seal("v", tenant_id="t", name="n")
    assert caught.value.code == "secret_key_missing"


def test_values_go_where_they_may() -> None:
    token = Placeholders().token("t", "A")
    config: dict[str, Json] = {"headers": {"Authorization": f"Bearer {token}"}, "json": [token], "method": "POST"}
    put = put_values(config, tokens={token: "value"}, places=("headers", "json"))
    assert put == {"headers": {"Authorization": "Bearer value"}, "json": ["value"], "method": "POST"}


@pytest.mark.parametrize("change", [str.upper, lambda token: token[:-4], str])
def test_stand_ins_elsewhere_or_changed_are_refused(change: object) -> None:
    token = Placeholders().token("t", "A")
    changed = change(token)  # type: ignore[operator]
    with pytest.raises(MisusedSecretError):
        put_values({"method": changed}, tokens={token: "value"}, places=("headers",))


def test_stand_ins_differ_by_process_tenant_and_name() -> None:
    placeholders = Placeholders()
    tokens = {placeholders.token("t", "A"), placeholders.token("t", "B"), placeholders.token("u", "A")}
    assert len(tokens | {Placeholders().token("t", "A")}) == 4
