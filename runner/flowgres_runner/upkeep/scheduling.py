"""What schedules, changes of tables, slas of states and approvals set going: the database says what is due, and when.

Every runner does it and none is elected: a slot has a key, and whoever fires a schedule or an instance, or takes a
change, holds its row. It has a connection of its own, so that no sweep which takes long keeps a slot waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.errors import DatabaseError

log = get_logger(__name__)

LOOK_SECONDS = 1.0
"""The longest sleep: what was added meanwhile tells nobody, and a change only those that seem to sleep."""
LEAST_SECONDS = 0.005
HINT_SECONDS = 0.1
"""Between two looks that were asked for: under load hints come by the thousand."""
FIRE_LIMIT = 50
"""Schedules, instances or executions of one call, a transaction: the first ones are seen while the next ones are fired.

Each is a subtransaction, and more than 64 of these make every snapshot dearer.
"""
CHANGE_LIMIT = 5
"""Written changes of one call, a thousand rows at most each."""


class Scheduler:
    """Starts what is due, until cancelled."""

    def __init__(self, link: Link, *, on_work: Callable[[], None]) -> None:
        self._link = link
        self._on_work = on_work
        self._is_failing = False
        self._hint = asyncio.Event()

    def look(self) -> None:
        """Look at once: something may have been written."""
        self._hint.set()

    async def run(self) -> None:
        """Sleep until the next slot, a hint or a second, and start what is due."""
        while True:
            looked = time.monotonic()
            wait = await self._attempt()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._hint.wait()
            if self._hint.is_set():
                await asyncio.sleep(HINT_SECONDS - min(max(time.monotonic() - looked, 0), HINT_SECONDS))
                self._hint.clear()

    async def fire(self) -> float:
        """Fire schedules that are due; returns in how many seconds to look again. Raises DatabaseError."""
        while True:
            fired = await queries.fire_schedules(self._link, limit=FIRE_LIMIT)
            if fired.done:
                log.info("schedules_fired", schedules=fired.picked, executions=fired.done)
                self._on_work()
            if fired.picked < FIRE_LIMIT:
                return _until_next(fired)

    async def move(self) -> float:
        """Move instances whose sla is over; returns in how many seconds to look again. Raises DatabaseError.

        One call: a state may lead to another that has an sla, too, and schedules are not to wait for the last of these.
        """
        fired = await queries.fire_slas(self._link, limit=FIRE_LIMIT)
        if fired.picked:
            log.info("slas_fired", instances=fired.picked, moved=fired.done)
        if fired.done:
            self._on_work()
        return LEAST_SECONDS if fired.picked == FIRE_LIMIT else _until_next(fired)

    async def remind(self) -> float:
        """Remind of approvals, and end those whose time is over; returns in how many seconds to look again.

        Raises DatabaseError. One call, as for instances.
        """
        fired = await queries.fire_approvals(self._link, limit=FIRE_LIMIT)
        if fired.picked:
            log.info("approvals_fired", executions=fired.picked, reminders=fired.done)
        if fired.done:
            self._on_work()
        return LEAST_SECONDS if fired.picked == FIRE_LIMIT else _until_next(fired)

    async def start(self) -> None:
        """Start what changes of tables start. Raises DatabaseError."""
        while True:
            picked, started = await queries.start_changes(self._link, limit=CHANGE_LIMIT)
            if started:
                log.info("changes_started", changes=picked, executions=started)
                self._on_work()
            if picked < CHANGE_LIMIT:
                return

    async def _attempt(self) -> float:
        try:
            wait = await self.fire()
            wait = min(wait, await self.move(), await self.remind())
            await self.start()
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


def _until_next(fired: queries.Fired) -> float:
    wait = LOOK_SECONDS if fired.next_seconds is None else fired.next_seconds
    return min(max(wait, LEAST_SECONDS), LOOK_SECONDS)
