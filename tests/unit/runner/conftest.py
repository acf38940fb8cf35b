"""These tests run on the event loop that runners have."""

from tests.support.loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
