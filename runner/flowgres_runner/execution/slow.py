"""Steps whose expressions take long: run one by one, tenant beside tenant, and only a few held of each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from flowgres_runner.database.queries import ClaimedStep

MAX_HELD = 32
"""Of one tenant: a few seconds of work. What is more stays in the queue, where other runners find it."""

Run = Callable[[ClaimedStep], Awaitable[None]]
GiveBack = Callable[[Sequence[ClaimedStep]], Awaitable[None]]


class SlowSteps:
    """What waits here is a lease and no more: its context is looked for again when its turn comes.

    Each tenant has as many under way as there are evaluators, which then take turns with the tenants. `on_room` is
    called when a tenant may have more.
    """

    def __init__(self, *, at_once: int, run: Run, give_back: GiveBack, on_room: Callable[[], None]) -> None:
        self._at_once = at_once
        self._run = run
        self._give_back = give_back
        self._on_room = on_room
        self._waiting: dict[str, deque[ClaimedStep]] = {}
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        """How many are here, waiting or under way."""
        return sum(map(len, self._waiting.values())) + sum(map(len, self._tasks.values()))

    def rooms(self) -> dict[str, int]:
        """How many more may come of those tenants that have some here."""
        return {tenant_id: self._room_of(tenant_id) for tenant_id in self._tasks}

    def _room_of(self, tenant_id: str) -> int:
        return max(0, MAX_HELD - len(self._waiting.get(tenant_id, ())) - len(self._tasks.get(tenant_id, ())))

    async def put(self, claimed: Sequence[ClaimedStep]) -> None:
        """Take over steps of one tenant; those for which there is no room go back into the queue."""
        tenant_id = claimed[0].tenant_id
        room = self._room_of(tenant_id)
        line = self._waiting.setdefault(tenant_id, deque())
        # Its text would stay in memory for as long as it waits.
        line.extend([step._replace(context=None) for step in claimed[:room]])
        tasks = self._tasks.setdefault(tenant_id, set())
        while line and len(tasks) < self._at_once:
            tasks.add(asyncio.create_task(self._work(tenant_id, line.popleft())))
        if len(claimed) > room:
            await self._give_back(claimed[room:])

    def take_waiting(self) -> list[ClaimedStep]:
        """Forget those that have not begun; returns them, to be released."""
        waiting = [step for line in self._waiting.values() for step in line]
        self._waiting.clear()
        return waiting

    async def _work(self, tenant_id: str, step: ClaimedStep) -> None:
        task, tasks = asyncio.current_task(), self._tasks[tenant_id]
        assert task is not None  # noqa: S101 - this runs in one
        try:
            while True:
                await self._run(step)
                line = self._waiting.get(tenant_id)
                if not line:
                    return
                step = line.popleft()
                if len(line) == MAX_HELD // 2:
                    self._on_room()
        finally:
            tasks.discard(task)
            if not tasks:
                del self._tasks[tenant_id]
                self._waiting.pop(tenant_id, None)
            self._on_room()
