"""Running claimed steps: contexts, one batch of renders, pure steps at once, the others as tasks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from flowgres_runner import queries
from flowgres_runner.connection import Link, retry_until_reached
from flowgres_runner.contexts import ContextCache, ExecutionContext
from flowgres_runner.evaluator import EvaluatorError, EvaluatorPool, RenderJob
from flowgres_runner.evaluator.jobs import NotTaken, Rendered, RenderFailed, RenderResult
from flowgres_runner.http.masks import Masker
from flowgres_runner.logs import get_logger
from flowgres_runner.queries import ClaimedStep
from flowgres_runner.rendering import GatheredRenderer
from flowgres_runner.results import Outbox, Result, encode_outcome
from flowgres_runner.secrets import Placeholders
from flowgres_runner.steps.base import Completed, Failed, Json, Outcome, Skipped, StepError, StepTask
from flowgres_runner.steps.condition import with_field
from flowgres_runner.steps.sub_workflow import SubWorkflowHandler
from flowgres_runner.versions import CompiledStep, Version, VersionCache

log = get_logger(__name__)

_SKIPPED = Skipped()
_PENDING: dict[str, Json] = {"output": None, "status": "pending", "error": None, "attempts": 0}

MAX_AHEAD = 15
"""Steps run ahead under one lease: enough to save most round trips, few enough to share and to cancel."""

StartTask = Callable[["Prepared", Json], None]
GiveBack = Callable[[Sequence[ClaimedStep]], Awaitable[None]]
_PAUSE_SECONDS = 1.0


class Prepared:
    """A claimed step with all that running it needs."""

    __slots__ = ("claimed", "context", "resume", "step", "version")

    def __init__(
        self, claimed: ClaimedStep, step: CompiledStep, version: Version, context: ExecutionContext, resume: Json
    ) -> None:
        self.claimed = claimed
        self.step = step
        self.version = version
        self.context = context
        self.resume = resume

    def expression_context(self, roots: frozenset[str], placeholders: Placeholders | None) -> dict[str, Json]:
        """What expressions see, without those names that no template mentions."""
        entry = self.context
        known = entry.steps
        steps: dict[str, Json] = {name: known.get(name, _PENDING) for name in self.step.references}
        context: dict[str, Json] = {"steps": steps}
        if "input" in roots:
            context["input"] = entry.input
        if "trigger" in roots:
            context["trigger"] = entry.trigger
        if "execution" in roots:
            context["execution"] = {**entry.execution, "attempt": self.claimed.attempt}
        if "workflow" in roots:
            context["workflow"] = self.version.workflow
        if "tenant" in roots:
            context["tenant"] = self.version.tenant
        if placeholders is not None and self.step.secret_names:
            tokens = placeholders.tokens(self.claimed.tenant_id, self.step.secret_names)
            context["secrets"] = tokens  # type: ignore[assignment]  # a dict of text is JSON
        return context

    def task(self, config: Json, default_timeout_seconds: float) -> StepTask:
        """What the handler sees."""
        claimed, step = self.claimed, self.step
        return StepTask(
            tenant_id=claimed.tenant_id,
            execution_id=claimed.execution_id,
            step_id=step.id,
            iteration=claimed.iteration if claimed.iteration >= 0 else None,
            attempt=claimed.attempt,
            config=config,
            timeout_seconds=step.timeout_seconds or default_timeout_seconds,
            resume=self.resume,
            trace_id=claimed.execution_id.replace("-", ""),
        )


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
        done = await self._run(await self._prepare(claimed), began)
        results = {item.claimed.queue_id: result for item, result in done}
        # A step that only computes, and hangs on the one just completed alone, need not wait for the database.
        for _ in range(MAX_AHEAD):
            following = [after for item, result in done if (after := self._following(item, result)) is not None]
            if not following:
                break
            done = await self._run(following, time.monotonic())
            for item, result in done:
                queue_id = item.claimed.queue_id
                results[queue_id] = results[queue_id].followed_by(result)
        self._outbox.put(results.values())

    async def _run(self, prepared: Sequence[Prepared], began: float) -> list[tuple[Prepared, Result]]:
        """Render and finish pure steps as one batch; those that wait for something begin as tasks, without a result."""
        results: list[tuple[Prepared, Result]] = []
        jobs: list[RenderJob] = []
        rendered_steps: list[Prepared] = []
        for item in prepared:
            if item.resume is not None and isinstance(item.step.pure, SubWorkflowHandler):
                # The child's end is all it needs.
                results.append((item, self._run_pure(item, None, began)))
            else:
                jobs.append(self._config_job(item))
                rendered_steps.append(item)
        if jobs:
            rendered = await self._pool.render(jobs)
            reshaped: list[tuple[Prepared, Completed]] = []
            for item, answer in zip(rendered_steps, rendered, strict=True):
                self._dispatch(item, answer, began, results, reshaped)
            if reshaped:
                results += await self._reshape_batch(reshaped, began)
        return results

    def _following(self, item: Prepared, result: Result) -> Prepared | None:
        """The step to run ahead after this one, if there is one and all that it refers to is known here."""
        step, claimed = item.step, item.claimed
        # A step that is tried again may have taken a runner with it: whose fault that was must stay clear.
        if step.next_index is None or claimed.attempt > 1 or not result.is_completed:
            return None
        after = item.version.steps[step.next_index]
        if after.pure is None or not item.context.knows(after.references):
            return None
        ahead = claimed._replace(step_index=after.index, attempt=1, handed=True, context=None, resume=None)
        return Prepared(ahead, after, item.version, item.context, None)

    def _dispatch(
        self,
        item: Prepared,
        answer: RenderResult,
        began: float,
        results: list[tuple[Prepared, Result]],
        reshaped: list[tuple[Prepared, Completed]],
    ) -> None:
        outcome: Outcome = _SKIPPED
        if isinstance(answer, Rendered):
            config = answer.value
            if item.step.pure is None:
                self._start_task(item, config)
                return
            if item.step.type == "condition" and isinstance(config, dict) and "expression" not in config:
                config = with_field(config, item.expression_context(_ALL_ROOTS, None))
            if item.step.secret_names:
                # Nothing is sent from here, so no value is put in, and the stand-in is nobody's business.
                tokens = self._placeholders.tokens(item.claimed.tenant_id, item.step.secret_names)
                config = Masker(tuple(tokens.values())).json(config)
            outcome = self._outcome_of_pure(item, config)
            if item.step.output is not None and isinstance(outcome, Completed):
                reshaped.append((item, outcome))
                return
        elif isinstance(answer, RenderFailed):
            outcome = _render_failure(answer)
        results.append((item, self._encode(item.claimed, item.step, outcome, began)))

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

    def _config_job(self, item: Prepared) -> RenderJob:
        step = item.step
        context = item.expression_context(step.roots, self._placeholders)
        if item.resume is not None:
            # It was taken when it was suspended; a `when` is decided once.
            return RenderJob(key=step.resume_key, template=step.config, context=context)
        return RenderJob(key=step.key, template=step.config, context=context, when=step.when)

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

    def _run_pure(self, item: Prepared, config: Json, began: float) -> Result:
        return self._encode(item.claimed, item.step, self._outcome_of_pure(item, config), began)

    async def _reshape_batch(
        self, reshaped: list[tuple[Prepared, Completed]], began: float
    ) -> list[tuple[Prepared, Result]]:
        answers = await self._pool.render([_output_job(item, outcome) for item, outcome in reshaped])
        return [
            (item, self._encode(item.claimed, item.step, _reshaped(outcome, answer), began))
            for (item, outcome), answer in zip(reshaped, answers, strict=True)
        ]

    async def reshape(self, item: Prepared, outcome: Outcome) -> Outcome:
        """Apply a step's `output` to the outcome of a handler that was run as a task."""
        if item.step.output is None or not isinstance(outcome, Completed):
            return outcome
        return _reshaped(outcome, await self._renderer.render(_output_job(item, outcome)))

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


_ALL_ROOTS = frozenset({"input", "trigger", "execution", "workflow", "tenant"})


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


def _output_job(item: Prepared, outcome: Completed) -> RenderJob:
    context = item.expression_context(item.step.output_roots, None)
    context["output"] = outcome.output
    if item.step.type == "http":
        context["response"] = outcome.output
    return RenderJob(key=item.step.output_key, template=item.step.output, context=context)


def _reshaped(outcome: Completed, answer: RenderResult) -> Outcome:
    if isinstance(answer, Rendered):
        return Completed(answer.value, taken=outcome.taken, logs=outcome.logs, detail=outcome.detail)
    if isinstance(answer, NotTaken):
        return internal_failure()
    failed = _render_failure(answer)
    return Failed(failed.error, detail=outcome.detail)


def _parse(resume: str | None) -> Any:
    return None if resume is None else json.loads(resume)
