"""What a step's `output` makes of its outcome, and whether its `until` ends it."""

from __future__ import annotations

from dataclasses import replace

from flowgres_runner.errors import OutputError
from flowgres_runner.evaluator import EvaluatorPool, Rendered, RenderedLarge, RenderFailed
from flowgres_runner.evaluator.jobs import RenderResult
from flowgres_runner.execution.opening import Opener
from flowgres_runner.execution.prepared import Prepared
from flowgres_runner.execution.preparing import Preparer
from flowgres_runner.execution.rendering import GatheredRenderer
from flowgres_runner.execution.results import Ended, RoundEnded, render_failure
from flowgres_runner.http.budget import Room
from flowgres_runner.json_values import canonical_json
from flowgres_runner.steps.base import Completed, JsonText, Outcome
from flowgres_runner.steps.failures import internal_failure, output_failure
from flowgres_runner.turns import Turns

_NOT_BOOLEAN = RenderFailed("expression_not_boolean", "until gave neither true nor false")
_RECALLS = 2
"""Large contexts that are here again at once."""


class Reshaper:
    """Renders outputs; for steps that have let their contexts go it gets these again, a few at a time."""

    def __init__(self, *, pool: EvaluatorPool, opener: Opener, preparer: Preparer) -> None:
        self._renderer = GatheredRenderer(pool)
        self._opener = opener
        self._preparer = preparer
        self._recalls = Turns(_RECALLS)

    async def reshape(self, item: Prepared, outcome: Outcome, room: Room | None = None) -> Ended:
        """Apply a step's `output` to the outcome of its handler, and ask whether the round was the last one."""
        if not isinstance(outcome, Completed) or not (item.reshapes(outcome) or item.step.until is not None):
            return outcome
        if not item.lacks_context:
            return await self._shape(item, outcome)
        if room is not None:
            # Others may go on while the database does not answer.
            room.leave_bench()
        async with self._recalls.hold(item.claimed.tenant_id):
            try:
                if not await self._preparer.recall(item):
                    return internal_failure()  # and nobody's any more
            except OutputError as error:
                return output_failure(error)
            shaped = await self._shape(item, outcome)
            item.let_context_go()
        return shaped

    async def _shape(self, item: Prepared, given: Completed) -> Ended:
        outcome: Outcome = given
        if item.reshapes(given):
            outcome = await self.take(item, given, await self._renderer.render(item.output_job(given)))
        if item.step.until is None or not isinstance(outcome, Completed):
            return outcome
        try:
            # As it will be `previous`: what the two are compared by must not be their form.
            outcome = _as_kept(outcome)
        except OutputError as error:
            return output_failure(error)
        answer = await self._renderer.render(item.until_job(given, outcome))
        if isinstance(answer, RenderFailed):
            return _failed(answer, outcome)
        if not isinstance(answer, Rendered) or not isinstance(answer.value, bool):
            return _failed(_NOT_BOOLEAN, outcome)
        return RoundEnded(outcome, is_enough=answer.value)

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
        return _failed(answer, outcome)


def _as_kept(outcome: Completed) -> Completed:
    """The outcome with its output in the form that the database gives back. Raises OutputError."""
    output = outcome.output
    return outcome if isinstance(output, JsonText) else replace(outcome, output=canonical_json(output))


def _failed(answer: RenderFailed, outcome: Completed) -> Outcome:
    return replace(render_failure(answer), detail=outcome.detail, logs=outcome.logs)
