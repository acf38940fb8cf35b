"""The evaluator as the runner sees it: batches in, results out, the event loop never blocked.

Expressions are strangers' programs, and nobody knows beforehand how long one takes. So there are two kinds of children.
Those for batches give each job QUICK_SECONDS of CPU time, and each tenant of a batch a slice: what runs out of it is
interrupted and marked. What is marked is rendered alone, in children of lower priority that have as many seconds for it
as an expression may take, tenant by tenant. Whoever is quick waits for none of that.

What keeps a batch of innocent jobs safe from a guilty one: the child bounds CPU time and memory per job and reports
both; should it hang in one long C call, crash, or be killed, the parent starts another, which tells result by result
how far it gets, so that the culprit is known and the others go on. Only a job that ends a child when it is alone fails.
"""

from __future__ import annotations

import asyncio
import marshal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flowgres_runner.errors import RunnerError
from flowgres_runner.turns import Turns

from .jobs import NotTaken, Rendered, RenderedLarge, RenderedWhole, RenderFailed, RenderJob, RenderResult, Unfinished
from .marks import SlowMarks
from .process import ChildDiedError, EvaluatorProcess
from .templates import KnownChain, KnownTemplate, TemplateCache

MAX_BATCH_BYTES = 4 << 20
"""Of contexts that go to a child at once, and for each child that are packed at once."""
MIN_SPLIT = 16
CACHED_TEMPLATES = 2_000
QUICK_SECONDS = 0.02
"""CPU time of one job among others. So long somebody else's may keep a batch waiting, once."""
NICENESS = 2
"""Of children that render what takes long: on a busy machine the others go first, and these still get on."""
_START_ATTEMPTS = 3
LATELY_SECONDS = 60.0
_MOST_DEATHS = 1_000
"""Of lately: more than that is as bad."""

_NOT_TAKEN = NotTaken()
_SLOW = Unfinished(is_slow=True)
_AGAIN = Unfinished(is_slow=False)
_LATER = Unfinished(is_slow=False)
"""Told from _AGAIN by identity: what came before it is as much as one call gives."""
_NO_JSON = RenderFailed("expression_error", "the context is no plain JSON")
_LIMIT = RenderFailed(
    "expression_limit", "the expressions need too much time or memory: they ended their evaluator process"
)
_Member = tuple[int, KnownTemplate | KnownChain, bytes, int]
"""Index among the jobs of the call, template or chain, what it sees as marshalled JSON, `whole_bytes`."""
AnyAnswer = RenderResult | Unfinished


class EvaluatorError(RunnerError):
    """No evaluator process can be started."""

    code = "evaluator_unavailable"


class EvaluatorPool:
    """Renders jobs in child processes; safe to call from many tasks at once.

    `processes` render batches, and as many what takes long; these are started when the first is needed.
    """

    def __init__(
        self,
        *,
        processes: int = 1,
        cpu_seconds: float = 0.25,
        memory_bytes: int = 256 << 20,
        output_bytes: int = 256 << 10,
    ) -> None:
        def make(seconds: float, niceness: int) -> EvaluatorProcess:
            return EvaluatorProcess(
                cpu_seconds=seconds,
                memory_bytes=memory_bytes,
                output_bytes=output_bytes,
                cached_templates=CACHED_TEMPLATES,
                niceness=niceness,
            )

        self.processes = max(1, processes)
        self._cpu_seconds = cpu_seconds
        self._quick_seconds = min(QUICK_SECONDS, cpu_seconds)
        self._workers = [make(self._quick_seconds, 0) for _ in range(self.processes)]
        self._idle = self._workers.copy()
        self._turns = Turns(self.processes)
        self._slow_workers = [make(cpu_seconds, NICENESS) for _ in range(self.processes)]
        self._slow_idle = self._slow_workers.copy()
        self._slow_turns = Turns(self.processes)
        self._out_of_time = RenderFailed(
            "expression_limit", f"the expressions took more than {cpu_seconds} s of CPU time"
        )
        self._cache = TemplateCache(CACHED_TEMPLATES * 2)
        self.marks = SlowMarks()
        self.died_count = 0
        self._died_at: deque[float] = deque(maxlen=_MOST_DEATHS)
        self.is_failing = False
        """Whether the last attempt to start a child was in vain: then nothing is rendered."""

    @property
    def pids(self) -> list[int]:
        """Process ids of the children that live."""
        return [pid for worker in (*self._workers, *self._slow_workers) if (pid := worker.pid) is not None]

    @property
    def died_lately_count(self) -> int:
        """Children that died, or were killed, in the last LATELY_SECONDS."""
        since = time.monotonic() - LATELY_SECONDS
        while self._died_at and self._died_at[0] < since:
            self._died_at.popleft()
        return len(self._died_at)

    async def start(self) -> None:
        """Start the children. Raises EvaluatorError."""
        await asyncio.gather(*(self._revive(worker) for worker in self._workers))

    async def close(self) -> None:
        """End the children."""
        await asyncio.gather(*(worker.kill() for worker in (*self._workers, *self._slow_workers)))

    async def render(self, jobs: Sequence[RenderJob]) -> list[RenderResult]:
        """Render all jobs, however long each takes; the results are in their order.

        Raises EvaluatorError when no child can be started.
        """
        results: list[AnyAnswer] = [_AGAIN] * len(jobs)
        while again := [index for index, result in enumerate(results) if result is _AGAIN or result is _LATER]:
            answers = await self.render_together([jobs[index] for index in again])
            for index, answer in zip(again, answers, strict=True):
                results[index] = answer
        slow = [index for index, result in enumerate(results) if result is _SLOW]
        answers = await asyncio.gather(*(self.render_alone(jobs[index]) for index in slow))
        for index, answer in zip(slow, answers, strict=True):
            results[index] = answer
        return results  # type: ignore[return-value]  # none is unfinished any more

    async def render_together(self, jobs: Sequence[RenderJob]) -> list[AnyAnswer]:
        """Render what is quick; what takes long is Unfinished. Raises EvaluatorError.

        When the jobs are of several tenants, those for which a tenant's slice was not enough are Unfinished, too: they
        go again, and the others need not wait for them. So are those that would make the answers too much at once.
        """
        results: list[AnyAnswer] = [_AGAIN] * len(jobs)
        tenants = {job.tenant_id for job in jobs}
        tenant_id = tenants.pop() if len(tenants) == 1 else ""
        todo: Sequence[int] = range(len(jobs))
        while todo:
            await self._pass(todo, jobs, results, tenant_id)
            todo = [] if tenants else [index for index in todo if results[index] is _AGAIN]
        return results

    async def render_alone(self, job: RenderJob) -> RenderResult:
        """Render a job that takes long, in its tenant's turn, without what would follow it. Raises EvaluatorError."""
        job = _head(job)
        known = self._cache.find(job)
        if known.constant is not None:
            return known.constant
        try:
            member = (0, known, _packed(job), 0)
        except ValueError:
            return _NO_JSON
        results: list[AnyAnswer] = [_AGAIN]
        async with self._slow_turns.hold(job.tenant_id):
            worker = self._slow_idle.pop()
            try:
                has_died = bool(await self._try(worker, [member], [job], results))
                if has_died and worker.spent_seconds < self._cpu_seconds:
                    # Somebody else may have ended it.
                    has_died = bool(await self._try(worker, [member], [job], results))
            finally:
                self._slow_idle.append(worker)
        if has_died or worker.spent_seconds > self._quick_seconds:
            self.marks.add(job.tenant_id, job.key)
        answer = results[0]
        if isinstance(answer, Unfinished):
            return _LIMIT if has_died else self._out_of_time
        return answer

    async def _pass(
        self, todo: Sequence[int], jobs: Sequence[RenderJob], results: list[AnyAnswer], tenant_id: str
    ) -> None:
        """Render each of these once, as far as there is time."""
        marks = self.marks if self.marks.are_any() else None
        members: list[_Member] = []
        room = MAX_BATCH_BYTES * len(self._workers)
        for index in todo:
            job = jobs[index]
            if marks is not None:
                if marks.has(job.tenant_id, job.key):
                    results[index] = _SLOW
                    continue
                if any(marks.has(job.tenant_id, follower.key) for follower in job.then):
                    job = _head(job)
            known = self._cache.find_chain(job) if job.is_chain else self._cache.find(job)
            constant = known.parts[0].constant
            if constant is not None:
                # A large one comes by itself, as what is rendered does.
                results[index] = _SLOW if isinstance(constant, RenderedLarge) else constant
                continue
            try:
                members.append((index, known, _packed(job), job.whole_bytes))
            except ValueError:
                results[index] = _NO_JSON
                continue
            room -= len(members[-1][2])
            if room < 0:
                await self._run_all(members, jobs, results, tenant_id)
                members = []
                room = MAX_BATCH_BYTES * len(self._workers)
        if members:
            await self._run_all(members, jobs, results, tenant_id)

    async def _run_all(
        self, members: list[_Member], jobs: Sequence[RenderJob], results: list[AnyAnswer], tenant_id: str
    ) -> None:
        batches = self._split(members)
        if len(batches) == 1:
            await self._run(batches[0], jobs, results, tenant_id)
        else:
            await asyncio.gather(*(self._run(batch, jobs, results, tenant_id) for batch in batches))

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

    async def _run(
        self, batch: list[_Member], jobs: Sequence[RenderJob], results: list[AnyAnswer], tenant_id: str
    ) -> None:
        if not tenant_id:
            # One after the other, each tenant has its slice.
            batch = sorted(batch, key=lambda member: jobs[member[0]].tenant_id)
        is_careful = len(batch) == 1
        while True:
            async with self._turns.hold(tenant_id):
                worker = self._idle.pop()
                try:
                    rest = await self._try(worker, batch, jobs, results, is_careful=is_careful)
                finally:
                    self._idle.append(worker)
            if rest and is_careful:
                # The first one did it. What else its tenant has here is suspect.
                culprit = jobs[rest[0][0]]
                self.marks.add(culprit.tenant_id, culprit.key)
                for member in rest:
                    if jobs[member[0]].tenant_id == culprit.tenant_id:
                        results[member[0]] = _SLOW
                rest = [member for member in rest if results[member[0]] is not _SLOW]
            if not rest:
                return
            batch, is_careful = rest, True

    async def _try(
        self,
        worker: EvaluatorProcess,
        batch: list[_Member],
        jobs: Sequence[RenderJob],
        results: list[AnyAnswer],
        *,
        is_careful: bool = False,
    ) -> list[_Member]:
        """Run a batch and store its results; returns the members without one, because the child died."""
        await self._revive(worker)
        news = worker.templates.select(known for _, known, _, _ in batch)
        frame = marshal.dumps((*news, _groups(batch, jobs), is_careful))
        try:
            answers = await worker.run(frame, len(batch))
        except ChildDiedError as died:
            self.died_count += 1
            self._died_at.append(time.monotonic())
            answers = died.results
        for (index, _, _, whole_bytes), answer in zip(batch, answers, strict=False):
            result = results[index] = _read_answer(answer, whole_bytes)
            # Hundreds of large results at once would be in memory together.
            if result is _SLOW or type(result) is RenderedLarge:
                self.marks.add(jobs[index].tenant_id, jobs[index].key)
        return batch[len(answers) :]

    async def _revive(self, worker: EvaluatorProcess) -> None:
        for attempt in range(_START_ATTEMPTS):
            try:
                await worker.ensure_alive()
                self.is_failing = False
                return
            except (ChildDiedError, OSError) as error:
                if attempt + 1 == _START_ATTEMPTS:
                    self.is_failing = True
                    raise EvaluatorError("no evaluator process can be started") from error


def _head(job: RenderJob) -> RenderJob:
    """The job without what follows it."""
    return replace(job, then=(), known={}, whole_bytes=0) if job.is_chain else job


def _groups(batch: list[_Member], jobs: Sequence[RenderJob]) -> list[list[tuple[int, bytes]]]:
    """What goes to the child of each, tenant by tenant."""
    groups: list[list[tuple[int, bytes]]] = []
    tenant_id = None
    for index, known, packed, _ in batch:
        if jobs[index].tenant_id != tenant_id:
            tenant_id = jobs[index].tenant_id
            groups.append([])
        groups[-1].append((known.number, packed))
    return groups


def _packed(job: RenderJob) -> bytes:
    context = job.context if type(job.context) is dict else dict(job.context)
    if not job.is_chain:
        return marshal.dumps(context)
    known = job.known if type(job.known) is dict else dict(job.known)
    return marshal.dumps((context, known, job.whole_bytes, job.max_depth))


def _read_answer(answer: Any, whole_bytes: int) -> AnyAnswer:
    match answer:
        case RenderedWhole(text) if (len(text) if text.isascii() else len(text.encode())) <= whole_bytes:
            return answer
        case RenderedLarge():
            return answer
        case [0, value]:
            return Rendered(value)
        case [0, value, *then]:
            return Rendered(value, then)
        case [1]:
            return _NOT_TAKEN
        case [2, str(code), str(message)]:
            return RenderFailed(code, message)
        case [4]:
            return _SLOW
        case [5]:
            return _AGAIN
        case [7]:
            return _LATER
        case _:
            return RenderFailed("expression_error", "the evaluator gave no answer")
