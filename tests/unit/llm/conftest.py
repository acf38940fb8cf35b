"""A client that may call loopback, a server for it, and the reader that checks answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowgres_runner.http import Client, EgressPolicy
from flowgres_runner.reading.reader import Reader
from tests.support.llm_servers import LlmServer
from tests.support.loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(policy=EgressPolicy(allow_private_networks=True)) as client:
        yield client


@pytest.fixture
async def server() -> AsyncIterator[LlmServer]:
    async with LlmServer() as server:
        yield server


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    reader = Reader()
    yield reader
    await reader.close()
