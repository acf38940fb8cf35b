"""A peer on loopback and a client that may call it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowgres_runner.http import Client, EgressPolicy
from tests.support.loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.peers import Peer


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer() as peer:
        yield peer


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client that may call loopback."""
    async with Client(policy=EgressPolicy(allowed_hosts=["127.0.0.1"])) as client:
        yield client
