"""What waits for the next round trip: order, bounds, and executions that somebody else holds."""

from __future__ import annotations

import asyncio
import itertools
import time

from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.execution.chains import ChainResult
from flowgres_runner.execution.compiled import PlainChain
from flowgres_runner.execution.results import MAX_BATCH_CHARACTERS, Member, Result
from flowgres_runner.work.outbox import MAX_BATCH_OPENED, MAX_WAITING_CHARACTERS, TENANT_CHARACTERS, Outbox

STEP = ClaimedStep(7, 3, "tenant", "execution", "version", 2, -1, 1, 1, False, None, None)
_NUMBERS = itertools.count()
OTHER = STEP._replace(execution_id="018f0000-0000-7000-8000-00000000000b")


def result(name: str, step: ClaimedStep = STEP) -> Result:
    return Result(step, [Member(0, name, 1.0)])


def large(characters: int, tenant_id: str = "tenant") -> Result:
    member = Member(2, "completed", 1.0, "x" * characters)
    return Result(STEP._replace(tenant_id=tenant_id, execution_id=f"{tenant_id} {next(_NUMBERS)}"), [member])


def names(outbox: Outbox, limit: int = 10) -> list[str]:
    return [item.members[0].outcome for item in outbox.take(limit) if isinstance(item, Result)]


def test_order_of_what_is_put_back_is_kept() -> None:
    outbox = Outbox()
    outbox.put([result(str(number)) for number in range(5)])
    batch = outbox.take(3)
    assert outbox.arrived.is_set()
    outbox.put_back(batch)
    outbox.settle(batch)
    assert names(outbox) == ["0", "1", "2", "3", "4"]


def test_results_of_one_execution_are_in_one_lane_at_a_time() -> None:
    outbox = Outbox()
    outbox.put([result("a0"), result("a1"), result("b0", OTHER), result("a2"), result("b1", OTHER)])
    first = outbox.take(1)
    second = outbox.take(10)
    assert [item.claimed.execution_id for item in second] == [OTHER.execution_id] * 2
    outbox.put([result("a3")])
    outbox.arrived.clear()
    assert names(outbox) == []
    outbox.settle(second)
    assert names(outbox) == []
    outbox.settle(first)
    assert outbox.arrived.is_set(), "somebody has to come for what was held back"
    assert names(outbox) == ["a1", "a2", "a3"]


def test_batch_carries_a_bounded_size_of_text() -> None:
    outbox = Outbox()
    third = MAX_BATCH_CHARACTERS // 3
    outbox.put([large(third, f"t{n}") for n in range(4)] + [large(5 * third, "t4"), large(1, "t5")])
    sizes = []
    while batch := outbox.take(300):
        sizes.append(len(batch))
        outbox.settle(batch)
    assert sizes == [3, 1, 1, 1], "one that is larger goes alone"


def test_much_of_one_tenant_leaves_room_for_others() -> None:
    outbox = Outbox()
    part = TENANT_CHARACTERS // 3 + 1
    outbox.put([large(part, "much") for _ in range(6)] + [large(10, "little") for _ in range(3)])
    batch = outbox.take(300)
    assert [item.claimed.tenant_id for item in batch] == ["much"] * 2 + ["little"] * 3
    outbox.settle(batch)
    assert [len(outbox.take(300)) for _ in range(3)] == [2, 2, 0]


async def test_who_makes_results_waits_while_too_many_of_its_own_wait_here() -> None:
    outbox = Outbox()
    assert await asyncio.wait_for(outbox.wait_for_room("a"), 1)
    part = MAX_WAITING_CHARACTERS // 4 + 1
    outbox.put([large(part, "a") for _ in range(4)] + [large(2_000, "b")])
    assert await asyncio.wait_for(outbox.wait_for_room("b"), 1), "it has little here"
    waiting = asyncio.create_task(outbox.wait_for_room("a"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    batch = outbox.take(1)
    assert await asyncio.wait_for(waiting, 1)
    outbox.put_back(batch)
    waiting = asyncio.create_task(outbox.wait_for_room("a"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    outbox.clear()
    assert not await asyncio.wait_for(waiting, 1), "its leases are gone"
    assert await asyncio.wait_for(outbox.wait_for_room("a"), 1)


async def test_what_somebody_else_holds_keeps_nobody_waiting() -> None:
    outbox = Outbox()
    outbox.put([large(MAX_WAITING_CHARACTERS + 1, "a")])
    batch = outbox.take(1)
    outbox.settle(batch)
    outbox.hold(batch)
    assert await asyncio.wait_for(outbox.wait_for_room("a"), 1)
    while not (batch := outbox.take(1)):
        await asyncio.sleep(0.01)
    outbox.settle(batch)
    outbox.put([large(MAX_WAITING_CHARACTERS + 1, "a")])
    waiting = asyncio.create_task(outbox.wait_for_room("a"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()


def test_of_much_that_makes_many_steps_ready_one_goes_without_room() -> None:
    outbox = Outbox()
    many = [fan(number, 30) for number in range(3)]
    outbox.put(many)
    assert outbox.take(300, 0) == []
    outbox.put([large(MAX_WAITING_CHARACTERS + 1, "a")])
    batch = outbox.take(300, 0)
    assert [item.claimed.queue_id for item in batch if item in many] == [many[0].claimed.queue_id]


async def test_what_was_passed_over_comes_back_later_and_later_while_others_go() -> None:
    outbox = Outbox()
    outbox.put([result("held"), result("free", OTHER)])
    tries = 0
    began = time.monotonic()
    while time.monotonic() - began < 0.3:
        batch = outbox.take(10)
        outbox.settle(batch)
        held = [item for item in batch if item.claimed.execution_id == STEP.execution_id]
        tries += len(held)
        outbox.hold(held)
        if held:
            outbox.put([result("free", OTHER)])
            assert names(outbox) == ["free"], "nobody waits for it"
            outbox.settle([result("free", OTHER)])
        outbox.arrived.clear()
        async with asyncio.timeout(2):
            await outbox.arrived.wait()
    # 5 + 10 + 20 + 40 + 80 + 160 ms, each up to a fifth shorter.
    assert 5 <= tries <= 8


async def test_newcomers_of_an_execution_that_is_held_wait_with_its_results() -> None:
    outbox = Outbox()
    outbox.hold([result("a0")])
    outbox.put([result("a1")])
    outbox.arrived.clear()
    assert names(outbox) == []
    async with asyncio.timeout(2):
        await outbox.arrived.wait()
    assert names(outbox) == ["a0", "a1"]


async def test_closed_one_takes_nothing_more() -> None:
    outbox = Outbox()
    outbox.put([result("a0")])
    batch = outbox.take(1)
    assert outbox.is_sending(STEP.execution_id)
    outbox.close()
    outbox.put_back(batch)
    outbox.hold(batch)
    outbox.put([result("a1")])
    assert len(outbox) == 0


def fan(number: int, opened_count: int) -> ChainResult:
    step = STEP._replace(execution_id=f"018f0000-0000-7000-8000-{number:012}", queue_id=number)
    return ChainResult(step, PlainChain((0,), is_whole=False, opened_count=opened_count, wanted=()), "[[1.0,1]]")


def taken(outbox: Outbox, room: int) -> list[int]:
    return [item.claimed.queue_id for item in outbox.take(100, room)]


def test_results_that_make_many_steps_ready_go_out_as_there_is_room() -> None:
    outbox = Outbox()
    outbox.put([fan(0, 50), fan(1, 50), fan(2, 1), fan(3, 5000), fan(4, 0), fan(5, 50)])
    # One that hands on to one step takes no more room than it leaves.
    assert taken(outbox, 0) == [2, 4]
    assert taken(outbox, 100) == [0, 1]
    # One that is wider than all the room there ever is goes alone, and does not wait for ever.
    assert taken(outbox, 1) == [3]
    outbox.put([fan(6, 1)])
    assert taken(outbox, 900) == [5, 6]
    outbox.put([fan(number, 101) for number in range(10, 20)])
    assert taken(outbox, 10_000) == list(range(10, 10 + MAX_BATCH_OPENED // 100))
