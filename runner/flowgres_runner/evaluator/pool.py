"""The evaluator as the runner sees it: batches in, results out, the event loop never blocked.

What keeps a batch of innocent jobs safe from a guilty one: the child bounds CPU time and memory per job and reports
both as failures; should it hang in one long C call, crash, or be killed, the parent starts another and tries those
members that have no result alone, without what would follow them. Only a job that ends a child by itself fails.
"""

from __future__ import annotations

import asyncio
import marshal
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .jobs import NotTaken, Rendered, RenderedWhole, RenderFailed, RenderJob, RenderResult
from .process import ChildDiedError, EvaluatorProcess
from .templates import KnownChain, KnownTemplate, TemplateCache

MAX_BATCH_BYTES = 4 << 20
"""Of contexts that go to a child at once, and for each child that are packed at once."""
MIN_SPLIT = 16
CACHED_TEMPLATES = 2_000
_START_ATTEMPTS = 3

_NOT_TAKEN = NotTaken()
_LIMIT = RenderFailed(
    "expression_limit", "the expressions need too much time or memory: they ended their evaluator process"
)
_Member = tuple[int, KnownTemplate | KnownChain, bytes, int]
"""Index among the jobs of the call, template or chain, what it sees as marshalled JSON, `whole_bytes`."""


class EvaluatorError(Exception):
    """No evaluator process can be started."""


class EvaluatorPool:
    """Renders jobs in child processes; safe to call from many tasks at once."""

    def __init__(
        self,
        *,
        processes: int = 1,
        cpu_seconds: float = 0.25,
        memory_bytes: int = 256 << 20,
        output_bytes: int = 256 << 10,
    ) -> None:
        def make() -> EvaluatorProcess:
            return EvaluatorProcess(
                cpu_seconds=cpu_seconds,
                memory_bytes=memory_bytes,
                output_bytes=output_bytes,
                cached_templates=CACHED_TEMPLATES,
            )

        self._workers = [make() for _ in range(max(1, processes))]
        self._idle: asyncio.LifoQueue[EvaluatorProcess] = asyncio.LifoQueue()
        self._suspects = make()
        self._suspects_lock = asyncio.Lock()
        self._cache = TemplateCache(CACHED_TEMPLATES * 2)

    @property
    def pids(self) -> list[int]:
        """Process ids of the children that live."""
        return [pid for worker in (*self._workers, self._suspects) if (pid := worker.pid) is not None]

    async def start(self) -> None:
        """Start the children. Raises EvaluatorError."""
        await asyncio.gather(*(self._revive(worker) for worker in self._workers))
        for worker in self._workers:
            self._idle.put_nowait(worker)

    async def close(self) -> None:
        """End the children."""
        await asyncio.gather(*(worker.kill() for worker in (*self._workers, self._suspects)))

    async def render(self, jobs: Sequence[RenderJob]) -> list[RenderResult]:
        """Render all jobs; the results are in their order. Raises EvaluatorError when no child can be started."""
        results: list[RenderResult | None] = [None] * len(jobs)
        members: list[_Member] = []
        room = MAX_BATCH_BYTES * len(self._workers)
        for index, job in enumerate(jobs):
            known = self._cache.find_chain(job) if job.is_chain else self._cache.find(job)
            if known.parts[0].constant:
                results[index] = Rendered(job.template)
                continue
            try:
                members.append((index, known, _packed(job), job.whole_bytes))
            except ValueError:
                results[index] = RenderFailed("expression_error", "the context is no plain JSON")
                continue
            room -= len(members[-1][2])
            if room < 0:
                await self._run_all(members, jobs, results)
                members = []
                room = MAX_BATCH_BYTES * len(self._workers)
        if members:
            await self._run_all(members, jobs, results)
        return [_LIMIT if result is None else result for result in results]

    async def _run_all(
        self, members: list[_Member], jobs: Sequence[RenderJob], results: list[RenderResult | None]
    ) -> None:
        batches = self._split(members)
        if len(batches) == 1:
            await self._run(batches[0], jobs, results)
        else:
            await asyncio.gather(*(self._run(batch, jobs, results) for batch in batches))

    def _split(self, members: list[_Member]) -> list[list[_Member]]:
        """Even shares for the children, and none larger than MAX_BATCH_BYTES unless it is a single job."""
        share = max(MIN_SPLIT, -(-len(members) // len(self._workers)))
        batches: list[list[_Member]] = [[]]
        size = 0
        for member in members:
            size += len(member[2])
            if batches[-1] and (len(batches[-1]) >= share or size > MAX_BATCH_BYTES):
                batches.append([])
                size = len(member[2])
            batches[-1].append(member)
        return batches

    async def _run(self, batch: list[_Member], jobs: Sequence[RenderJob], results: list[RenderResult | None]) -> None:
        worker = await self._idle.get()
        try:
            rest = await self._try(worker, batch, results)
        finally:
            self._idle.put_nowait(worker)
        if not rest:
            return
        # The worker is free again for others; its successor starts with its next batch.
        async with self._suspects_lock:
            for index, known, _, _ in rest:
                suspect = (index, known.parts[0], _packed(replace(jobs[index], then=(), whole_bytes=0)), 0)
                if await self._try(self._suspects, [suspect], results):
                    results[index] = _LIMIT

    async def _try(
        self, worker: EvaluatorProcess, batch: list[_Member], results: list[RenderResult | None]
    ) -> list[_Member]:
        """Run a batch and store its results; returns the members without one, because the child died."""
        await self._revive(worker)
        news = worker.templates.select(known for _, known, _, _ in batch)
        frame = marshal.dumps((*news, [(known.number, packed) for _, known, packed, _ in batch]))
        try:
            answers = await worker.run(frame, len(batch))
        except ChildDiedError as died:
            answers = died.results
        for (index, _, _, whole_bytes), answer in zip(batch, answers, strict=False):
            results[index] = _read_answer(answer, whole_bytes)
        return batch[len(answers) :]

    async def _revive(self, worker: EvaluatorProcess) -> None:
        for attempt in range(_START_ATTEMPTS):
            try:
                return await worker.ensure_alive()
            except (ChildDiedError, OSError) as error:
                if attempt + 1 == _START_ATTEMPTS:
                    raise EvaluatorError("no evaluator process can be started") from error


def _packed(job: RenderJob) -> bytes:
    context = job.context if type(job.context) is dict else dict(job.context)
    if not job.is_chain:
        return marshal.dumps(context)
    known = job.known if type(job.known) is dict else dict(job.known)
    return marshal.dumps((context, known, job.whole_bytes, job.max_depth))


def _read_answer(answer: Any, whole_bytes: int) -> RenderResult:
    match answer:
        case RenderedWhole(text) if (len(text) if text.isascii() else len(text.encode())) <= whole_bytes:
            return answer
        case [0, value]:
            return Rendered(value)
        case [0, value, *then]:
            return Rendered(value, then)
        case [1]:
            return _NOT_TAKEN
        case [2, str(code), str(message)]:
            return RenderFailed(code, message)
        case _:
            return RenderFailed("expression_error", "the evaluator gave no answer")
