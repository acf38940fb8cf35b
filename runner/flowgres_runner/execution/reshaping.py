"""What a step's `output` makes of its outcome."""

from __future__ import annotations

from dataclasses import replace

from flowgres_runner.errors import OutputError
from flowgres_runner.evaluator import EvaluatorPool, Rendered, RenderedLarge, RenderFailed
from flowgres_runner.evaluator.jobs import RenderResult
from flowgres_runner.execution.opening import Opener
from flowgres_runner.execution.prepared import Prepared
from flowgres_runner.execution.preparing import Preparer
from flowgres_runner.execution.rendering import GatheredRenderer
from flowgres_runner.execution.results import render_failure
from flowgres_runner.http.budget import Room
from flowgres_runner.steps.base import Completed, Outcome
from flowgres_runner.steps.failures import internal_failure, output_failure
from flowgres_runner.turns import Turns

_RECALLS = 2
"""Large contexts that are here again at once."""


class Reshaper:
    """Renders outputs; for steps that have let their contexts go it gets these again, a few at a time."""

    def __init__(self, *, pool: EvaluatorPool, opener: Opener, preparer: Preparer) -> None:
        self._renderer = GatheredRenderer(pool)
        self._opener = opener
        self._preparer = preparer
        self._recalls = Turns(_RECALLS)

    async def reshape(self, item: Prepared, outcome: Outcome, room: Room | None = None) -> Outcome:
        """Apply a step's `output` to the outcome of a handler that was run as a task."""
        if item.step.output is None or not isinstance(outcome, Completed):
            return outcome
        if not item.lacks_context:
            return await self.take(item, outcome, await self._renderer.render(item.output_job(outcome)))
        if room is not None:
            # Others may go on while the database does not answer.
            room.leave_bench()
        async with self._recalls.hold(item.claimed.tenant_id):
            try:
                if not await self._preparer.recall(item):
                    return internal_failure()  # and nobody's any more
            except OutputError as error:
                return output_failure(error)
            answer = await self._renderer.render(item.output_job(outcome))
            item.let_context_go()
        return await self.take(item, outcome, answer)

    async def take(self, item: Prepared, outcome: Completed, answer: RenderResult) -> Outcome:
        if isinstance(answer, Rendered):
            return replace(outcome, output=answer.value)
        if isinstance(answer, RenderedLarge):
            try:
                return replace(outcome, output=await self._opener.output(item, answer))
            except OutputError as error:
                return output_failure(error)
        if not isinstance(answer, RenderFailed):
            return internal_failure()
        return replace(render_failure(answer), detail=outcome.detail, logs=outcome.logs)
