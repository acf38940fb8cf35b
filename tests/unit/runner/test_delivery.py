"""Halving of batches, without a database: what it answers is given."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from flowgres_runner.delivery import Delivery
from flowgres_runner.errors import DatabaseUnreachableError
from flowgres_runner.queries import ClaimedStep
from flowgres_runner.results import Result


def result(number: int) -> Result:
    claimed = ClaimedStep(number, 1, "tenant", "execution", "version", 0, -1, 1, 1, False, None, None)
    return Result(claimed, f"result {number}")


class Database:
    """Takes all results but those of `poison`, on which it raises `error` for the first `times` calls."""

    def __init__(self, poison: set[int], error: type[psycopg.Error], times: int = 1_000) -> None:
        self.poison = poison
        self.error = error
        self.times = times
        self.taken: list[Result] = []
        self.parked: list[Result] = []
        self.calls = 0

    async def send(self, batch: list[Result], want: int) -> list[ClaimedStep]:
        self.calls += 1
        if self.times > 0 and any(item.claimed.queue_id in self.poison and not item.is_replaced for item in batch):
            self.times -= 1
            raise self.error("no")
        self.taken += batch
        return [item.claimed for item in batch][:want]

    async def deliver(self, batch: list[Result], want: int = 0) -> list[ClaimedStep]:
        return await Delivery(self.send, self.parked.append).deliver(batch, want)


async def test_one_poison_result_alone_fails() -> None:
    database = Database({5}, errors.UntranslatableCharacter)
    await database.deliver([result(number) for number in range(300)])
    assert sorted(item.claimed.queue_id for item in database.taken) == list(range(300))
    (replaced,) = [item for item in database.taken if item.is_replaced]
    assert replaced.claimed.queue_id == 5
    assert '"code":"result_refused"' in replaced.text
    assert database.calls < 25


async def test_lock_timeout_is_tried_again_and_then_only_the_locked_one_waits() -> None:
    database = Database({1}, errors.LockNotAvailable)
    await database.deliver([result(number) for number in range(4)])
    assert sorted(item.claimed.queue_id for item in database.taken) == [0, 2, 3]
    assert [item.claimed.queue_id for item in database.parked] == [1]


async def test_deadlock_is_tried_again_with_the_whole_batch() -> None:
    database = Database({1}, errors.DeadlockDetected, times=1)
    rows = await database.deliver([result(number) for number in range(4)], want=2)
    assert database.calls == 2
    assert len(rows) == 2


async def test_full_disk_is_waited_out() -> None:
    database = Database({1}, errors.DiskFull, times=3)
    await database.deliver([result(1)])
    assert len(database.taken) == 1
    assert not database.taken[0].is_replaced


async def test_lost_connection_goes_through() -> None:
    async def send(batch: list[Result], want: int) -> list[ClaimedStep]:
        raise DatabaseUnreachableError("gone")

    with pytest.raises(DatabaseUnreachableError):
        await Delivery(send, lambda item: None).deliver([result(1)], 0)


async def test_steps_run_ahead_are_left_out_when_one_of_them_may_be_the_culprit() -> None:
    database = Database({1}, errors.UntranslatableCharacter, times=1)
    chain = Result(result(1).claimed, '{"s":0}', is_completed=True).followed_by(Result(result(1).claimed, '{"s":1}'))
    assert chain.text == '{"s":0,"ahead":[{"s":1}]}'
    await database.deliver([chain])
    (taken,) = database.taken
    assert (taken.text, taken.is_replaced) == ('{"s":0}', False)
