"""What SQL knows of an address, remembered for a while.

Remembering decides nothing. What is taken is taken by SQL, which sees by the stamp whether the delivery was checked by
the state of now. What is refused is refused by a state that was asked for after the delivery had come: those who are
refused wait for one question together, so that a flood at one address costs the database twenty a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from flowgres_process.errors import SecretError
from flowgres_process.secret_keys import SealedSecret, SecretKeys

_TOKEN: Final = re.compile(r"wh_[A-Za-z0-9_-]{32,64}", re.ASCII)
_SLUG: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
_PATH: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}", re.ASCII)
_MOST_REMEMBERED: Final = 5_000
_REMEMBERED_SECONDS: Final = 60.0
_ASKED_AGAIN_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Address:
    """Where a delivery came to: by the hash of a token, or by tenant and path."""

    token_hash: bytes | None = None
    tenant: str | None = None
    path: str | None = None

    @property
    def is_secret(self) -> bool:
        """Whether nobody knows it who was not told."""
        return self.token_hash is not None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook as SQL described it: `stamp` is of the state in which its deliveries were to be checked so.

    `trouble` is why there is no secret to check with, "" when there is one.
    """

    id: str
    tenant_id: str
    scheme: str
    stamp: str
    max_bytes: int
    secrets: tuple[str, ...] = field(repr=False)
    trouble: str
    asked_at: float


@dataclass(slots=True)
class _Renewal:
    task: asyncio.Task[Endpoint | None]
    has_asked: bool = False


def address_of_token(token: str) -> Address | None:
    """The address /webhooks/<token>; None when it has not the form of one."""
    return Address(token_hash=hashlib.sha256(token.encode()).digest()) if _TOKEN.fullmatch(token) else None


def address_of_path(tenant: str, path: str) -> Address | None:
    """The address /webhooks/<tenant>/<path>; None when it has not the form of one."""
    return Address(tenant=tenant, path=path) if _SLUG.fullmatch(tenant) and _PATH.fullmatch(path) else None


class Endpoints:
    """Remembers those that deliveries came to, used last first."""

    def __init__(self, ask: Callable[[Address], Awaitable[dict[str, Any] | None]], keys: SecretKeys) -> None:
        """`ask` is find_webhook of SQL."""
        self._renewals: dict[Address, _Renewal] = {}
        self._ask = ask
        self._keys = keys
        self._known: OrderedDict[Address, Endpoint] = OrderedDict()

    def known(self, address: Address) -> Endpoint | None:
        """What is remembered of an address."""
        endpoint = self._known.get(address)
        if endpoint is None or time.monotonic() - endpoint.asked_at > _REMEMBERED_SECONDS:
            return None
        self._known.move_to_end(address)
        return endpoint

    async def find(self, address: Address | None) -> Endpoint | None:
        """The webhook at an address, None when there is none. Raises what psycopg raises."""
        if address is None:
            return None
        return self.known(address) or await self._learn(address)

    async def renew(self, address: Address) -> Endpoint | None:
        """The webhook at an address in a state that is asked for from now on."""
        before = self._renewals.get(address)
        if before is not None and not before.has_asked:
            return await asyncio.shield(before.task)
        renewal = _Renewal(asyncio.create_task(self._renew(address, before)))
        self._renewals[address] = renewal
        renewal.task.add_done_callback(lambda _: self._forget(address, renewal))
        return await asyncio.shield(renewal.task)

    def _forget(self, address: Address, renewal: _Renewal) -> None:
        if self._renewals.get(address) is renewal:
            del self._renewals[address]

    async def _renew(self, address: Address, before: _Renewal | None) -> Endpoint | None:
        if before is not None:
            await asyncio.wait([before.task])
        known = self._known.get(address)
        if known is not None:
            await asyncio.sleep(max(0.0, known.asked_at + _ASKED_AGAIN_SECONDS - time.monotonic()))
        self._renewals[address].has_asked = True
        return await self._learn(address)

    async def _learn(self, address: Address) -> Endpoint | None:
        asked_at = time.monotonic()
        described = await self._ask(address)
        if described is None:
            self._known.pop(address, None)
            return None
        endpoint = self._endpoint(described, asked_at)
        self._known[address] = endpoint
        self._known.move_to_end(address)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return endpoint

    def _endpoint(self, described: dict[str, Any], asked_at: float) -> Endpoint:
        secrets: list[str] = []
        trouble = "" if described["secrets"] or described["scheme"] == "none" else "secret_missing"
        for row in described["secrets"]:
            sealed = SealedSecret(row["key_id"], bytes.fromhex(row["nonce"]), bytes.fromhex(row["ciphertext"]))
            try:
                secrets.append(self._keys.open(sealed, tenant_id=described["tenant_id"], name=row["name"]))
            except SecretError:
                trouble = "secret_unreadable"
        return Endpoint(
            id=described["id"],
            tenant_id=described["tenant_id"],
            scheme=described["scheme"],
            stamp=described["stamp"],
            max_bytes=int(described["max_bytes"]),
            secrets=tuple(secrets),
            trouble="" if secrets else trouble,
            asked_at=asked_at,
        )
