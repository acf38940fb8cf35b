"""Steps whose expressions take long: held a few of each tenant, tenant beside tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.execution.slow import MAX_HELD, SlowSteps


def step(tenant_id: str, number: int) -> ClaimedStep:
    return ClaimedStep(number, 1, tenant_id, f"x{number}", "v", 0, -1, 1, 1, False, "{}", None)


class Watched:
    """Slow steps that end when the test lets them."""

    def __init__(self, at_once: int = 1) -> None:
        self.begun: list[ClaimedStep] = []
        self.given_back: list[ClaimedStep] = []
        self.may_end = asyncio.Semaphore(0)
        self.rooms = 0
        self.slow = SlowSteps(at_once=at_once, run=self._run, give_back=self._give_back, on_room=self._note)

    async def _run(self, claimed: ClaimedStep) -> None:
        self.begun.append(claimed)
        await self.may_end.acquire()

    async def _give_back(self, claimed: Sequence[ClaimedStep]) -> None:
        self.given_back += claimed

    def _note(self) -> None:
        self.rooms += 1

    async def end(self, count: int) -> None:
        for _ in range(count):
            self.may_end.release()
            for _ in range(5):
                await asyncio.sleep(0)


async def test_only_a_few_of_a_tenant_are_held_and_the_others_go_back() -> None:
    watched = Watched()
    await watched.slow.put([step("loud", n) for n in range(MAX_HELD + 10)])
    await watched.slow.put([step("other", n) for n in range(3)])
    await asyncio.sleep(0)

    assert [claimed.queue_id for claimed in watched.given_back] == list(range(MAX_HELD, MAX_HELD + 10))
    assert watched.slow.rooms() == {"loud": 0, "other": MAX_HELD - 3}
    assert len(watched.slow) == MAX_HELD + 3
    assert {claimed.tenant_id for claimed in watched.begun} == {"loud", "other"}, "each tenant has one under way"
    assert all(claimed.context is None for claimed in watched.begun), "no text is held while it waits"


async def test_room_is_told_before_the_line_is_empty_and_when_it_is() -> None:
    watched = Watched()
    await watched.slow.put([step("loud", n) for n in range(MAX_HELD)])
    await watched.end(MAX_HELD // 2 - 1)
    assert watched.rooms == 1
    await watched.end(MAX_HELD // 2 + 1)
    assert watched.rooms == 2
    assert (len(watched.slow), watched.slow.rooms()) == (0, {})
    assert [claimed.queue_id for claimed in watched.begun] == list(range(MAX_HELD)), "in their order"


async def test_those_that_wait_can_be_taken_away() -> None:
    watched = Watched(at_once=2)
    await watched.slow.put([step("loud", n) for n in range(5)])
    await asyncio.sleep(0)

    assert [claimed.queue_id for claimed in watched.slow.take_waiting()] == [2, 3, 4]
    await watched.end(2)
    assert len(watched.slow) == 0
    assert len(watched.begun) == 2
