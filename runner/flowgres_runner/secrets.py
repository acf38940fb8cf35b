"""Secrets in a runner: placeholders in expressions, values only in what is sent.

Expressions see random placeholders, never values, so nothing can be computed from one, and what is masked afterwards is
known exactly. `flowgres_process.secret_keys` opens what is stored.
"""

from __future__ import annotations

import hashlib
import secrets as random_tokens
from collections.abc import Iterable, Mapping
from typing import cast

from flowgres_process.errors import SecretError
from flowgres_runner.json_values import Json, encode_json
from flowgres_runner.payloads.texts import JsonText

_MARK = "fgsecretx"


class Placeholders:
    """Random stand-ins for secrets, new for each process, so that no author can write one down in advance."""

    def __init__(self) -> None:
        self._salt = random_tokens.token_bytes(32)

    def token(self, tenant_id: str, name: str) -> str:
        """The stand-in of one secret: a word that no template would hold by accident."""
        digest = hashlib.blake2b(f"{tenant_id}:{name}".encode(), key=self._salt, digest_size=20).hexdigest()
        return f"{_MARK}{digest}"

    def tokens(self, tenant_id: str, names: Iterable[str]) -> dict[str, str]:
        """Stand-ins by name: the `secrets` that expressions see."""
        return {name: self.token(tenant_id, name) for name in names}


class MisusedSecretError(SecretError):
    """A secret stands where secrets may not go, or an expression has changed it."""

    code = "secret_misuse"


def put_values(config: Mapping[str, Json], *, tokens: Mapping[str, str], places: Iterable[str]) -> dict[str, Json]:
    """The configuration with stand-ins replaced by values (`tokens`: value by token), in the keys `places` only.

    Raises MisusedSecretError for a stand-in anywhere else, or one that was cut or changed.
    """
    allowed = frozenset(places)
    return {key: cast("Json", _replace(item, tokens if key in allowed else {})) for key, item in config.items()}


def _check_unmarked(text: str) -> None:
    if _MARK in text.lower():
        raise MisusedSecretError(
            "a secret is used where it cannot be, or changed by an expression",
            hint="Use {{ secrets.NAME }} unchanged, in url, headers and body only.",
        )


def _replace(value: Json | JsonText, tokens: Mapping[str, str]) -> Json | JsonText:
    if isinstance(value, str):
        for token, secret in tokens.items():
            value = value.replace(token, secret)
        _check_unmarked(value)
        return value
    if isinstance(value, JsonText):
        text = value.data.decode()
        for token, secret in tokens.items():
            text = text.replace(token, encode_json(secret)[1:-1])
        _check_unmarked(text)
        return JsonText(text.encode(), value.depth)
    if isinstance(value, dict):
        return {str(_replace(key, tokens)): _replace(item, tokens) for key, item in value.items()}  # type: ignore[misc]
    if isinstance(value, list):
        return [_replace(item, tokens) for item in value]  # type: ignore[misc]
    return value
