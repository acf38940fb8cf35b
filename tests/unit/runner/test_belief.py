"""How long a runner believes in its leases when nobody answers."""

from __future__ import annotations

import asyncio

from flowgres_runner.database.belief import Belief, uptime_seconds
from flowgres_runner.work.leases import Leases


def confirmed(*, seconds_ago: float, lease_seconds: float = 10) -> Belief:
    belief = Belief()
    belief.confirm(asked_at=uptime_seconds() - seconds_ago, lease_seconds=lease_seconds)
    return belief


def test_belief_ends_before_the_lease_does() -> None:
    assert Belief().holds
    assert confirmed(seconds_ago=8).holds
    assert not confirmed(seconds_ago=9.1).holds
    assert confirmed(seconds_ago=9.1, lease_seconds=60).holds


async def test_doubt_lasts_until_a_younger_answer() -> None:
    belief = confirmed(seconds_ago=11)
    waiting = asyncio.create_task(belief.restored())
    await asyncio.sleep(0)
    # An answer that took so long that it proves nothing any more.
    belief.confirm(asked_at=uptime_seconds() - 10, lease_seconds=10)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    belief.confirm(asked_at=uptime_seconds(), lease_seconds=10)
    await asyncio.wait_for(waiting, 1)


async def test_lanes_wait_for_doubt_and_reconciling_alike() -> None:
    belief = confirmed(seconds_ago=11)
    leases = Leases(belief)
    waiting = asyncio.create_task(leases.settled())
    await asyncio.sleep(0)
    leases.need_reconciling()
    belief.confirm(asked_at=uptime_seconds(), lease_seconds=10)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
