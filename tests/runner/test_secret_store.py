"""Secrets as a step sees them that begins now: what was stored before it counts, and a batch does not ask for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flowgres_process.errors import SecretError
from flowgres_process.secret_keys import SecretKeys
from flowgres_runner.database.connection import Link
from flowgres_runner.execution.secret_store import SecretStore
from tests.support.database import Database, Tenant

KEYS = SecretKeys("a key that is long enough for tests")


class CountingLink(Link):
    """Counts its calls; `meanwhile` runs while the answer of one is on its way."""

    count = 0
    meanwhile: Any = None

    async def call(self, *arguments: Any, **named: Any) -> list[Any]:
        self.count += 1
        rows = await super().call(*arguments, **named)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return rows


class Vault:
    """A tenant's secrets, stored as the front does it."""

    def __init__(self, database: Database, tenant: Tenant) -> None:
        self.database = database
        self.tenant_id = str(tenant.tenant_id)

    def put(self, name: str, value: str) -> None:
        sealed = KEYS.seal(value, tenant_id=self.tenant_id, name=name)
        with self.database.as_role("admin", tenant_id=self.tenant_id) as api:
            api.run("select flowgres.put_secret(%s, %s, %s, %s)", name, sealed.key_id, sealed.nonce, sealed.ciphertext)

    def delete(self, name: str) -> None:
        with self.database.as_role("admin", tenant_id=self.tenant_id) as api:
            api.run("select flowgres.delete_secret(%s)", name)


@pytest.fixture
def vault(database: Database, tenant: Tenant) -> Vault:
    vault = Vault(database, tenant)
    vault.put("A", "the old one")
    vault.put("B", "another one")
    return vault


@pytest.fixture
async def link(database: Database) -> AsyncIterator[CountingLink]:
    link = CountingLink(database.dsn("runner"), application_name="secrets")
    yield link
    await link.close()


async def test_new_value_and_deletion_count_for_the_next_step(vault: Vault, link: CountingLink) -> None:
    store = SecretStore(link, KEYS)
    assert await store.values(vault.tenant_id, ["A", "B"]) == {"A": "the old one", "B": "another one"}
    vault.put("A", "the new one")
    assert await store.values(vault.tenant_id, ["A"]) == {"A": "the new one"}
    vault.delete("A")
    with pytest.raises(SecretError, match="A does not exist"):
        await store.values(vault.tenant_id, ["A"])
    assert await store.values(vault.tenant_id, ["B"]) == {"B": "another one"}


async def test_steps_that_begin_together_ask_once(vault: Vault, link: CountingLink) -> None:
    store = SecretStore(link, KEYS)
    found = await asyncio.gather(*(store.values(vault.tenant_id, ["AB"[n % 2]]) for n in range(100)))
    assert found == [{"A": "the old one"}, {"B": "another one"}] * 50
    assert link.count == 1


async def test_step_that_begins_during_a_look_sees_what_was_stored_before_it(vault: Vault, link: CountingLink) -> None:
    store = SecretStore(link, KEYS)
    later: list[asyncio.Task[dict[str, str]]] = []

    async def store_and_begin() -> None:
        vault.put("A", "the new one")
        later.append(asyncio.create_task(store.values(vault.tenant_id, ["A"])))

    link.meanwhile = store_and_begin
    assert await store.values(vault.tenant_id, ["A"]) == {"A": "the old one"}
    assert await later[0] == {"A": "the new one"}


async def test_one_that_gives_up_leaves_the_others_their_look(vault: Vault, link: CountingLink) -> None:
    store = SecretStore(link, KEYS)
    first = asyncio.create_task(store.values(vault.tenant_id, ["A"]))
    second = asyncio.create_task(store.values(vault.tenant_id, ["A"]))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == {"A": "the old one"}
