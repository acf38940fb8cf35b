"""Halving of batches, without a database: what it answers is given."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from flowgres_runner.database.connection import classified
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.errors import DatabaseUnreachableError
from flowgres_runner.execution.chains import AnyResult, ChainResult
from flowgres_runner.execution.compiled import PlainChain
from flowgres_runner.execution.results import Member, Result
from flowgres_runner.work.delivery import Delivery


def result(number: int) -> Result:
    claimed = ClaimedStep(number, 1, "tenant", "execution", "version", 0, -1, 1, 1, False, None, None)
    return Result(claimed, [Member(0, "completed", 1.0, str(number))])


def chain(number: int, text: str, count: int) -> ChainResult:
    return ChainResult(result(number).claimed, PlainChain(tuple(range(count)), True, 0, ()), text)


class Database:
    """Takes all results but those of `poison`, on which it raises `error` for the first `times` calls."""

    def __init__(self, poison: set[int], error: type[psycopg.Error], times: int = 1_000) -> None:
        self.poison = poison
        self.error = error
        self.times = times
        self.taken: list[AnyResult] = []
        self.parked: list[AnyResult] = []
        self.calls = 0

    async def send(self, batch: list[AnyResult], want: int) -> list[ClaimedStep]:
        self.calls += 1
        if self.times > 0 and any(item.claimed.queue_id in self.poison and not item.is_replaced for item in batch):
            self.times -= 1
            raise classified(self.error("no"))
        self.taken += batch
        return [item.claimed for item in batch][:want]

    async def deliver(self, batch: list[AnyResult], want: int = 0) -> list[ClaimedStep]:
        return await Delivery(self.send, self.parked.append).deliver(batch, want)


async def test_one_poison_result_alone_fails() -> None:
    database = Database({5}, errors.UntranslatableCharacter)
    await database.deliver([result(number) for number in range(300)])
    assert sorted(item.claimed.queue_id for item in database.taken) == list(range(300))
    (replaced,) = [item for item in database.taken if item.is_replaced]
    assert replaced.claimed.queue_id == 5
    assert isinstance(replaced, Result)
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
    async def send(batch: list[AnyResult], want: int) -> list[ClaimedStep]:
        raise DatabaseUnreachableError("gone")

    with pytest.raises(DatabaseUnreachableError):
        await Delivery(send, lambda item: None).deliver([result(1)], 0)


async def test_steps_run_ahead_are_left_out_when_one_of_them_may_be_the_culprit() -> None:
    database = Database({1}, errors.UntranslatableCharacter, times=1)
    lease = result(1)
    lease.add(Result(lease.claimed, [Member(1, "completed", 1.0, "2")]))
    await database.deliver([lease])
    (taken,) = database.taken
    assert isinstance(taken, Result)
    assert ([member.step_index for member in taken.members], taken.is_replaced) == ([0], False)


async def test_chain_that_is_refused_becomes_objects_then_its_head_alone_then_a_failure() -> None:
    forms = []
    for times in range(4):
        database = Database({1}, errors.InvalidTextRepresentation, times=times)
        await database.deliver([chain(1, "[[1.5,7],[2,{}]]", 2)])
        (taken,) = database.taken
        forms.append(taken.text if isinstance(taken, ChainResult) else [member.outcome for member in taken.members])
    assert forms == ["[[1.5,7],[2,{}]]", ["completed", "completed"], ["completed"], ["failed"]]


@pytest.mark.parametrize(
    "text", ["", "[", "[[1,2]]", "[[1,2],[3]]", '[["x",2],[3,4]]', "[[-1,2],[3,4]]", "[[1,NaN],[3,4]]", "[1,2]", "{}",
             '[[1,"\\u0000"],[3,4]]', '[[1,"\\ud800"],[3,4]]', "[[1e999,2],[3,4]]", "[" * 10_000]
)  # fmt: skip
async def test_chain_that_is_refused_and_cannot_be_read_fails(text: str) -> None:
    database = Database({1}, errors.InvalidTextRepresentation)
    await database.deliver([chain(1, text, 2), result(2)])
    replaced, other = database.taken
    assert replaced.is_replaced
    assert not other.is_replaced


async def test_text_that_cannot_be_sent_at_all_is_poison_as_well() -> None:
    class NotSent(psycopg.DataError):
        sqlstate = None

    database = Database({1}, NotSent)
    await database.deliver([result(number) for number in range(4)])
    assert [item.claimed.queue_id for item in database.taken if item.is_replaced] == [1]
