"""The virtual clock: it stands still while anything can happen by itself, and is then moved to what is due next."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Callable, Collection
from contextvars import ContextVar
from datetime import datetime, timedelta
from itertools import count
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

_MICROSECOND = timedelta(microseconds=1)


class AttemptKey(NamedTuple):
    """An attempt that is under way; `iteration` is -1 for a step that runs once."""

    execution_id: str
    step: str
    iteration: int


_current_key: ContextVar[AttemptKey | None] = ContextVar("current_key", default=None)
"""The attempt that is being run, wherever its code has got to: a step type of a package has loops and threads."""


class _Timer:
    """Something to do at a moment, unless it is cancelled before."""

    __slots__ = ("act", "at", "is_cancelled", "key", "task")

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.at = at
        self.act = act
        self.key = _current_key.get()
        self.task = asyncio.current_task()
        self.is_cancelled = False


class VirtualClock:
    """The time of all cases: a `Timing` of the runner, in microseconds, moved by `move_to` alone."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._elapsed = 0
        self._timers: list[tuple[int, int, _Timer]] = []
        self._numbers = count()
        self._sleeping: dict[AttemptKey, int] = {}
        self._keys: WeakKeyDictionary[asyncio.Task[Any], AttemptKey] = WeakKeyDictionary()

    @property
    def now(self) -> datetime:
        """The moment that it is."""
        return self._now

    @property
    def sleeping(self) -> Collection[AttemptKey]:
        """Attempts that wait for this clock and nothing else."""
        return self._sleeping.keys()

    def begin(self, key: AttemptKey) -> None:
        """Say which attempt this task is; what has been set in it already is that attempt's as well."""
        task = asyncio.current_task()
        if task is not None:
            self._keys[task] = key
        _current_key.set(key)

    def monotonic(self) -> float:
        """See Timing."""
        return self._elapsed / 1e6

    @contextlib.asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[None]:
        """See Timing."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as limit:
            timer = self._set(seconds, lambda: limit.reschedule(loop.time()))
            try:
                yield
            finally:
                timer.is_cancelled = True

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved by so much."""
        if seconds <= 0:
            return
        key, done = _current_key.get(), asyncio.get_running_loop().create_future()
        timer = self._set(seconds, lambda: None if done.done() else done.set_result(None))
        if key is not None:
            self._sleeping[key] = self._sleeping.get(key, 0) + 1
        try:
            await done
        finally:
            timer.is_cancelled = True
            if key is not None:
                self._sleeping[key] -= 1
                if not self._sleeping[key]:
                    del self._sleeping[key]

    def next_timer(self, alive: Collection[AttemptKey]) -> datetime | None:
        """When the next timer of one of these attempts is due; those of others are of attempts that were given up."""
        times = [at for at, _, timer in self._timers if not timer.is_cancelled and self._owner(timer) in alive]
        return None if not times else self._now + (min(times) - self._elapsed) * _MICROSECOND

    def move_to(self, moment: datetime) -> None:
        """Make it that late, and do what was set for until then; back only while nobody waits for anything."""
        self._elapsed += max(0, (moment - self._now) // _MICROSECOND)
        self._now = moment
        while self._timers and self._timers[0][0] <= self._elapsed:
            _, _, timer = heapq.heappop(self._timers)
            if not timer.is_cancelled:
                timer.act()

    def _owner(self, timer: _Timer) -> AttemptKey | None:
        if timer.key is not None or timer.task is None:
            return timer.key
        return self._keys.get(timer.task)

    def _set(self, seconds: float, act: Callable[[], None]) -> _Timer:
        timer = _Timer(self._elapsed + max(0, round(seconds * 1e6)), act)
        heapq.heappush(self._timers, (timer.at, next(self._numbers), timer))
        return timer
