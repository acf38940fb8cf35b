"""The heartbeat: one row a runner is the lease of all it has claimed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.belief import Belief, uptime_seconds
from flowgres_runner.database.connection import Link
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.errors import DatabaseError, DatabaseUnreachableError
from flowgres_runner.execution.running import REPORT_AFTER_SECONDS, RunningSteps

log = get_logger(__name__)

_LEAST_PAUSE_SECONDS = 0.05


class DatabaseClock:
    """The database's time, from what it said last; no runner's own clock decides anything."""

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def observe(self, text: str, *, round_trip_seconds: float) -> None:
        """Take the database's `now`, said in the middle of a round trip that has just ended."""
        said_at = datetime.now(UTC) - timedelta(seconds=round_trip_seconds / 2)
        self._offset = datetime.fromisoformat(text).astimezone(UTC) - said_at

    def now(self) -> datetime:
        """The database's time."""
        return datetime.now(UTC) + self._offset


class Heartbeat:
    """Shows that the runner lives, and acts on the answer.

    `on_dead`: the database gave this runner up; everything it holds belongs to others. `on_lost`: it lives, but these
    steps are no longer its own and were aborted. `on_silence`: it lives, but others could have thought otherwise for a
    while. `on_drain`: it is to finish.
    """

    def __init__(
        self,
        *,
        link: Link,
        runner_id: Callable[[], str],
        running: RunningSteps,
        clock: DatabaseClock,
        belief: Belief,
        stats: Callable[[], dict[str, Any]],
        interval_seconds: float,
        lease_seconds: float,
        on_dead: Callable[[], Awaitable[None]],
        on_lost: Callable[[Sequence[ClaimedStep]], None],
        on_silence: Callable[[], None],
        on_drain: Callable[[], None],
    ) -> None:
        self._link = link
        self._runner_id = runner_id
        self._running = running
        self._clock = clock
        self._belief = belief
        self._stats = stats
        self._interval_seconds = interval_seconds
        self._lease_seconds = lease_seconds
        self._on_dead = on_dead
        self._on_lost = on_lost
        self._on_silence = on_silence
        self._on_drain = on_drain

    async def run(self) -> None:
        """Beat until cancelled; a beat that failed is made again within a second of its beginning, or at once."""
        was_lost = False
        while True:
            began = uptime_seconds()
            try:
                await self.beat()
                was_lost = False
                await asyncio.sleep(self._interval_seconds)
                continue
            except DatabaseUnreachableError as error:
                if not was_lost:
                    log.warning("heartbeat_missed", error=error.message)
                was_lost = True
            except DatabaseError as error:
                log.error("heartbeat_refused", sqlstate=error.sqlstate, error=error.message)
            await asyncio.sleep(max(_LEAST_PAUSE_SECONDS, began + min(1.0, self._interval_seconds) - uptime_seconds()))

    async def beat(self) -> None:
        """One beat. Raises DatabaseError."""
        leases = self._running.leases_running_longer(REPORT_AFTER_SECONDS)
        asked_at = uptime_seconds()
        answer = await queries.heartbeat(
            self._link,
            runner_id=self._runner_id(),
            running=leases,
            stats=self._stats(),
            seconds=max(2.0, self._lease_seconds / 3),
        )
        if answer.get("now"):
            self._clock.observe(answer["now"], round_trip_seconds=uptime_seconds() - asked_at)
        if not answer["alive"]:
            await self._on_dead()
            await self.beat()
            return
        lost = set(answer.get("lost") or ())
        if lost:
            self._on_lost(self._running.abort_lost([lease for lease in leases if lease[2] in lost]))
        if not self._belief.holds:
            self._on_silence()
        # Last: what is to begin now must not be among what was lost.
        self._belief.confirm(asked_at=asked_at, lease_seconds=self._lease_seconds)
        if answer.get("drain"):
            self._on_drain()
