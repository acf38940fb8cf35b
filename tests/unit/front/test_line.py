"""The line of strangers: how quickly it moves, and for whom."""

from __future__ import annotations

import asyncio

from flowgres_front.visits import Line

PER_SECOND = 200


async def order_of(line: Line, parties: list[str]) -> list[str]:
    """Who enters, in the order in which their turns come."""
    served: list[str] = []

    async def wait(party: str) -> None:
        await line.enter(party)
        served.append(party)

    await asyncio.gather(*(wait(party) for party in parties))
    return served


async def test_a_burst_need_not_wait() -> None:
    line = Line(per_second=0.001, burst=3)

    turns = [line.enter("one") for _ in range(4)]

    assert [turn.done() for turn in turns] == [True, True, True, False]


async def test_they_leave_at_the_rate() -> None:
    line = Line(per_second=PER_SECOND, burst=1)
    began = asyncio.get_running_loop().time()

    await order_of(line, ["one"] * 41)

    assert asyncio.get_running_loop().time() - began >= 40 / PER_SECOND


async def test_one_party_does_not_wait_behind_all_of_another() -> None:
    line = Line(per_second=PER_SECOND, burst=1)

    served = await order_of(line, ["many"] * 30 + ["few"] * 2)

    assert served[0] == "many"
    assert sorted(served[1:5]) == ["few", "few", "many", "many"]


async def test_who_has_left_takes_no_turn() -> None:
    line = Line(per_second=PER_SECOND, burst=1)
    line.enter("one")
    left = [line.enter("one") for _ in range(1_000)]
    began = asyncio.get_running_loop().time()
    last = line.enter("one")

    for turn in left:
        turn.set_result(None)
    await last

    assert asyncio.get_running_loop().time() - began < len(left) / PER_SECOND / 2


async def test_a_line_that_was_empty_for_long_has_no_more_than_the_burst() -> None:
    line = Line(per_second=PER_SECOND, burst=2)
    await order_of(line, ["one"] * 5)
    await asyncio.sleep(20 / PER_SECOND)

    turns = [line.enter("one") for _ in range(10)]

    assert sum(turn.done() for turn in turns) <= 3
