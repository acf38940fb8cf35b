"""The event loop of production, for tests that run parts of the runner within their own process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Asked for by pytest-asyncio, of the conftest that imports it."""
    return {"uvloop": uvloop.new_event_loop}
