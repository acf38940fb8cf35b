"""Secrets for the steps of this runner: read when a step begins, so that a new value or a deletion counts at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from flowgres_process.errors import SecretError
from flowgres_process.secret_keys import SealedSecret, SecretKeys
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.database.queries import StoredSecret

_MAX_OPENED = 1_000


class _Look:
    """One look at the secrets of a tenant; until it begins others may join it."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.task: asyncio.Task[dict[str, StoredSecret]] | None = None


class SecretStore:
    """Opened secrets. Steps that begin while a look is under way share the next one, so a batch asks once or twice."""

    def __init__(self, link: Link, keys: SecretKeys) -> None:
        self._link = link
        self._keys = keys
        self._coming: dict[str, _Look] = {}
        self._opened: OrderedDict[tuple[str, str], tuple[StoredSecret, str]] = OrderedDict()

    async def values(self, tenant_id: str, names: Iterable[str], *, if_stored: Iterable[str] = ()) -> dict[str, str]:
        """Values by name, as they are now, and those of `if_stored` that there are.

        Raises SecretError for one that is missing or does not open, DatabaseError when they cannot be read.
        """
        needed, asked_for = tuple(names), tuple(if_stored)
        wanted = (*needed, *asked_for)
        look = self._coming.get(tenant_id)
        if look is None:
            look = self._coming[tenant_id] = _Look()
            look.task = asyncio.create_task(self._read(tenant_id, look))
        look.names.update(wanted)
        assert look.task is not None  # noqa: S101 - made two lines above, or by whoever came first
        # One of those who wait may be cancelled; the others still want it.
        stored = await asyncio.shield(look.task)
        found = (*needed, *(name for name in asked_for if name in stored))
        return {name: self._open(tenant_id, name, stored.get(name)) for name in found}

    async def _read(self, tenant_id: str, look: _Look) -> dict[str, StoredSecret]:
        # Everything that was started together joins before this runs on. Later ones must not: what is read from here on
        # may be older than they are.
        await asyncio.sleep(0)
        del self._coming[tenant_id]
        names = sorted(look.names)
        return {
            secret.name: secret for secret in await queries.get_secrets(self._link, tenant_id=tenant_id, names=names)
        }

    def _open(self, tenant_id: str, name: str, stored: StoredSecret | None) -> str:
        if stored is None:
            raise SecretError(
                f"secret {name} does not exist", hint=f"Store it: flowgres secrets set {name}", code="secret_not_found"
            )
        known = self._opened.get((tenant_id, name))
        if known is not None and known[0] == stored:
            return known[1]
        sealed = SealedSecret(stored.key_id, stored.nonce, stored.ciphertext)
        value = self._keys.open(sealed, tenant_id=tenant_id, name=name)
        self._opened[tenant_id, name] = (stored, value)
        if len(self._opened) > _MAX_OPENED:
            self._opened.popitem(last=False)
        return value
