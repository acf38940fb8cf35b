"""How much of the front one party may take: of requests under way, of bytes, of the database, of reading.

A party is a tenant, or everybody who has not shown who they are, together. What is given out is bounded as a whole, so
that the front keeps its memory, and per party, so that no party takes it from the others. Who has to wait waits in the
queue of its own party, and the parties take turns.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from flowgres_front.problems import Problem

Party = str
"""The id of a tenant, or ANONYMOUS."""

ANONYMOUS: Party = ""
_RETRY_SECONDS = "1"


@dataclass(frozen=True, slots=True)
class Shares:
    """How much there is: of it all, for one tenant, and for all anonymous callers together."""

    whole: int
    tenant: int
    anonymous: int

    def of(self, party: Party) -> int:
        """What one party may hold at a time."""
        return self.anonymous if party == ANONYMOUS else self.tenant


@dataclass(frozen=True, slots=True)
class _Waiting:
    amount: int
    granted: asyncio.Future[None]


class Budget:
    """One kind of thing that is given out and comes back. `what` names it in refusals."""

    def __init__(self, what: str, shares: Shares, *, wait_seconds: float = 0.0) -> None:
        self._what = what
        self._shares = shares
        self._wait_seconds = wait_seconds
        self._taken = 0
        self._taken_by: defaultdict[Party, int] = defaultdict(int)
        # Parties with somebody who waits; the one that was served longest ago comes first.
        self._queues: OrderedDict[Party, deque[_Waiting]] = OrderedDict()

    @property
    def taken(self) -> int:
        """How much is given out now."""
        return self._taken

    @asynccontextmanager
    async def take(self, party: Party, amount: int = 1) -> AsyncIterator[None]:
        """Hold so much while the block runs; waits a while for it.

        Raises Problem 429 when the party has its share already, 503 when all of it is given out.
        """
        await self._acquire(party, amount)
        try:
            yield
        finally:
            self._give_back(party, amount)

    async def _acquire(self, party: Party, amount: int) -> None:
        if party not in self._queues and self._fits(party, amount):
            self._grant(party, amount)
            return
        if not self._wait_seconds or amount > self._shares.of(party):
            raise self._refusal(party, amount)
        waiting = _Waiting(amount, asyncio.get_running_loop().create_future())
        self._queues.setdefault(party, deque()).append(waiting)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await waiting.granted
        except BaseException as error:
            if waiting.granted.done() and not waiting.granted.cancelled():
                self._give_back(party, amount)
            else:
                self._forget(party, waiting)
            if isinstance(error, TimeoutError):
                raise self._refusal(party, amount) from error
            raise

    def _fits(self, party: Party, amount: int) -> bool:
        return self._taken + amount <= self._shares.whole and self._taken_by[party] + amount <= self._shares.of(party)

    def _grant(self, party: Party, amount: int) -> None:
        self._taken += amount
        self._taken_by[party] += amount

    def _give_back(self, party: Party, amount: int) -> None:
        self._taken -= amount
        self._taken_by[party] -= amount
        if not self._taken_by[party]:
            del self._taken_by[party]
        self._serve()

    def _serve(self) -> None:
        """Give what has come back to those who wait, one of each party in turn."""
        progress = True
        while progress:
            progress = False
            for party in list(self._queues):
                queue = self._queues[party]
                # One that has given up may not have left yet.
                has_left = queue[0].granted.done()
                if not has_left and not self._fits(party, queue[0].amount):
                    continue
                waiting = queue.popleft()
                if not has_left:
                    self._grant(party, waiting.amount)
                    waiting.granted.set_result(None)
                progress = True
                if queue:
                    self._queues.move_to_end(party)
                else:
                    del self._queues[party]

    def _forget(self, party: Party, waiting: _Waiting) -> None:
        queue = self._queues.get(party)
        if queue is None or waiting not in queue:
            return
        queue.remove(waiting)
        if not queue:
            del self._queues[party]
        # It may have stood before others of its party that ask for less.
        self._serve()

    def _refusal(self, party: Party, amount: int) -> Problem:
        headers = {"Retry-After": _RETRY_SECONDS}
        if self._taken_by[party] + amount <= self._shares.of(party):
            return Problem(
                503,
                "front_busy",
                f"the front has all the {self._what} under way that it can have",
                hint="Try again in a moment.",
                headers=headers,
            )
        whose = "callers without proven credentials have" if party == ANONYMOUS else "your tenant has"
        return Problem(
            429,
            "too_many_at_once",
            f"{whose} all the {self._what} under way that one may have at a time",
            hint="Send fewer at the same time, and this one again in a moment.",
            headers=headers,
        )
