"""Turns among tenants, and the memory of who is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flowgres_runner.evaluator.marks import MARK_SECONDS, MAX_TEMPLATES, MAX_TENANTS, SlowMarks
from flowgres_runner.turns import Turns


class Hall:
    """Who has been let in, in that order."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.entered: list[str] = []
        self.leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        """Tenants are the first letters of the names."""
        for name in names:
            self.leave[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._stay(name))
        await asyncio.sleep(0)

    async def go(self, *names: str) -> None:
        for name in names:
            self.leave[name].set()
            await self.tasks[name]
        await asyncio.sleep(0)

    async def _stay(self, name: str) -> None:
        async with self.turns.hold(name[0]):
            self.entered.append(name)
            await self.leave[name].wait()


@asynccontextmanager
async def hall(count: int, reserve: int = 0) -> AsyncIterator[Hall]:
    guests = Hall(Turns(count, reserve=reserve))
    yield guests
    for task in guests.tasks.values():
        task.cancel()
    await asyncio.gather(*guests.tasks.values(), return_exceptions=True)


async def test_tenant_alone_has_all() -> None:
    async with hall(3) as guests:
        await guests.come("a1", "a2", "a3", "a4")
        assert guests.entered == ["a1", "a2", "a3"]
        await guests.go("a1")
        assert guests.entered == ["a1", "a2", "a3", "a4"]


async def test_tenants_take_turns_however_many_one_has_waiting() -> None:
    async with hall(1) as guests:
        await guests.come("a1", "a2", "a3", "a4", "b1", "b2", "c1")
        for name in ("a1", "a2", "b1", "c1", "a3", "b2"):
            await guests.go(name)
        assert guests.entered == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_reserve_is_for_tenants_that_have_next_to_nothing() -> None:
    async with hall(4, reserve=8) as guests:
        await guests.come("a1", "a2", "a3", "a4", "a5")
        await guests.come("b1", "b2", "c1")
        assert guests.entered == ["a1", "a2", "a3", "a4", "b1", "c1"], (
            "one of each, as far as it lasts for eight tenants"
        )
        await guests.go("b1")
        assert guests.entered[6:] == ["b2"]
        await guests.go("a1", "a2", "a3")
        assert guests.entered[7:] == ["a5"]


async def test_who_gives_up_waiting_keeps_nobody_waiting() -> None:
    async with hall(1) as guests:
        await guests.come("a1", "b1", "b2", "c1")
        guests.tasks["b1"].cancel()
        await asyncio.sleep(0)
        guests.leave["a1"].set()
        await asyncio.sleep(0)
        # Its turn has come, and it does not know yet.
        guests.tasks["b2"].cancel()
        await asyncio.gather(guests.tasks["b1"], guests.tasks["b2"], return_exceptions=True)
        await asyncio.sleep(0)
        assert guests.entered == ["a1", "c1"]


async def test_tenants_take_turns_and_a_cancelled_one_never_had_it() -> None:
    turns = Turns(1)
    order: list[str] = []

    async def work(name: str) -> None:
        async with turns.hold(name[0]):
            order.append(name)
            await asyncio.sleep(0)

    async with turns.hold("x"):
        tasks = [asyncio.create_task(work(name)) for name in ("a1", "a2", "a3", "b1", "c1")]
        await asyncio.sleep(0)
        tasks[1].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)
    assert order == ["a1", "b1", "c1", "a3"]


def test_marks_fade_unless_they_are_set_again() -> None:
    now = [0.0]
    marks = SlowMarks(clock=lambda: now[0])
    assert not marks.are_any()
    marks.add("a", "k")
    assert (marks.has("a", "k"), marks.has("a", "other"), marks.has("b", "k")) == (True, False, False)
    now[0] = MARK_SECONDS - 1
    marks.add("a", "k2")
    now[0] = MARK_SECONDS + 1
    assert (marks.has("a", "k"), marks.has("a", "k2")) == (False, True)
    now[0] = 2 * MARK_SECONDS
    assert not marks.are_any()


def test_tenant_with_too_many_slow_templates_is_slow_altogether() -> None:
    now = [0.0]
    marks = SlowMarks(clock=lambda: now[0])
    for number in range(10 * MAX_TEMPLATES):
        marks.add("a", str(number))
    assert marks.has("a", "never seen")
    assert len(marks._tenants["a"]) == MAX_TEMPLATES
    now[0] = MARK_SECONDS + 1
    assert not marks.has("a", "never seen")


def test_memory_of_marks_is_bounded() -> None:
    marks = SlowMarks(clock=lambda: 0.0)
    for number in range(MAX_TENANTS + 10):
        marks.add(str(number), "k")
    assert len(marks._tenants) == MAX_TENANTS
    assert marks.has(str(MAX_TENANTS + 9), "k")
    assert not marks.has("0", "k")
