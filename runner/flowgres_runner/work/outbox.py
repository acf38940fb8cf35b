"""Results on their way to the database, kept until the database has them."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable, Sequence

from flowgres_runner.execution.chains import AnyResult
from flowgres_runner.execution.results import MAX_BATCH_CHARACTERS

MAX_WAITING_CHARACTERS = 8 << 20
"""Of results that wait; beyond it no more are made for tenants that have more than TENANT_CHARACTERS of it."""
TENANT_CHARACTERS = 1 << 20
"""Of one tenant in one call, too, where there is that much: others are not to wait for all of it."""
SMALL_CHARACTERS = 1_000
"""As many results of this size as there can be leases are not much."""
MAX_BATCH_OPENED = 1000
"""Steps that one call may make ready at once: the more, the longer it holds its executions, and other lanes rest."""
_FIRST_PAUSE_SECONDS = 0.005
_LAST_PAUSE_SECONDS = 1.0


class Outbox:
    """Results that wait for the next round trip, first in first out; those of one execution in one batch at a time.

    The database locks the executions of a batch. A second batch with results of the same one would wait there, for as
    long as the first one takes, and all that it carries with it. An execution that somebody else holds is passed over
    by the database: its results wait here, and nobody waits for them.
    """

    def __init__(self) -> None:
        self._results: deque[AnyResult] = deque()
        self._wide: deque[AnyResult] = deque()
        """Those that make many steps ready: apart, because the others go past them when there is no room for these."""
        self._sending: set[str] = set()
        self._held: set[str] = set()
        self._is_closed = False
        self._characters = 0
        self._by_tenant: dict[str, int] = {}
        self._epoch = 0
        self._has_drained = asyncio.Event()
        self.arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._results) + len(self._wide)

    def put(self, results: Iterable[AnyResult]) -> None:
        """Add results and wake a lane."""
        if self._is_closed:
            return
        for result in results:
            if result.size > SMALL_CHARACTERS:
                self._count(result, 1)
            (self._wide if result.opened_count > 1 else self._results).append(result)
        self.arrived.set()

    def take(self, limit: int, room_for_opened: int = MAX_BATCH_OPENED) -> list[AnyResult]:
        """Remove up to `limit` of the oldest of executions of which nothing is on its way; `settle` ends that.

        Results that make many steps ready wait while there is no room for these, so that what they bring is handed over
        and not claimed anew; where there is any, one goes however many that are.
        """
        batch: list[AnyResult] = []
        if self._characters > MAX_WAITING_CHARACTERS:
            # What waits for room here is work as well: without this one each might wait for the other.
            room_for_opened = max(room_for_opened, 1)
        room_for_opened = min(room_for_opened, MAX_BATCH_OPENED)
        room, opened = MAX_BATCH_CHARACTERS, 0
        is_much, taken = self._characters > TENANT_CHARACTERS, dict[str, int]()
        for line in (self._wide, self._results):
            kept: list[AnyResult] = []
            while line and len(batch) < limit:
                result = line.popleft()
                execution_id = result.claimed.execution_id
                if execution_id in self._sending or execution_id in self._held:
                    kept.append(result)
                    continue
                before = taken.get(result.claimed.tenant_id, 0) if is_much else 0
                if before and before + result.size > TENANT_CHARACTERS:
                    kept.append(result)
                    continue
                # The first of them takes the place of the step that has ended.
                more = result.opened_count - 1
                room -= result.size
                if (room < 0 and batch) or (more > 0 and opened + (more if opened else 1) > room_for_opened):
                    line.appendleft(result)
                    break
                batch.append(result)
                if result.size > SMALL_CHARACTERS:
                    self._count(result, -1)
                if is_much:
                    taken[result.claimed.tenant_id] = before + result.size
                if more > 0:
                    opened += more
            line.extendleft(reversed(kept))
        self._sending.update([result.claimed.execution_id for result in batch])
        return batch

    def settle(self, batch: Sequence[AnyResult]) -> None:
        """Nothing of this batch is on its way any more."""
        if batch:
            self._sending.difference_update([result.claimed.execution_id for result in batch])
            if len(self):
                self.arrived.set()

    def put_back(self, batch: Sequence[AnyResult]) -> None:
        """Return a batch that did not get through, ahead of all others."""
        if not self._is_closed:
            self._return(batch)
            self.arrived.set()

    def hold(self, passed_over: Sequence[AnyResult]) -> None:
        """Return results whose executions somebody else holds; they go again later, each time after a longer while."""
        if self._is_closed:
            return
        # As objects: in that form what is held is not waited for.
        passed_over = [result.unfolded() for result in passed_over]
        times: dict[str, int] = {}
        for result in passed_over:
            execution_id = result.claimed.execution_id
            times[execution_id] = max(times.get(execution_id, 0), result.passed_over)
            result.passed_over += 1
        self._return(passed_over)
        for execution_id, count in times.items():
            seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(count, 10), _LAST_PAUSE_SECONDS)
            self._held.add(execution_id)
            # Jitter within the last fifth: executions that one transaction holds need not come back as one.
            asyncio.get_running_loop().call_later(seconds * random.uniform(0.8, 1), self._let_go, execution_id)  # noqa: S311

    def _return(self, results: Sequence[AnyResult]) -> None:
        for result in reversed(results):
            self._count(result, 1)
            (self._wide if result.opened_count > 1 else self._results).appendleft(result)

    def _let_go(self, execution_id: str) -> None:
        self._held.discard(execution_id)
        self.arrived.set()

    def is_sending(self, execution_id: str) -> bool:
        """Whether a result of this execution is on its way."""
        return execution_id in self._sending

    async def wait_for_room(self, tenant_id: str) -> bool:
        """Wait until more of this tenant's results may come; False when all that it held was given up meanwhile."""
        epoch = self._epoch
        while epoch == self._epoch and self._is_full_of(tenant_id):
            self._has_drained.clear()
            await self._has_drained.wait()
        return epoch == self._epoch

    def _is_full_of(self, tenant_id: str) -> bool:
        much = self._characters > MAX_WAITING_CHARACTERS
        return much and self._by_tenant.get(tenant_id, 0) > TENANT_CHARACTERS

    def _count(self, result: AnyResult, sign: int) -> None:
        # What somebody else holds may wait for long, and nobody waits for it.
        if result.size <= SMALL_CHARACTERS or result.passed_over:
            return
        tenant_id, characters = result.claimed.tenant_id, sign * result.size
        self._characters += characters
        left = self._by_tenant[tenant_id] = self._by_tenant.get(tenant_id, 0) + characters
        if sign < 0:
            self._has_drained.set()
            if not left:
                del self._by_tenant[tenant_id]

    def close(self) -> None:
        """Drop everything, and whatever comes."""
        self._is_closed = True
        self.clear()

    def clear(self) -> int:
        """Drop everything; returns how many."""
        count = len(self)
        self._results.clear()
        self._wide.clear()
        self._characters = 0
        self._by_tenant.clear()
        self._epoch += 1
        self._has_drained.set()
        return count
