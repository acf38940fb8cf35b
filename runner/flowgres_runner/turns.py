"""Taking turns: so many at once, tenant by tenant, so that nobody's hundred keep another's one waiting."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

GUESTS = 8
"""Among so many tenants the reserve is divided."""


class Turns:
    """At most `count` at once. Who waits is let in tenant by tenant, and among those of one tenant in their order.

    A tenant alone has all of it. What takes long cannot be taken back when another tenant comes, so there may be a
    `reserve` beyond `count`, of which each tenant that has next to nothing gets a little.
    """

    def __init__(self, count: int, *, reserve: int = 0) -> None:
        self.count = count
        self.reserve = reserve
        self._held: dict[str, int] = {}
        self._total = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def free_count(self) -> int:
        """How many more can be let in, the reserve included."""
        return self.count + self.reserve - self._total

    @property
    def guest_share(self) -> int:
        """So many of a tenant may always begin, as long as the reserve lasts."""
        return max(1, self.reserve // GUESTS)

    @asynccontextmanager
    async def hold(self, tenant_id: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the block."""
        await self.take(tenant_id)
        try:
            yield
        finally:
            self.give_back(tenant_id)

    async def take(self, tenant_id: str) -> None:
        """Wait for a turn; whoever takes one gives it back. Cancelled, it was never taken."""
        # Where there is room for one who comes, those who wait have none: it was given to them as it came.
        if tenant_id not in self._waiting and self._has_room(tenant_id):
            self._enter(tenant_id)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(tenant_id)  # it came together with the cancel
            else:
                self._leave_line(tenant_id, turn)
            raise

    def give_back(self, tenant_id: str) -> None:
        """The turn is over: somebody else's begins."""
        self._total -= 1
        self._held[tenant_id] -= 1
        if not self._held[tenant_id]:
            del self._held[tenant_id]
        self._let_in()

    def _has_room(self, tenant_id: str) -> bool:
        if self._total < self.count:
            return True
        return self._total < self.count + self.reserve and self._held.get(tenant_id, 0) < self.guest_share

    def _enter(self, tenant_id: str) -> None:
        self._total += 1
        self._held[tenant_id] = self._held.get(tenant_id, 0) + 1

    def _let_in(self) -> None:
        while (tenant_id := next(filter(self._has_room, self._waiting), None)) is not None:
            line = self._waiting[tenant_id]
            turn = line.popleft()
            # Its next one comes after everybody else's.
            self._waiting.move_to_end(tenant_id)
            if not line:
                del self._waiting[tenant_id]
            if not turn.done():
                self._enter(tenant_id)
                turn.set_result(None)

    def _leave_line(self, tenant_id: str, turn: asyncio.Future[None]) -> None:
        line = self._waiting.get(tenant_id)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._waiting[tenant_id]
