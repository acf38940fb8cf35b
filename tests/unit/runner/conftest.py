"""These tests run on the event loop that runners have."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowgres_runner.http import Client, EgressPolicy
from tests.support.loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.peers import Peer


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """One that may call loopback."""
    async with Client(policy=EgressPolicy(allow_private_networks=True)) as client:
        yield client


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer() as peer:
        yield peer
