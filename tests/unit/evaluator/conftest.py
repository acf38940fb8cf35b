"""One pool of real evaluator processes for each test that asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from flowgres_runner.evaluator import EvaluatorPool


@pytest.fixture
async def pool() -> AsyncIterator[EvaluatorPool]:
    """One child with the limits of production."""
    evaluators = EvaluatorPool()
    await evaluators.start()
    yield evaluators
    await evaluators.close()
