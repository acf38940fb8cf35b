"""From claims to steps that can run: their versions, and what their expressions see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link, retry_until_answered
from flowgres_runner.database.queries import Brought, ClaimedStep
from flowgres_runner.errors import OutputError
from flowgres_runner.execution.compiled import CompiledStep, Version
from flowgres_runner.execution.contexts import ContextCache, ExecutionContext
from flowgres_runner.execution.opening import Opener, is_large, open_context
from flowgres_runner.execution.prepared import Prepared
from flowgres_runner.execution.versions import VersionCache
from flowgres_runner.steps.base import Failed, Outcome, StepError
from flowgres_runner.steps.failures import internal_failure, output_failure

log = get_logger(__name__)

Refuse = Callable[[ClaimedStep, Outcome], None]
"""Ends a step that cannot be prepared."""


class Preparer:
    """Prepares claimed steps; asks for contexts that neither came along nor are known."""

    def __init__(
        self,
        *,
        link: Link,
        versions: VersionCache,
        contexts: ContextCache,
        opener: Opener,
        runner_id: Callable[[], str],
        refuse: Refuse,
    ) -> None:
        self._link = link
        self._versions = versions
        self._contexts = contexts
        self._opener = opener
        self._runner_id = runner_id
        self._refuse = refuse

    async def prepare(self, claimed: Sequence[ClaimedStep]) -> list[Prepared]:
        """Those of the steps that can run."""
        versions = await self._versions.load({row.version_id for row in claimed})
        prepared: list[Prepared] = []
        lacking: list[tuple[ClaimedStep, CompiledStep, Version]] = []
        for row in claimed:
            version = versions[row.version_id]
            step = None if version is None else version.steps.get(row.step_index)
            is_iteration = row.iteration >= 0
            if is_iteration and step is not None:
                step = step.each or step
            if version is None or step is None or (step.pure is None and step.handler is None):
                self._refuse(row, _unknown_step(step))
                continue
            known: ExecutionContext | str | None = row.context
            if known is None:
                entry = self._contexts.find(row.execution_id, row.generation)
                if entry is not None and entry.knows(step.references):
                    # What a runner knows of the time before a failure has no error.
                    known = entry if not step.sees_error or entry.error is not None else None
            brings_more = is_iteration or row.resume is not None or row.round is not None
            if known is None or (brings_more and row.lacks):
                lacking.append((row, step, version))
            elif row.resume is None and (row.context is None or not is_large(row)):
                # Most steps: nobody has to be waited for.
                entry = self._store(row, *open_context(known)) if isinstance(known, str) else known
                prepared.append(Prepared(row, step, version, entry, None))
            else:
                await self._add(prepared, (row, step, version), known, row.resume)
        while lacking:
            lacking = await self._fetch(lacking, prepared)
        seeing = [item for item in prepared if item.step.sees_instance]
        if seeing:
            await self._look_at_instances(seeing)
        return prepared

    async def _look_at_instances(self, seeing: list[Prepared]) -> None:
        """Read the instances that the expressions of these may name, as late as can be: nothing of them is kept."""
        leases = [item.claimed.lease for item in seeing]
        ask = partial(queries.get_instances, self._link, runner_id=self._runner_id(), leases=leases)
        instances = await retry_until_answered(ask, purpose="get_instances")
        for item in seeing:
            item.instance = instances.get(item.claimed.queue_id)

    async def _fetch(
        self, lacking: list[tuple[ClaimedStep, CompiledStep, Version]], prepared: list[Prepared]
    ) -> list[tuple[ClaimedStep, CompiledStep, Version]]:
        """Ask for the contexts of these; returns those whose turn has not come."""
        leases = [row.lease for row, _, _ in lacking]
        answers = await retry_until_answered(partial(self._ask, leases), purpose="get_contexts")
        later: list[tuple[ClaimedStep, CompiledStep, Version]] = []
        for row, step, version in lacking:
            if row.queue_id not in answers:
                # Not ours any more: whoever has the lease now runs it.
                log.info("lease_lost", execution_id=row.execution_id, step=step.id, when="context")
                self._refuse(row, internal_failure())
                continue
            brought = answers.pop(row.queue_id)
            if brought.context is None:
                later.append((row, step, version))
                continue
            row = row._replace(item=brought.item, previous=brought.previous)
            await self._add(prepared, (row, step, version), brought.context, brought.resume)
        return later

    async def _add(
        self,
        prepared: list[Prepared],
        of: tuple[ClaimedStep, CompiledStep, Version],
        context: ExecutionContext | str,
        resume: str | None,
    ) -> None:
        """Open what a step brings."""
        row, step, version = of
        try:
            entry = await self._open(row, context) if isinstance(context, str) else context
            prepared.append(Prepared(row, step, version, entry, await self._opener.resume(row, resume)))
        except OutputError as error:
            self._refuse(row, output_failure(error))

    async def _open(self, row: ClaimedStep, context: str) -> ExecutionContext:
        return self._store(row, *await self._opener.context(row, context))

    def _store(self, row: ClaimedStep, given: dict[str, Any], weight: int) -> ExecutionContext:
        return self._contexts.store(row.execution_id, row.generation, given, weight)

    async def recall(self, item: Prepared) -> bool:
        """Get a context that was let go; False when its lease is somebody else's. Raises OutputError."""
        row = item.claimed
        entry = self._contexts.find(row.execution_id, row.generation)
        if entry is None or not entry.knows(item.step.references) or row.round is not None:
            answers = await retry_until_answered(partial(self._ask, [row.lease]), purpose="get_contexts")
            brought = answers.get(row.queue_id)
            if brought is None or brought.context is None:
                return False
            item.claimed = row._replace(previous=brought.previous)
            entry = await self._open(row, brought.context)
        item.context = entry
        return True

    async def _ask(self, leases: Sequence[object]) -> dict[int, Brought]:
        return await queries.get_contexts(self._link, runner_id=self._runner_id(), leases=leases)


def _unknown_step(step: CompiledStep | None) -> Failed:
    if step is None:
        return Failed(StepError("version_unreadable", "the runner cannot read this workflow version", "internal"))
    return Failed(StepError("step_type_unknown", f"this runner does not serve the step type {step.type}", "definition"))
