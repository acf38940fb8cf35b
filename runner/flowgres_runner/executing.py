"""Running claimed steps: contexts, one batch of renders, pure steps at once, the others as tasks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from flowgres_runner import queries
from flowgres_runner.connection import Link, retry_until_reached
from flowgres_runner.contexts import ContextCache, ExecutionContext
from flowgres_runner.evaluator import EvaluatorError, EvaluatorPool, RenderJob
from flowgres_runner.evaluator.jobs import NotTaken, Rendered, RenderFailed, RenderResult
from flowgres_runner.http.masks import Masker
from flowgres_runner.logs import get_logger
from flowgres_runner.prepared import ALL_ROOTS, Prepared
from flowgres_runner.queries import ClaimedStep
from flowgres_runner.rendering import GatheredRenderer
from flowgres_runner.results import Outbox, Result, encode_outcome
from flowgres_runner.secrets import Placeholders
from flowgres_runner.steps.base import Completed, Failed, Json, Outcome, Skipped, StepError
from flowgres_runner.steps.condition import with_field
from flowgres_runner.steps.sub_workflow import SubWorkflowHandler
from flowgres_runner.versions import CompiledStep, Version, VersionCache

log = get_logger(__name__)

_SKIPPED = Skipped()

StartTask = Callable[[Prepared, Json], None]
GiveBack = Callable[[Sequence[ClaimedStep]], Awaitable[None]]
_PAUSE_SECONDS = 1.0


class Executor:
    """Turns claimed steps into results in the outbox; `start_task` takes over those that have to wait for something."""

    def __init__(
        self,
        *,
        link: Link,
        versions: VersionCache,
        contexts: ContextCache,
        pool: EvaluatorPool,
        placeholders: Placeholders,
        outbox: Outbox,
        runner_id: Callable[[], str],
        start_task: StartTask,
        give_back: GiveBack,
        default_timeout_seconds: float,
        max_output_bytes: int,
    ) -> None:
        self._link = link
        self._versions = versions
        self._contexts = contexts
        self._pool = pool
        self._renderer = GatheredRenderer(pool)
        self._placeholders = placeholders
        self._outbox = outbox
        self._runner_id = runner_id
        self._start_task = start_task
        self._give_back = give_back
        self.default_timeout_seconds = default_timeout_seconds
        self.max_output_bytes = max_output_bytes
        self.completed_count = 0

    async def execute(self, claimed: Sequence[ClaimedStep]) -> None:
        """Run what one round trip brought, as one batch; should the batch as such fail, each step alone."""
        try:
            await self._execute(claimed)
        except EvaluatorError as error:
            # This machine's trouble, not the steps': another runner may do better, or this one in a moment.
            log.error("evaluator_unavailable", steps=len(claimed), error=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._give_back(claimed)
        except Exception:
            log.exception("batch_failed", steps=len(claimed))
            if len(claimed) == 1:
                self.report(claimed[0], None, internal_failure(), milliseconds=0.0)
                return
            for step in claimed:
                await self.execute([step])

    async def _execute(self, claimed: Sequence[ClaimedStep]) -> None:
        began = time.monotonic()
        results: dict[int, Result] = {}
        prepared = await self._prepare(claimed)
        while prepared:
            prepared = await self._run(prepared, began, results)
            began = time.monotonic()
        self._outbox.put(results.values())

    async def _run(self, prepared: Sequence[Prepared], began: float, results: dict[int, Result]) -> list[Prepared]:
        """Render and finish pure steps as one batch; those that wait for something begin as tasks, without a result.

        Returns the steps to run ahead after them: one that only computes, and hangs on the one just completed alone,
        need not wait for the database.
        """
        following: list[Prepared | None] = []
        jobs: list[RenderJob] = []
        rendered_steps: list[Prepared] = []
        for item in prepared:
            if item.resume is not None and isinstance(item.step.pure, SubWorkflowHandler):
                # The child's end is all it needs.
                following.append(self._finish(item, self._outcome_of_pure(item, None), began, results))
            else:
                jobs.append(item.config_job(self._placeholders))
                rendered_steps.append(item)
        if jobs:
            answers = await self._pool.render(jobs)
            reshaped: list[tuple[Prepared, Completed]] = []
            for item, job, answer in zip(rendered_steps, jobs, answers, strict=True):
                following.append(self._take(item, job, answer, began, results, reshaped))
            if reshaped:
                answers = await self._pool.render([item.output_job(outcome) for item, outcome in reshaped])
                for (item, completed), answer in zip(reshaped, answers, strict=True):
                    following.append(self._finish(item, _reshaped(completed, answer), began, results))
        return [after for after in following if after is not None]

    def _take(
        self,
        item: Prepared,
        job: RenderJob,
        answer: RenderResult,
        began: float,
        results: dict[int, Result],
        reshaped: list[tuple[Prepared, Completed]],
    ) -> Prepared | None:
        """Finish a rendered step, and those rendered along with it while each of them gives what the next was shown.

        Returns the step to run ahead after them.
        """
        if not isinstance(answer, Rendered):
            other = _SKIPPED if isinstance(answer, NotTaken) else _render_failure(answer)
            return self._finish(item, other, began, results)
        if item.step.pure is None:
            self._start_task(item, answer.value)
            return None
        values: list[Json] = [answer.value, *answer.then[: len(job.then)]]
        for taken, value in enumerate(values, 1):
            outcome = self._outcome_of_rendered(item, value)
            if item.step.output is not None and isinstance(outcome, Completed):
                reshaped.append((item, outcome))
                return None
            after = self._finish(item, outcome, began, results)
            if after is None or taken == len(values) or not _is_as_shown(item.step, value, outcome):
                break
            item, began = after, time.monotonic()
        if after is not None and taken <= len(job.then):
            after.goes_alone = True
        return after

    def _finish(self, item: Prepared, outcome: Outcome, began: float, results: dict[int, Result]) -> Prepared | None:
        """Add the result of a step to those of its lease; the step to run ahead after it, if there is one."""
        result = self._encode(item.claimed, item.step, outcome, began)
        queue_id = item.claimed.queue_id
        results[queue_id] = results[queue_id].followed_by(result) if item.place else result
        return item.following() if result.is_completed else None

    def _outcome_of_rendered(self, item: Prepared, config: Json) -> Outcome:
        step = item.step
        if step.type == "condition" and isinstance(config, dict) and "expression" not in config:
            config = with_field(config, item.expression_context(ALL_ROOTS, None))
        if step.secret_names:
            # Nothing is sent from here, so no value is put in, and the stand-in is nobody's business.
            tokens = self._placeholders.tokens(item.claimed.tenant_id, step.secret_names)
            config = cast("Json", Masker(tuple(tokens.values())).json(config))
        return self._outcome_of_pure(item, config)

    async def _prepare(self, claimed: Sequence[ClaimedStep]) -> list[Prepared]:
        versions = await self._versions.load({row.version_id for row in claimed})
        prepared: list[Prepared] = []
        lacking: list[tuple[ClaimedStep, CompiledStep, Version]] = []
        for row in claimed:
            version = versions[row.version_id]
            step = version.steps.get(row.step_index) if version is not None else None
            if version is None or step is None or (step.pure is None and step.handler is None):
                self.report(row, None, _unknown_step(step), milliseconds=0.0)
                continue
            if row.context is not None:
                entry: ExecutionContext | None = self._contexts.store(row.execution_id, row.generation, row.context)
            else:
                entry = self._contexts.find(row.execution_id, row.generation)
            if entry is None or (row.context is None and not entry.knows(step.references)):
                lacking.append((row, step, version))
            else:
                prepared.append(Prepared(row, step, version, entry, _parse(row.resume)))
        if lacking:
            prepared += await self._fetch_contexts(lacking)
        return prepared

    async def _fetch_contexts(self, lacking: list[tuple[ClaimedStep, CompiledStep, Version]]) -> list[Prepared]:
        leases = [row.lease for row, _, _ in lacking]
        texts = await retry_until_reached(
            lambda: queries.get_contexts(self._link, runner_id=self._runner_id(), leases=leases), purpose="get_contexts"
        )
        prepared: list[Prepared] = []
        for row, step, version in lacking:
            text = texts.get(row.queue_id)
            if text is None:
                # Not ours any more: whoever has the lease now runs it.
                log.info("lease_lost", execution_id=row.execution_id, step=step.id, when="context")
                self.report(row, step, internal_failure(), milliseconds=0.0)
                continue
            entry = self._contexts.store(row.execution_id, row.generation, text)
            prepared.append(Prepared(row, step, version, entry, _parse(row.resume)))
        return prepared

    def _outcome_of_pure(self, item: Prepared, config: Json) -> Outcome:
        pure = item.step.pure
        assert pure is not None  # noqa: S101 - the caller has looked
        try:
            return pure.run_now(item.task(config, self.default_timeout_seconds))
        except Exception:
            log.exception(
                "handler_failed", execution_id=item.claimed.execution_id, step=item.step.id, type=item.step.type
            )
            return internal_failure()

    async def reshape(self, item: Prepared, outcome: Outcome) -> Outcome:
        """Apply a step's `output` to the outcome of a handler that was run as a task."""
        if item.step.output is None or not isinstance(outcome, Completed):
            return outcome
        return _reshaped(outcome, await self._renderer.render(item.output_job(outcome)))

    def report(self, claimed: ClaimedStep, step: CompiledStep | None, outcome: Outcome, *, milliseconds: float) -> None:
        """Put the result of one step into the outbox."""
        self._outbox.put([self._encode(claimed, step, outcome, time.monotonic() - milliseconds / 1000)])

    def _encode(self, claimed: ClaimedStep, step: CompiledStep | None, outcome: Outcome, began: float) -> Result:
        milliseconds = (time.monotonic() - began) * 1000
        try:
            encoded = encode_outcome(claimed, outcome, milliseconds=milliseconds, max_bytes=self.max_output_bytes)
        except Exception:
            log.exception("outcome_invalid", execution_id=claimed.execution_id, step=step.id if step else None)
            encoded = encode_outcome(
                claimed, internal_failure(), milliseconds=milliseconds, max_bytes=self.max_output_bytes
            )
        if encoded.status is not None and step is not None:
            self._contexts.record(
                claimed.execution_id,
                claimed.generation,
                step.id,
                output=encoded.output,
                status=encoded.status,
                attempts=claimed.attempt,
                size=encoded.size,
            )
        self.completed_count += 1
        return encoded.result


def internal_failure() -> Failed:
    """A bug of ours or of a custom handler: the log has the traceback, the execution a fixed text."""
    return Failed(
        StepError(
            code="internal_error",
            message="the step failed because of an internal error; the runner's log has the details",
            error_class="internal",
        )
    )


def _unknown_step(step: CompiledStep | None) -> Failed:
    if step is None:
        return Failed(StepError("version_unreadable", "the runner cannot read this workflow version", "internal"))
    return Failed(StepError("step_type_unknown", f"this runner does not serve the step type {step.type}", "definition"))


def _render_failure(answer: RenderFailed) -> Failed:
    return Failed(StepError(code=answer.code, message=answer.message, error_class="expression"))


def _is_as_shown(step: CompiledStep, config: Any, outcome: Outcome) -> bool:
    """Whether the output is that very part of the configuration which the steps rendered along with it were shown."""
    if step.output_path is None or not isinstance(outcome, Completed):
        return False
    for name in step.output_path:
        config = config[name]
    return config is outcome.output


def _reshaped(outcome: Completed, answer: RenderResult) -> Outcome:
    if isinstance(answer, Rendered):
        return Completed(answer.value, taken=outcome.taken, logs=outcome.logs, detail=outcome.detail)
    if isinstance(answer, NotTaken):
        return internal_failure()
    failed = _render_failure(answer)
    return Failed(failed.error, detail=outcome.detail)


def _parse(resume: str | None) -> Any:
    return None if resume is None else json.loads(resume)
