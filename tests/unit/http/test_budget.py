"""Room for bytes: bounded, shared among tenants, given back whatever happens."""

from __future__ import annotations

import asyncio
import random

import pytest

from flowgres_runner.http.budget import ByteBudget, Room


async def soon(task: asyncio.Task[None]) -> bool:
    """Whether it has what it waits for."""
    for _ in range(5):
        await asyncio.sleep(0)
    return task.done()


def holding(room: Room, size: int) -> asyncio.Task[None]:
    return asyncio.create_task(room.hold(size))


async def test_tenant_beyond_its_share_waits_and_another_goes_past() -> None:
    budget = ByteBudget(total=100, share=50)
    with budget.room("a") as first, budget.room("a") as large, budget.room("a") as waiting, budget.room("b") as other:
        await first.hold(50)
        await large.hold(80)  # it goes alone
        wish = holding(waiting, 10)
        assert not await soon(wish)
        await asyncio.wait_for(other.hold(50), 1)
        assert budget.used == 180
        first.__exit__(None, None, None)
        assert await soon(wish)


async def test_one_that_is_larger_than_everything_goes_alone_and_tenants_take_turns() -> None:
    budget = ByteBudget(total=100, share=50)
    ended: list[str] = []

    async def fetch(tenant_id: str) -> None:
        with budget.room(tenant_id) as room:
            for size in range(20, 501, 20):
                await room.hold(size)
                await asyncio.sleep(0)
            ended.append(tenant_id)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for tenant_id in "aaaaaab":
            group.create_task(fetch(tenant_id))
    assert ended.index("b") <= 2, ended
    assert budget.used == 0


@pytest.mark.parametrize("seed", range(20))
async def test_nobody_deadlocks_and_everything_is_given_back_whoever_is_cancelled(seed: int) -> None:
    budget = ByteBudget(total=100, share=40)
    chance = random.Random(seed)
    most = 0

    async def fetch(tenant_id: str, size: int) -> None:
        nonlocal most
        with budget.room(tenant_id) as room:
            held = 0
            while held < size:
                held = min(size, held + chance.randint(1, 30))
                await room.hold(held)
                most = max(most, budget.used)
                await asyncio.sleep(0)
            await room.take_bench()
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(fetch(chance.choice("abc"), chance.randint(1, 200))) for _ in range(60)]
    for task in chance.sample(tasks, 20):
        asyncio.get_running_loop().call_later(chance.random() * 0.01, task.cancel)
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert budget.used == 0
    assert not budget.is_wanted
    assert most <= 100 + 200
    async with asyncio.timeout(1), budget.bench.hold("d"):
        pass
