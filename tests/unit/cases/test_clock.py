"""The virtual clock: nothing happens until it is moved, and then in the order of what was set."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from flowgres_cli.testing.clock import AttemptKey, VirtualClock

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
KEY = AttemptKey("x", "charge", -1)
OTHER = AttemptKey("x", "ship", 2)


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def test_sleep_ends_when_the_clock_gets_there_and_not_before() -> None:
    clock = VirtualClock(START)
    sleeping = asyncio.create_task(clock.sleep(86_400 * 30))
    await _settle()
    clock.move_to(after(86_400 * 30 - 1))
    await _settle()
    assert not sleeping.done()
    clock.move_to(after(86_400 * 30))
    await _settle()
    assert sleeping.done()
    assert (clock.now, clock.monotonic()) == (after(86_400 * 30), 86_400 * 30)


async def test_timeout_cancels_what_takes_longer() -> None:
    clock = VirtualClock(START)

    async def attempt() -> str:
        try:
            async with clock.timeout(30):
                await clock.sleep(31)
        except TimeoutError:
            return "late"
        return "in time"

    trying = asyncio.create_task(attempt())
    await _settle()
    clock.move_to(after(30))
    await _settle()
    assert await trying == "late"


async def test_timeout_that_was_kept_does_nothing_later() -> None:
    clock = VirtualClock(START)
    async with clock.timeout(30):
        await clock.sleep(0)
    clock.move_to(after(60))
    await _settle()


async def test_next_timer_is_that_of_the_living() -> None:
    clock = VirtualClock(START)

    async def attempt(key: AttemptKey, seconds: float) -> None:
        async with clock.timeout(seconds + 5):
            clock.begin(key)
            await clock.sleep(seconds)

    trying = [asyncio.create_task(attempt(KEY, 20)), asyncio.create_task(attempt(OTHER, 10))]
    await _settle()
    assert set(clock.sleeping) == {KEY, OTHER}
    assert clock.next_timer({KEY, OTHER}) == after(10)
    assert clock.next_timer({KEY}) == after(20)
    assert clock.next_timer(set()) is None
    clock.move_to(after(10))
    await _settle()
    assert set(clock.sleeping) == {KEY}
    trying[0].cancel()
    await asyncio.gather(*trying, return_exceptions=True)
    assert not clock.sleeping
    assert clock.next_timer({KEY}) is None


async def test_timeout_that_was_set_before_the_attempt_was_named_is_its_own() -> None:
    clock = VirtualClock(START)

    async def attempt() -> None:
        async with clock.timeout(5):
            clock.begin(KEY)
            await clock.sleep(20)

    trying = asyncio.create_task(attempt())
    await _settle()
    assert clock.next_timer({KEY}) == after(5)
    clock.move_to(after(5))
    with pytest.raises(TimeoutError):
        await trying


def test_clock_that_is_put_back_gives_no_time_back() -> None:
    clock = VirtualClock(START)
    clock.move_to(after(100))
    clock.move_to(START)
    assert (clock.now, clock.monotonic()) == (START, 100)
