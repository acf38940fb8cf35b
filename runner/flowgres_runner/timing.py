"""The time that attempts are measured by: the machine's own, unless whoever makes the runner gives it another."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Timing(Protocol):
    """How a runner knows what time it is for its steps, and bounds them.

    What is about this process alone (backoff, polls, heartbeats) has the machine's time in any case.
    """

    def monotonic(self) -> float:
        """Seconds, of which only differences mean anything."""
        ...

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[Any]:
        """Raise TimeoutError at the end of a block that took longer, which is cancelled, as asyncio.timeout does."""
        ...


class RealTime:
    """The machine's time."""

    def monotonic(self) -> float:
        """See Timing."""
        return time.monotonic()

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[Any]:
        """See Timing."""
        return asyncio.timeout(seconds)


REAL_TIME = RealTime()
