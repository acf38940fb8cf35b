"""How claimed steps are divided: lines of batches, so that nobody waits for what is large or another one's."""

from __future__ import annotations

from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.execution.batches import Batch, divide
from flowgres_runner.execution.results import MAX_BATCH_CHARACTERS
from flowgres_runner.json_values import LARGE_BYTES


def row(number: int, execution: str, *, tenant: str = "t", size: int | None = 2) -> ClaimedStep:
    context = None if size is None else "x" * size
    return ClaimedStep(number, 1, tenant, execution, "v", 0, -1, 1, 1, False, context, None)


def divided(rows: list[ClaimedStep], *, is_known: bool = True, size: int = 0) -> list[list[list[int]]]:
    lines, heavy = divide(rows, size_of=lambda _: size, is_known=lambda _: is_known)
    assert not heavy
    return [[[step.queue_id for step in batch] for batch in line] for line in lines]


def test_what_is_small_goes_as_one_batch_whosever_it_is() -> None:
    assert divided([row(1, "a"), row(2, "b", tenant="u"), row(3, "c")]) == [[[1, 2, 3]]]


def test_tenants_go_by_themselves_where_much_has_to_be_read_for_one_of_them() -> None:
    rows = [row(1, "a"), row(2, "b", tenant="u"), row(3, "c")]
    assert divided(rows, is_known=False) == [[[1, 3]], [[2]]]
    much = [step._replace(context=None, handed=True) for step in rows]
    assert divided(much, size=MAX_BATCH_CHARACTERS) == [[[1], [3]], [[2]]]


def test_execution_that_brings_something_large_goes_by_itself_with_all_its_steps() -> None:
    large = LARGE_BYTES + 1
    rows = [row(1, "a"), row(2, "b", size=large), row(3, "c"), row(4, "b", size=None), row(5, "d", size=large)]
    assert divided(rows) == [[[1, 3]], [[2, 4]], [[5]]]
    assert divided(rows[1:2]) == [[[2]]]


def test_claimed_steps_whose_contexts_did_not_come_are_heavy() -> None:
    fan = [row(2, "b"), row(3, "b", size=None)]
    handed = row(4, "c", size=None)._replace(handed=True)
    rows = [row(1, "a", size=None), *fan, handed, row(5, "d", size=None, tenant="u"), row(6, "a", size=None)]

    lines, heavy = divide(rows, size_of=lambda _: 1, is_known=lambda _: True)

    assert [[[step.queue_id for step in batch] for batch in line] for line in lines] == [[[2, 3, 4]]]
    assert [[step.queue_id for step in steps] for steps in heavy] == [[1, 6], [5]]


def test_what_has_begun_or_left_is_no_longer_the_rest_of_a_batch() -> None:
    batch = Batch([row(n, str(n)) for n in range(4)])
    batch.begun.add(1)
    batch.slow.append(batch.claimed[2])
    assert [[step.queue_id for step in line] for line in batch.take_slow()] == [[2]]
    assert [step.queue_id for step in batch.rest()] == [0, 3]
