"""How long a runner that is not answered may go on as if it held its leases."""

from __future__ import annotations

import asyncio
import math
import time

_MARGIN = 0.1
"""The part of a lease by which the runner stops believing in it before the database can."""


def uptime_seconds() -> float:
    """Seconds that pass while this process is stopped, and while the machine sleeps, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Belief:
    """Whether this runner may believe in its leases: the database has heard it less than a lease ago.

    In doubt it begins nothing, claims nothing and reports nothing, until the database has said what is still its own.
    What already runs goes on: an outage is as likely everybody's, and then nothing is taken from anybody.
    """

    def __init__(self) -> None:
        self._until = math.inf  # Nothing is held before the first beat.
        self._confirmed = asyncio.Event()

    @property
    def holds(self) -> bool:
        """Whether nobody can have taken over yet."""
        return uptime_seconds() < self._until

    def confirm(self, *, asked_at: float, lease_seconds: float) -> None:
        """The database was asked at this uptime, and answered that the runner lives."""
        self._until = asked_at + lease_seconds * (1 - _MARGIN)
        # All who wait are woken by the first of the two, and look for themselves.
        self._confirmed.set()
        self._confirmed.clear()

    async def restored(self) -> None:
        """Wait until it holds."""
        while not self.holds:
            await self._confirmed.wait()
