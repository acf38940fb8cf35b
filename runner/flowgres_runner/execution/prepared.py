"""A step that is about to run: what its expressions see, and what its handler sees."""

from __future__ import annotations

import json
from typing import Any

from flowgres_process.callbacks import CallbackPlace
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.evaluator import Rendered, RenderedLarge, RenderJob
from flowgres_runner.execution.chains import MAX_AHEAD, may_be_plain
from flowgres_runner.execution.compiled import ROOTS, CompiledStep, Version
from flowgres_runner.execution.contexts import ExecutionContext
from flowgres_runner.json_values import HELD_BYTES, LARGE_BYTES
from flowgres_runner.secrets import Placeholders
from flowgres_runner.steps.base import Completed, Json, JsonText, StepTask, StepTools
from flowgres_runner.trace_context import TraceContext, attempt_context

ALL_ROOTS = frozenset(ROOTS)
_GONE = ExecutionContext(-1)

_PENDING: dict[str, Json] = {"output": None, "status": "pending", "error": None, "attempts": 0}


class Prepared:
    """A claimed step with all that running it needs.

    `place` counts the steps that were run ahead before it under the same lease. `goes_alone`: something was wrong when
    steps of this lease were rendered together, so from here on each is rendered by itself. `given` is what rendering
    gave, when the step is to be run where large values are read. `instance` is the one whose transition started the
    execution, if the step may name it. `kept_trace` is there once the context was let go.
    """

    __slots__ = (
        "claimed",
        "context",
        "given",
        "goes_alone",
        "instance",
        "item",
        "kept_trace",
        "place",
        "resume",
        "step",
        "version",
    )

    def __init__(
        self,
        claimed: ClaimedStep,
        step: CompiledStep,
        version: Version,
        context: ExecutionContext,
        resume: Json,
        *,
        place: int = 0,
        goes_alone: bool = False,
    ) -> None:
        self.claimed = claimed
        self.step = step
        self.version = version
        self.context = context
        self.resume = resume
        """What a suspended step goes on with."""
        if isinstance(resume, dict) and resume.get("status") == "timed_out" and step.on_timeout is not None:
            # Its handler is given what that says, in place of a configuration.
            self.resume = {**resume, "is_handled": True}
        self.place = place
        self.goes_alone = goes_alone
        self.given: Rendered | RenderedLarge | None = None
        self.instance: Json = None
        self.item: Json = None if claimed.item is None else json.loads(claimed.item)

    def let_context_go(self) -> None:
        """Forget a large context: the step is about to wait, as many others may."""
        if self.context.bytes > LARGE_BYTES or len(self.claimed.previous or "") > LARGE_BYTES:
            self.kept_trace = self.trace
            self.context = _GONE
            self.claimed = self.claimed._replace(previous=None)

    @property
    def lacks_context(self) -> bool:
        """Whether it was let go."""
        return self.context is _GONE

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
        if "instance" in roots:
            context["instance"] = self.instance
        if self.claimed.iteration >= 0:
            context["item"], context["item_index"] = self.item, self.claimed.iteration
        if self.step.callbacks is not None:
            context["callback"] = {"url": self.step.callbacks.url(self._place)}
        if self.step.until is not None:
            context["round"] = self.claimed.round or 1
            context["previous"] = _opened(self.claimed.previous)
        if "error" in roots and entry.error is not None:
            context["error"] = entry.error
        if placeholders is not None and self.step.secret_names:
            tokens = placeholders.tokens(self.claimed.tenant_id, self.step.secret_names)
            context["secrets"] = tokens  # type: ignore[assignment]  # a dict of text is JSON
        return context

    def task(self, config: Json, tools: StepTools | None = None) -> StepTask:
        """What the handler sees."""
        claimed, step = self.claimed, self.step
        return StepTask(
            tenant_id=claimed.tenant_id,
            execution_id=claimed.execution_id,
            step_id=step.id,
            iteration=claimed.iteration if claimed.iteration >= 0 else None,
            attempt=claimed.attempt,
            config=config,
            timeout_seconds=self.timeout_seconds,
            resume=self.resume,
            trace=None if self.step.pure is not None else self.trace,
            tools=tools,
            round=None if step.until is None else claimed.round or 1,
            check=step.check,
            item=self.item,
            lease=() if step.pure is not None else claimed.lease,
        )

    @property
    def trace(self) -> TraceContext:
        """The span of this attempt."""
        if self.lacks_context:
            return self.kept_trace
        claimed = self.claimed
        return attempt_context(
            execution_id=claimed.execution_id,
            generation=claimed.generation,
            step_index=claimed.step_index,
            iteration=claimed.iteration,
            attempt=claimed.attempt,
            trigger=self.context.trigger,
        )

    @property
    def timeout_seconds(self) -> float:
        """Of one attempt."""
        step, usual = self.step, self.version.limits.step_timeout_seconds
        if self.claimed.overrides is not None:
            seconds = json.loads(self.claimed.overrides).get("timeout_seconds")
            if seconds is not None:
                return float(seconds)
        return step.timeout_seconds or (
            usual if step.handler is None else max(usual, step.handler.least_timeout_seconds)
        )

    @property
    def own_secrets(self) -> tuple[str, ...]:
        """What else must not be read where this attempt is told of: the address at which it waits is a password."""
        callbacks = self.step.callbacks
        return (callbacks.secret(self._place),) if callbacks is not None and callbacks.is_ready else ()

    def following(self) -> Prepared | None:
        """The step to run ahead now that this one has completed, if there is one and all it refers to is known here."""
        step, claimed = self.step, self.claimed
        # A step that is tried again may have taken a runner with it: whose fault that was must stay clear.
        if step.next_index is None or claimed.attempt > 1 or self.place == MAX_AHEAD:
            return None
        after = self.version.steps[step.next_index]
        if after.pure is None or not self.context.knows(after.references):
            return None
        ahead = claimed._replace(
            step_index=after.index, attempt=1, handed=True, context=None, resume=None, overrides=None
        )
        return Prepared(
            ahead, after, self.version, self.context, None, place=self.place + 1, goes_alone=self.goes_alone
        )

    @property
    def _place(self) -> CallbackPlace:
        claimed = self.claimed
        return CallbackPlace(
            tenant_id=claimed.tenant_id,
            execution_id=claimed.execution_id,
            step_index=claimed.step_index,
            iteration=claimed.iteration,
            round=claimed.round or 0,
            generation=claimed.generation,
        )

    @property
    def is_timeout_handled(self) -> bool:
        """Whether the time of its wait is over, and the step says what it gives then."""
        return isinstance(self.resume, dict) and self.resume.get("is_handled") is True

    def config_job(self, placeholders: Placeholders) -> RenderJob:
        """Render the configuration, and what can be rendered together with it."""
        step, chain, tenant_id = self.step, self.step.chain, self.claimed.tenant_id
        if self.is_timeout_handled and isinstance(step.on_timeout, dict):
            context = self.expression_context(step.on_timeout_roots, None)
            output = step.on_timeout.get("output")
            return RenderJob(key=step.on_timeout_key, template=output, context=context, tenant_id=tenant_id)
        if self.resume is not None or self.claimed.round is not None:
            # It was taken when it was suspended, or in the first round; a `when` is decided once.
            context = self.expression_context(step.roots, placeholders)
            return RenderJob(key=step.resume_key, template=step.config, context=context, tenant_id=tenant_id)
        known = self.context.steps
        if chain is None or self.goes_alone or self.claimed.attempt > 1 or not self.context.knows(step.references):
            context = self.expression_context(step.roots, placeholders)
            return RenderJob(key=step.key, template=step.config, context=context, when=step.when, tenant_id=tenant_id)
        job = RenderJob(
            key=chain.key,
            template=step.config,
            context=self.expression_context(chain.roots, placeholders),
            when=step.when,
            then=chain.then,
            known={name: known[name] for name in chain.references if self.context.knows((name,))}
            if chain.references
            else {},
            tenant_id=tenant_id,
        )
        if chain.last_path is not None:
            job.last_path = chain.last_path
            if self.place == 0 and may_be_plain(self.claimed):
                limits = self.version.limits
                job.whole_bytes, job.max_depth = limits.max_output_bytes, limits.max_json_depth
        return job

    def reshapes(self, outcome: Completed) -> bool:
        """Whether the step's `output` makes something else of what its handler gave."""
        return self.step.output is not None and not outcome.is_final

    def output_job(self, outcome: Completed) -> RenderJob:
        """Make the step's `output` of what its handler gave."""
        return self._job_after(self.step.output_key, self.step.output, self.step.output_roots, outcome, outcome)

    def until_job(self, given: Completed, outcome: Completed) -> RenderJob:
        """Ask whether this round was the last: `given` is what the handler gave, `outcome` what became of that."""
        return self._job_after(self.step.until_key, self.step.until, self.step.until_roots, given, outcome)

    def _job_after(
        self, key: str, template: Json, roots: frozenset[str], given: Completed, outcome: Completed
    ) -> RenderJob:
        context = self.expression_context(roots, None)
        context["output"] = _shown(outcome)
        handler = self.step.handler
        if handler is not None and handler.output_name is not None:
            context[handler.output_name] = _shown(given)
        return RenderJob(key=key, template=template, context=context, tenant_id=self.claimed.tenant_id)


def _shown(outcome: Completed) -> Any:
    """An output as expressions see it; of a large one its text, which only an evaluator opens."""
    output = outcome.output
    if not isinstance(output, JsonText):
        return output
    return output.data if len(output.data) > HELD_BYTES else json.loads(output.data)


def _opened(text: str | None) -> Any:
    """JSON that came as text, as expressions see it."""
    if text is None:
        return None
    return text.encode() if len(text) > LARGE_BYTES else json.loads(text)
