"""Looks that many may ask for: made once for all who ask at the same time, and not again for a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

FRESH_SECONDS = 1.0
Found = TypeVar("Found")


class Look(Generic[Found]):
    """`ask` makes the look; however many ask for its result, it runs once a second at most."""

    def __init__(self, ask: Callable[[], Awaitable[Found]]) -> None:
        self._ask = ask
        self._task: asyncio.Task[Found] | None = None
        self._looked_at = 0.0

    def close(self) -> None:
        """End a look that is under way."""
        if self._task is not None:
            self._task.cancel()

    async def result(self) -> Found:
        """What was found within the last second, or is found now."""
        now = asyncio.get_running_loop().time()
        if self._task is None or (self._task.done() and now - self._looked_at >= FRESH_SECONDS):
            self._looked_at = now
            self._task = asyncio.create_task(self._made())
        # Whoever asked first may go away; the look goes on for the others.
        return await asyncio.shield(self._task)

    async def _made(self) -> Found:
        return await self._ask()
