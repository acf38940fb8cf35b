"""One pool of real evaluator processes for each test that asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowgres_runner.evaluator import EvaluatorPool
from tests.support.loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories


@pytest.fixture
async def pool() -> AsyncIterator[EvaluatorPool]:
    """One child with the limits of production."""
    evaluators = EvaluatorPool()
    await evaluators.start()
    yield evaluators
    await evaluators.close()
