"""Claimed steps on their way together: how they are divided, and what leaves a batch before its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.evaluator import Rendered, RenderedLarge
from flowgres_runner.execution.chains import AnyResult
from flowgres_runner.execution.opening import is_large
from flowgres_runner.execution.prepared import Prepared
from flowgres_runner.execution.results import MAX_BATCH_CHARACTERS

SizeOf = Callable[[str], int]
"""Bytes of what is known of an execution."""
IsKnown = Callable[[str], bool]
"""Whether a version has been read."""

_tenant_id: Callable[[ClaimedStep], str] = attrgetter("tenant_id")
_execution_id: Callable[[ClaimedStep], str] = attrgetter("execution_id")


class Batch:
    """Steps whose results leave together. `is_alone`: it is one step whose expressions take long.

    What the evaluator had no time for is set aside: what takes long becomes a slow step, and what only came too late in
    its tenant's slice goes on as a batch of that tenant. So does, each by itself, what is large. The others' results do
    not wait for it.
    """

    __slots__ = ("again", "begun", "claimed", "is_alone", "results", "slow")

    def __init__(self, claimed: Sequence[ClaimedStep], *, is_alone: bool = False) -> None:
        self.claimed = claimed
        self.is_alone = is_alone
        self.results: dict[int, AnyResult] = {}
        self.again: list[Prepared] = []
        self.slow: list[ClaimedStep] = []
        self.begun: set[int] = set()
        """Of these a task has taken over, by queue id."""

    def rest(self) -> list[ClaimedStep]:
        """Those that nobody has begun."""
        return [step for step in self.claimed if step.queue_id not in self.begun]

    def set_aside(self, item: Prepared, *, is_slow: bool) -> None:
        """There was no time for this one."""
        if not is_slow:
            self.again.append(item)
        elif not item.place:
            self.slow.append(item.claimed)
        # One that was to be run ahead is left out: the database makes it ready as ever.

    def set_apart(self, item: Prepared, given: Rendered | RenderedLarge) -> None:
        """This one is to be run where large values are read."""
        item.given = given
        self.again.append(item)

    def take_slow(self) -> list[list[ClaimedStep]]:
        """What takes long, by tenant; it is of this batch no more."""
        slow, self.slow = self.slow, []
        self._leave(slow)
        return _by(_tenant_id, slow)

    def take_again(self) -> list[tuple[Batch, list[Prepared]]]:
        """What goes on by itself: batches of one tenant each, with what there is of their results."""
        again, self.again = self.again, []
        parts: list[tuple[Batch, list[Prepared]]] = []
        groups = _by(_tenant_id, [item.claimed for item in again if item.given is None])
        groups += [[item.claimed] for item in again if item.given is not None]
        for claimed in groups:
            ids = {step.queue_id for step in claimed}
            # As they were claimed: what was to be run ahead has another step's index.
            part = Batch([step for step in self.claimed if step.queue_id in ids])
            part.results = {queue_id: self.results.pop(queue_id) for queue_id in ids if queue_id in self.results}
            parts.append((part, [item for item in again if item.claimed.queue_id in ids]))
        self._leave([item.claimed for item in again])
        return parts

    def _leave(self, claimed: Sequence[ClaimedStep]) -> None:
        ids = {step.queue_id for step in claimed}
        self.claimed = [step for step in self.claimed if step.queue_id not in ids]


def divide(
    claimed: Sequence[ClaimedStep], *, size_of: SizeOf, is_known: IsKnown
) -> tuple[list[list[list[ClaimedStep]]], list[list[ClaimedStep]]]:
    """What one round trip brought, as lines of batches whose contexts are bounded in size; and heavy steps, by tenant.

    The batches of a line run one after the other. All are one line, unless some tenant would keep the others waiting,
    with much to be read or to be rendered: then each tenant has its own. So has each execution that brings something
    large, which another process reads. Heavy are those whose contexts were too large to come with them, or are here no
    longer, or what they resume with.
    """
    heavy: list[ClaimedStep] = []
    # Of most rows nothing more is asked than whether they bring a context, or their execution is known here.
    if any(
        [
            (row.context is None and not row.handed)
            or ((row.resume is not None or row.iteration >= 0 or row.round is not None) and row.lacks)
            for row in claimed
        ]
    ) or not all(
        [size_of(execution_id) for execution_id in {row.execution_id for row in claimed if row.context is None}]
    ):
        brought = {row.execution_id for row in claimed if row.context is not None}
        heavy = [row for row in claimed if row.lacks or (row.execution_id not in brought and _lacks(row, size_of))]
        ids = {row.queue_id for row in heavy}
        claimed = [row for row in claimed if row.queue_id not in ids]
    large = {
        row.execution_id for row in claimed if (row.context is not None or row.resume is not None) and is_large(row)
    }
    if not large:
        return _lines(claimed, size_of, is_known), _by(_tenant_id, heavy)
    lines = _lines([row for row in claimed if row.execution_id not in large], size_of, is_known)
    apart = _by(_execution_id, [row for row in claimed if row.execution_id in large])
    return [*lines, *([rows] for rows in apart)], _by(_tenant_id, heavy)


def _lacks(row: ClaimedStep, size_of: SizeOf) -> bool:
    """Whether there is something to be fetched, unless another row of the execution brings it."""
    return row.lacks or (row.context is None and not (row.handed and size_of(row.execution_id)))


def _lines(claimed: Sequence[ClaimedStep], size_of: SizeOf, is_known: IsKnown) -> list[list[list[ClaimedStep]]]:
    batches = _by_size(claimed, size_of)
    if len({row.tenant_id for row in claimed}) == 1:
        return [batches]
    if len(batches) == 1 and all([is_known(version_id) for version_id in {row.version_id for row in claimed}]):
        return [batches]
    return [_by_size(rows, size_of) for rows in _by(_tenant_id, claimed)]


def _by_size(claimed: Sequence[ClaimedStep], size_of: SizeOf) -> list[list[ClaimedStep]]:
    batches: list[list[ClaimedStep]] = []
    sizes: dict[str, int] = {}
    room = 0
    for row in claimed:
        # Of the rows of one execution the first brings the context.
        size = sizes.get(row.execution_id)
        if size is None:
            size = size_of(row.execution_id) if row.context is None else len(row.context)
            sizes[row.execution_id] = size
        room -= size
        if room < 0 or not batches:
            batches.append([])
            room = MAX_BATCH_CHARACTERS - size
        batches[-1].append(row)
    return batches


def _by(key: Callable[[ClaimedStep], str], claimed: Sequence[ClaimedStep]) -> list[list[ClaimedStep]]:
    groups: dict[str, list[ClaimedStep]] = {}
    for row in claimed:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())
