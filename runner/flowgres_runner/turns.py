"""Whose turn it is: one after another, and in turn among tenants, however long the line of one of them is."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A lock that tenants hold in turn; within a tenant first come, first served."""

    def __init__(self) -> None:
        self._is_taken = False
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, tenant_id: str) -> AsyncIterator[None]:
        """Hold it for a block."""
        await self.take(tenant_id)
        try:
            yield
        finally:
            self.give_back()

    async def take(self, tenant_id: str) -> None:
        """Wait for the turn; whoever takes it gives it back. Cancelled, it was never taken."""
        if not self._is_taken:
            self._is_taken = True
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant_id, deque()).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """The turn is over: the next tenant's begins."""
        while self._lines:
            tenant_id, line = self._lines.popitem(last=False)
            future = line.popleft()
            if line:
                self._lines[tenant_id] = line  # at the end of the round
            if not future.done():
                future.set_result(None)
                return
        self._is_taken = False
