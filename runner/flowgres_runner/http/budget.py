"""Room for the bytes of answers: a runner holds so many at once, and a tenant its share of them.

An answer beyond the first bytes waits to be read until there is room: nothing is taken from the socket meanwhile, and
TCP slows the peer down. Nobody deadlocks: one answer at a time may go on whatever the others hold, and so comes to its
end. What was taken is given back when the step's result is there, or the step is cancelled.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from flowgres_runner.turns import Turns

FREE_BYTES = 65_536
"""Of each answer: most are smaller."""
TOTAL_BYTES = 4 << 20
SHARE_BYTES = 1 << 20
"""Of a tenant. A larger answer goes alone, beside the total: one of all tenants at a time, and they take turns."""


class ByteBudget:
    """What a runner may hold of answers. For one event loop."""

    def __init__(self, *, total: int = TOTAL_BYTES, share: int = SHARE_BYTES) -> None:
        self._total = total
        self._share = share
        self._used = 0
        self._used_by: dict[str, int] = {}
        self._lines: OrderedDict[str, deque[_Wish]] = OrderedDict()
        self._alone: Room | None = None
        self.bench = Turns(1)
        """Whose answer is being made into an output: that takes a multiple of its size, so it is one at a time."""

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._lines)

    @property
    def used(self) -> int:
        """Bytes that are held now."""
        return self._used + (self._alone.held if self._alone is not None else 0)

    def room(self, tenant_id: str) -> Room:
        """The room of one step; a context manager, whose end gives everything back."""
        return Room(self, tenant_id)

    async def take(self, room: Room, size: int) -> None:
        """Wait until this room may hold so many bytes more."""
        if not self._lines and self._fits(room, size):
            self._grant(room, size)
            return
        wish = _Wish(room, size)
        self._lines.setdefault(room.tenant_id, deque()).append(wish)
        self._serve()
        try:
            await wish.granted
        finally:
            self._drop(wish)

    def give_back(self, room: Room) -> None:
        """Everything that a room holds."""
        if self._alone is room:
            self._alone = None
        else:
            self._charge(room, -room.held)
        room.held = 0
        self._serve()

    def _fits(self, room: Room, size: int) -> bool:
        if self._alone is room:
            return True
        return self._used + size <= self._total and self._used_by.get(room.tenant_id, 0) + size <= self._share

    def _grant(self, room: Room, size: int) -> None:
        room.held += size
        if self._alone is not room:
            self._charge(room, size)

    def _charge(self, room: Room, size: int) -> None:
        self._used += size
        left = self._used_by.get(room.tenant_id, 0) + size
        if left:
            self._used_by[room.tenant_id] = left
        else:
            self._used_by.pop(room.tenant_id, None)

    def _serve(self) -> None:
        """Grant what fits, tenant by tenant; when nobody can go on, let the next one go alone."""
        while self._prune():
            for line in self._lines.values():
                wish = next((wish for wish in line if wish.room is self._alone), line[0])
                if self._fits(wish.room, wish.size):
                    break
            else:
                if self._alone is not None:
                    return
                line = next(iter(self._lines.values()))
                wish = line[0]
                # What it holds no longer counts among the others'.
                self._charge(wish.room, -wish.room.held)
                self._alone = wish.room
            line.remove(wish)
            if line:
                self._lines.move_to_end(wish.room.tenant_id)
            else:
                del self._lines[wish.room.tenant_id]
            self._grant(wish.room, wish.size)
            wish.granted.set_result(None)

    def _prune(self) -> bool:
        """Forget those who were cancelled meanwhile; whether anybody waits."""
        for tenant_id in list(self._lines):
            line = self._lines[tenant_id]
            if any(wish.granted.done() for wish in line):
                line = self._lines[tenant_id] = deque(wish for wish in line if not wish.granted.done())
            if not line:
                del self._lines[tenant_id]
        return bool(self._lines)

    def _drop(self, wish: _Wish) -> None:
        line = self._lines.get(wish.room.tenant_id)
        if line is not None and wish in line:
            line.remove(wish)
            if not line:
                del self._lines[wish.room.tenant_id]


class _Wish:
    """Somebody who waits for room."""

    __slots__ = ("granted", "room", "size")

    def __init__(self, room: Room, size: int) -> None:
        self.room = room
        self.size = size
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Room:
    """What one step holds of the budget, from the first large piece to its result."""

    def __init__(self, budget: ByteBudget, tenant_id: str) -> None:
        self.budget = budget
        self.tenant_id = tenant_id
        self.held = 0
        self._has_bench = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.held:
            self.budget.give_back(self)
        self.leave_bench()

    async def hold(self, size: int) -> None:
        """Wait until so many bytes may be held altogether."""
        if size > self.held:
            await self.budget.take(self, size - self.held)

    async def take_bench(self) -> None:
        """Wait until a large answer may be made into an output; until the end of this room nobody else's is."""
        if not self._has_bench:
            await self.budget.bench.take(self.tenant_id)
            self._has_bench = True

    def leave_bench(self) -> None:
        """Let somebody else's be made."""
        if self._has_bench:
            self._has_bench = False
            self.budget.bench.give_back(self.tenant_id)


current_room: ContextVar[Room | None] = ContextVar("current_room", default=None)
"""The room of the step that this task runs."""
