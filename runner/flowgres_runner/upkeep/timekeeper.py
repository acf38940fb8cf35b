"""What must happen because time has passed: rescue, expiry, figures, history, pruning.

Every runner does it about once a second; each call is bounded and skips what others hold, so any number of runners is
right, one is enough, and none needs to be elected.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.errors import DatabaseError

log = get_logger(__name__)

SWEEP_SECONDS = 1.0
HISTORY_SECONDS = 60.0
SWEEP_LIMIT = 200
MAX_RESCUES = 20
PRUNE_LIMIT = 1_000
MAX_SETTLES = 20
SETTLE_LIMIT = 1000
MAX_PERIODS = 20
MAX_ADMISSIONS = 20
RETIRE_LIMIT = 500
MAX_RETENTIONS = 20
"""Calls of a sweep, each for one workflow or tenant; where more is due, the next sweep goes on."""
MEASURE_LIMIT = 2_000
"""Executions of one call: a tenth of a second, in which a rescue may have to wait."""
MAX_MEASURES = 5
"""Calls of a sweep: ten thousand executions a second are measured as they come."""


class Timekeeper:
    """Sweeps until cancelled; one that fails does not keep the others from running."""

    def __init__(self, link: Link, *, on_work: Callable[[], None]) -> None:
        self._link = link
        self._on_work = on_work
        self._due_at: dict[str, float] = {}
        self._failing: set[str] = set()
        self.rescued_count = 0
        self.forgotten_count = 0

    async def run(self) -> None:
        """Sweep about once a second, not in step with other runners."""
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def sweep(self) -> None:
        """One round of everything that is due."""
        await self._attempt("rescue", self._rescue)
        await self._attempt("expire", self._expire)
        await self._attempt("wakes", self._wake_pending)
        await self._attempt("follows", self._follow_pending)
        await self._attempt("limits", self._admit)
        await self._attempt("orphans", self._cancel_orphans)
        await self._attempt("pauses", self._settle_pauses)
        await self._attempt("metrics", self._measure_history)
        await self._attempt_in_turn("history", self._create_history)
        await self._attempt_in_turn("retirement", self._retire_history)
        await self._attempt_in_turn("retention", self._apply_retentions)
        await self._attempt_in_turn("prune", self._prune)
        await self._attempt_in_turn("metrics_prune", self._prune_metrics)
        await self._attempt_in_turn("schedules", self._realign_schedules)

    async def _attempt_in_turn(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Once a minute; what is behind sets its own time back, and no other's."""
        now = time.monotonic()
        if now >= self._due_at.get(name, now):
            self._due_at[name] = now + HISTORY_SECONDS
            await self._attempt(name, work)

    async def _attempt(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except DatabaseError as error:
            self._complain(name, error.message, error.sqlstate)
        except Exception:
            log.exception("sweep_failed", sweep=name)
        else:
            self._failing.discard(name)

    def _complain(self, name: str, message: str, sqlstate: str | None) -> None:
        if name not in self._failing:
            self._failing.add(name)
            log.warning("sweep_failed", sweep=name, error=message, sqlstate=sqlstate)

    async def _rescue(self) -> None:
        # A runner may have held a thousand steps: they are not to wait for a sweep each two hundred.
        for _ in range(MAX_RESCUES):
            count = await queries.rescue_expired_leases(self._link, limit=SWEEP_LIMIT)
            if count:
                self.rescued_count += count
                log.warning("leases_rescued", steps=count)
                self._on_work()
            if count < SWEEP_LIMIT:
                return

    async def _expire(self) -> None:
        count = await queries.expire_executions(self._link, limit=SWEEP_LIMIT)
        if count:
            log.info("executions_expired", executions=count)

    async def _wake_pending(self) -> None:
        if await queries.wake_pending(self._link, limit=SWEEP_LIMIT):
            self._on_work()

    async def _follow_pending(self) -> None:
        if await queries.follow_pending(self._link, limit=SWEEP_LIMIT):
            self._on_work()

    async def _admit(self) -> None:
        # Lines without room count as well: with so many of them the rest is the next sweep's.
        for _ in range(MAX_ADMISSIONS):
            if not await queries.admit(self._link, limit=SWEEP_LIMIT):
                return
            self._on_work()

    async def _cancel_orphans(self) -> None:
        for _ in range(SWEEP_LIMIT):
            if not await queries.cancel_orphan(self._link):
                return

    async def _settle_pauses(self) -> None:
        for _ in range(MAX_SETTLES):
            if not await queries.settle_pauses(self._link, limit=SETTLE_LIMIT):
                return
            self._on_work()

    async def _measure_history(self) -> None:
        for _ in range(MAX_MEASURES):
            if await queries.measure_history(self._link, limit=MEASURE_LIMIT) < MEASURE_LIMIT:
                return

    async def _prune_metrics(self) -> None:
        await queries.prune_metrics(self._link, limit=PRUNE_LIMIT)

    async def _create_history(self) -> None:
        for _ in range(MAX_PERIODS):
            done = await queries.create_history(self._link)
            if any(done.values()):
                log.info("history_created", **done)
            if not done.get("created"):
                return

    async def _retire_history(self) -> None:
        for _ in range(MAX_PERIODS):
            done = await queries.retire_history(self._link, limit=RETIRE_LIMIT)
            if any(done.values()):
                log.info("history_retired", **done)
            if not done.get("retired") and not done.get("deleted"):
                return

    async def _apply_retentions(self) -> None:
        deleted = 0
        for _ in range(MAX_RETENTIONS):
            done = await queries.apply_retentions(self._link, limit=RETIRE_LIMIT)
            deleted += done.get("deleted", 0)
            if not done.get("is_due"):
                break
        else:
            # More is due: the next sweep goes on.
            self._due_at["retention"] = 0.0
        if deleted:
            self.forgotten_count += deleted
            log.info("retention_applied", executions=deleted)

    async def _realign_schedules(self) -> None:
        count = await queries.realign_schedules(self._link, limit=PRUNE_LIMIT)
        if count:
            log.warning("schedules_realigned", schedules=count)

    async def _prune(self) -> None:
        count = await queries.prune(self._link, limit=PRUNE_LIMIT)
        if count:
            log.info("rows_pruned", rows=count)
            if count >= PRUNE_LIMIT:
                self._due_at["prune"] = 0.0
