"""Budgets: what is given out, to whom, and who comes next."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from flowgres_front.budget import ANONYMOUS, Budget, Shares
from flowgres_front.problems import Problem


async def test_no_party_gets_more_than_its_share_and_all_together_no_more_than_there_is() -> None:
    budget = Budget("things", Shares(whole=10, tenant=4, anonymous=2), wait_seconds=5)
    held: Counter[str] = Counter()
    rng = random.Random(7)

    async def one(party: str, amount: int) -> None:
        async with budget.take(party, amount):
            held[party] += amount
            assert held[party] <= (2 if party == ANONYMOUS else 4)
            assert sum(held.values()) <= budget.taken <= 10
            await asyncio.sleep(rng.random() / 1000)
            held[party] -= amount

    parties = ("a", "b", "c", "d", ANONYMOUS)
    await asyncio.gather(*(one(rng.choice(parties), rng.randint(0, 2)) for _ in range(500)))

    assert budget.taken == 0


async def test_parties_take_turns_however_many_of_one_wait() -> None:
    budget = Budget("things", Shares(whole=1, tenant=1, anonymous=1), wait_seconds=5)
    served: list[str] = []

    async def one(party: str) -> None:
        async with budget.take(party):
            served.append(party)
            await asyncio.sleep(0)

    await asyncio.gather(*(one("noisy") for _ in range(50)), one("quiet"))

    assert served.index("quiet") <= 2


async def test_who_has_its_share_is_told_so_and_others_are_served() -> None:
    budget = Budget("things", Shares(whole=3, tenant=2, anonymous=1))

    async with budget.take("a", 2):
        with pytest.raises(Problem) as own:
            await budget.take("a").__aenter__()
        async with budget.take("b"):
            with pytest.raises(Problem) as all_of_it:
                await budget.take("c").__aenter__()

    assert (own.value.status, own.value.code) == (429, "too_many_at_once")
    assert (all_of_it.value.status, all_of_it.value.code) == (503, "front_busy")
    for problem in (own.value, all_of_it.value):
        assert problem.hint
        assert problem.headers["Retry-After"]


async def test_who_gives_up_waiting_leaves_its_place_to_the_next() -> None:
    budget = Budget("things", Shares(whole=2, tenant=2, anonymous=1), wait_seconds=0.05)

    async with budget.take("a"):
        large = asyncio.create_task(budget.take("b", 2).__aenter__())
        await asyncio.sleep(0)
        async with budget.take("c"):
            with pytest.raises(Problem):
                await large
    async with budget.take("b", 2):
        assert budget.taken == 2


async def test_a_caller_that_is_cancelled_takes_nothing_along() -> None:
    budget = Budget("things", Shares(whole=1, tenant=1, anonymous=1), wait_seconds=5)
    async with budget.take("a"):
        waiting = asyncio.create_task(budget.take("b").__aenter__())
        await asyncio.sleep(0)
    # Granted, and cancelled before it could look.
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert budget.taken == 0
