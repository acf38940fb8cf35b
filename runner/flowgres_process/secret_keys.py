"""The keys that seal tenants' secrets: the front stores with them, runners open.

AES-256-GCM with tenant and name as associated data, so that a row moved to another tenant or name does not open. The
key never enters the database.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flowgres_process.errors import SecretError

NONCE_BYTES = 12
MIN_KEY_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret as it is stored."""

    key_id: str
    nonce: bytes
    ciphertext: bytes


class SecretKeys:
    """The current key, which seals, and the previous one, which may still open."""

    def __init__(self, current: str, previous: str = "") -> None:
        """Take FLOWGRES_SECRET_KEY and FLOWGRES_SECRET_KEY_PREVIOUS as they were written; "" means none.

        Raises SecretError for a key that is too short to be one.
        """
        current_keys = _keys_of(current)
        self._keys = {key_id(key): AESGCM(key) for key in (*_keys_of(previous), *current_keys)}
        self._current_id = key_id(current_keys[0]) if current_keys else None
        self._stamps = tuple(
            hmac.digest(key, b"flowgres callbacks", "sha256") for key in (*current_keys, *_keys_of(previous))
        )

    @property
    def current_id(self) -> str | None:
        """Id of the key that seals."""
        return self._current_id

    def seal(self, value: str, *, tenant_id: str, name: str) -> SealedSecret:
        """Encrypt a value. Raises SecretError when there is no key."""
        if self._current_id is None:
            raise SecretError(
                "secrets cannot be stored: this installation has no key",
                hint="Set FLOWGRES_SECRET_KEY (openssl rand -base64 32), the same for front and runners.",
                code="secret_key_missing",
            )
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = self._keys[self._current_id].encrypt(nonce, value.encode(), _associated(tenant_id, name))
        return SealedSecret(self._current_id, nonce, ciphertext)

    def stamp(self, data: bytes) -> bytes:
        """32 bytes that only who has the current key can make of these. Raises IndexError when there is no key."""
        return hmac.digest(self._stamps[0], data, "sha256")

    def is_stamp(self, data: bytes, stamp: bytes) -> bool:
        """Whether one of the keys made this stamp; takes as long for any stamp of that length."""
        return True in [hmac.compare_digest(hmac.digest(key, data, "sha256"), stamp) for key in self._stamps]

    def open(self, sealed: SealedSecret, *, tenant_id: str, name: str) -> str:
        """Decrypt a value. Raises SecretError when the key is not ours or the row was tampered with."""
        cipher = self._keys.get(sealed.key_id)
        if cipher is None:
            raise SecretError(
                f"secret {name} was stored with key {sealed.key_id}, which this runner does not have",
                hint="Set FLOWGRES_SECRET_KEY, or FLOWGRES_SECRET_KEY_PREVIOUS after a rotation.",
            )
        try:
            return cipher.decrypt(sealed.nonce, sealed.ciphertext, _associated(tenant_id, name)).decode()
        except (InvalidTag, ValueError) as error:
            raise SecretError(f"secret {name} cannot be decrypted", hint="Store it again.") from error


def key_id(key: bytes) -> str:
    """A name for a key that gives nothing of it away."""
    return hashlib.sha256(b"flowgres key id\0" + key).hexdigest()[:16]


def _keys_of(text: str) -> tuple[bytes, ...]:
    """The keys that a text stands for: the first one seals, all open.

    32 bytes as base64 or hexadecimal are the key itself. Any other text of some length is a passphrase, which can be
    guessed: scrypt makes each guess cost 32 MB and a tenth of a second. What earlier versions sealed with one SHA-256
    of it still opens.
    """
    text = text.strip()
    if not text:
        return ()
    if len(text) == 64 and re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return (bytes.fromhex(text),)
    try:
        decoded = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) == 32:
        return (decoded,)
    if len(text) < MIN_KEY_CHARACTERS:
        raise SecretError(
            f"FLOWGRES_SECRET_KEY must have at least {MIN_KEY_CHARACTERS} characters",
            hint="Make one with: openssl rand -base64 32",
            code="secret_key_weak",
        )
    return _stretched(text), hashlib.sha256(b"flowgres secret key\0" + text.encode()).digest()


@lru_cache(maxsize=4)
def _stretched(passphrase: str) -> bytes:
    """The key of a passphrase. The salt is one for all installations: it has no place to be kept but the passphrase."""
    return hashlib.scrypt(
        passphrase.encode(), salt=b"flowgres secret key", n=1 << 15, r=8, p=1, maxmem=64 << 20, dklen=32
    )


def _associated(tenant_id: str, name: str) -> bytes:
    return f"{tenant_id}:{name}".encode()
