"""The end of a round of a step that only computes: asked beside its batch, which does not wait for the answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from flowgres_process.logs import get_logger
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.evaluator import EvaluatorError
from flowgres_runner.execution.prepared import Prepared
from flowgres_runner.execution.reshaping import Reshaper
from flowgres_runner.execution.results import Ended
from flowgres_runner.steps.base import Completed
from flowgres_runner.steps.failures import internal_failure

log = get_logger(__name__)

GiveBack = Callable[[Sequence[ClaimedStep], EvaluatorError], Awaitable[None]]


class Report(Protocol):
    """Takes the end of a step."""

    def __call__(self, claimed: ClaimedStep, item: Prepared, outcome: Ended, *, milliseconds: float) -> None: ...


class Rounds:
    """Reports rounds, each as soon as it is known whether it was the last one."""

    def __init__(self, *, reshaper: Reshaper, report: Report, give_back: GiveBack) -> None:
        self._reshaper = reshaper
        self._report = report
        self._give_back = give_back

    async def end(self, item: Prepared, outcome: Completed, began: float) -> None:
        """Make the step's output of an outcome, ask its `until`, and report."""
        ended: Ended
        try:
            ended = await self._reshaper.reshape(item, outcome)
        except EvaluatorError as error:
            await self._give_back([item.claimed], error)
            return
        except Exception:
            log.exception("handler_failed", execution_id=item.claimed.execution_id, step=item.step.id)
            ended = internal_failure()
        self._report(item.claimed, item, ended, milliseconds=(time.monotonic() - began) * 1000)
