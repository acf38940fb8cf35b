"""What this runner holds, and setting that right after a call whose answer was lost.

When a connection breaks during a claim, steps may have been leased whose names never arrived. As the runner lives,
nobody would ever rescue them. So after each break, once no call is under way, everything that the database thinks we
hold and that we do not know is given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.belief import Belief
from flowgres_runner.database.connection import Link, retry_until_answered
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.execution.chains import AnyResult

log = get_logger(__name__)

SECOND_LOOK_SECONDS = 20.0
"""A backend whose client vanished may still commit what it was doing; by then it has noticed."""


class Leases:
    """Leases by queue id, the calls under way, and whether they need reconciling."""

    def __init__(self, belief: Belief | None = None) -> None:
        self._belief = belief or Belief()
        self._held: dict[int, ClaimedStep] = {}
        self._parked: set[tuple[int, int]] = set()
        self._calls = 0
        self._is_settled = asyncio.Event()
        self._is_settled.set()
        self._needed = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, claimed: ClaimedStep) -> bool:
        """Whether this very lease is ours, as far as we know."""
        held = self._held.get(claimed.queue_id)
        return held is not None and held.token == claimed.token

    def all(self) -> list[ClaimedStep]:
        """Everything held."""
        return list(self._held.values())

    def settle(self, batch: Iterable[AnyResult], rows: Iterable[ClaimedStep]) -> None:
        """After a round trip: what was reported is no longer held, what came back is.

        A queue row goes from a step to its successor, so the order matters.
        """
        held = self._held
        for result in batch:
            claimed = result.claimed
            if result.is_final and (claimed.queue_id, claimed.token) not in self._parked:
                kept = held.get(claimed.queue_id)
                if kept is not None and kept.token == claimed.token:
                    del held[claimed.queue_id]
        for row in rows:
            held[row.queue_id] = row

    def park(self, claimed: ClaimedStep) -> None:
        """Keep the lease of a result that is going to be sent again."""
        self._parked.add((claimed.queue_id, claimed.token))

    def unpark(self, claimed: ClaimedStep) -> None:
        """The result is about to be sent again."""
        self._parked.discard((claimed.queue_id, claimed.token))

    def drop(self, rows: Iterable[ClaimedStep]) -> None:
        """Forget leases that were given back or lost."""
        for row in rows:
            if self.holds(row):
                del self._held[row.queue_id]

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._parked.clear()

    # --- reconciling

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around a call that may lease steps."""
        self._calls += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if self._calls == 0:
                self._quiet.set()

    @property
    def is_calling(self) -> bool:
        """Whether a call is under way that may lease steps."""
        return self._calls > 0

    async def settled(self) -> None:
        """Wait while leases are doubtful, or being reconciled: a claim in between would be given back at once."""
        while not (self._belief.holds and self._is_settled.is_set()):
            await self._belief.restored()
            await self._is_settled.wait()

    def need_reconciling(self) -> None:
        """A call broke off: from now on no call begins until the leases are known again."""
        self._is_settled.clear()
        self._needed.set()

    async def reconcile_forever(self, link: Link, runner_id: Callable[[], str]) -> None:
        """Give back what we do not know of, whenever a call broke off, and once more some time later."""
        while True:
            await self._needed.wait()
            await self._reconcile(link, runner_id)
            if self._needed.is_set():
                continue
            try:
                # Not wait_for: with Python 3.11 that loses a cancel which comes together with what it waits for.
                async with asyncio.timeout(SECOND_LOOK_SECONDS):
                    await self._needed.wait()
            except TimeoutError:
                self._is_settled.clear()
                await self._reconcile(link, runner_id)

    async def _reconcile(self, link: Link, runner_id: Callable[[], str]) -> None:
        await self._quiet.wait()
        self._needed.clear()
        known = self._known()
        count = await retry_until_answered(
            lambda: queries.release_unknown(link, runner_id=runner_id(), known=known), purpose="reconcile", raising=()
        )
        if count:
            log.info("leases_reconciled", released=count)
        if not self._needed.is_set():
            self._is_settled.set()

    def _known(self) -> Sequence[Sequence[int]]:
        return [[claimed.queue_id, claimed.token] for claimed in self._held.values()]
