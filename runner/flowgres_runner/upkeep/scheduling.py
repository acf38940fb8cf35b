"""Firing schedules when they are due: the database says which, and when the next one is.

Every runner does it and none is elected: a slot has a key, and whoever fires a schedule holds its row. It has a
connection of its own, so that no sweep which takes long keeps a slot waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.errors import DatabaseError

log = get_logger(__name__)

LOOK_SECONDS = 1.0
"""The longest sleep: a schedule that was added meanwhile tells nobody."""
LEAST_SECONDS = 0.005
FIRE_LIMIT = 50
"""Schedules of one call, which is one transaction: the first ones are seen while the next ones are fired.

Each is a subtransaction, and more than 64 of these make every snapshot dearer.
"""


class Scheduler:
    """Fires what is due, until cancelled."""

    def __init__(self, link: Link, *, on_work: Callable[[], None]) -> None:
        self._link = link
        self._on_work = on_work
        self._is_failing = False

    async def run(self) -> None:
        """Sleep until the next slot, or a second, and fire."""
        while True:
            await asyncio.sleep(await self._attempt())

    async def fire(self) -> float:
        """Fire what is due now; returns in how many seconds to look again. Raises DatabaseError."""
        while True:
            fired = await queries.fire_schedules(self._link, limit=FIRE_LIMIT)
            if fired.started:
                log.info("schedules_fired", schedules=fired.picked, executions=fired.started)
                self._on_work()
            if fired.picked < FIRE_LIMIT:
                wait = LOOK_SECONDS if fired.next_seconds is None else fired.next_seconds
                return min(max(wait, LEAST_SECONDS), LOOK_SECONDS)

    async def _attempt(self) -> float:
        try:
            wait = await self.fire()
        except DatabaseError as error:
            if not self._is_failing:
                self._is_failing = True
                log.warning("schedules_postponed", error=error.message, sqlstate=error.sqlstate)
        except Exception:
            log.exception("schedules_failed")
        else:
            self._is_failing = False
            return wait
        return LOOK_SECONDS
