"""From claims to steps that can run: their versions, and what their expressions see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link, retry_until_answered
from flowgres_runner.database.queries import LEFT, ClaimedStep
from flowgres_runner.execution.compiled import CompiledStep, Version
from flowgres_runner.execution.contexts import ContextCache, ExecutionContext
from flowgres_runner.execution.opening import Opener
from flowgres_runner.execution.prepared import Prepared
from flowgres_runner.execution.versions import VersionCache
from flowgres_runner.steps.base import Failed, Outcome, StepError
from flowgres_runner.steps.failures import internal_failure

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
            step = version.steps.get(row.step_index) if version is not None else None
            if version is None or step is None or (step.pure is None and step.handler is None):
                self._refuse(row, _unknown_step(step))
                continue
            entry: ExecutionContext | None
            if row.context is not None:
                given, weight = await self._opener.context(row, row.context)
                entry = self._contexts.store(row.execution_id, row.generation, given, weight)
            else:
                entry = self._contexts.find(row.execution_id, row.generation)
            if entry is None or row.resume == LEFT or (row.context is None and not entry.knows(step.references)):
                lacking.append((row, step, version))
            else:
                prepared.append(Prepared(row, step, version, entry, await self._opener.resume(row, row.resume)))
        while lacking:
            lacking = await self._fetch(lacking, prepared)
        return prepared

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
            context, resume = answers.pop(row.queue_id)
            if context is None:
                later.append((row, step, version))
                continue
            given, weight = await self._opener.context(row, context)
            entry = self._contexts.store(row.execution_id, row.generation, given, weight)
            prepared.append(Prepared(row, step, version, entry, await self._opener.resume(row, resume)))
        return later

    async def recall(self, item: Prepared) -> bool:
        """Get a context that was let go; False when its lease is somebody else's."""
        row = item.claimed
        entry = self._contexts.find(row.execution_id, row.generation)
        if entry is None or not entry.knows(item.step.references):
            answers = await retry_until_answered(partial(self._ask, [row.lease]), purpose="get_contexts")
            context, _ = answers.get(row.queue_id, (None, None))
            if context is None:
                return False
            given, weight = await self._opener.context(row, context)
            entry = self._contexts.store(row.execution_id, row.generation, given, weight)
        item.context = entry
        return True

    async def _ask(self, leases: Sequence[object]) -> dict[int, tuple[str | None, str | None]]:
        return await queries.get_contexts(self._link, runner_id=self._runner_id(), leases=leases)


def _unknown_step(step: CompiledStep | None) -> Failed:
    if step is None:
        return Failed(StepError("version_unreadable", "the runner cannot read this workflow version", "internal"))
    return Failed(StepError("step_type_unknown", f"this runner does not serve the step type {step.type}", "definition"))
