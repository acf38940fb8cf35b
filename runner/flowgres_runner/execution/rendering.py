"""Single renders of many steps, gathered into batches while one is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from flowgres_runner.evaluator import EvaluatorPool, RenderJob
from flowgres_runner.evaluator.jobs import RenderResult, Unfinished

_Waiting = tuple[RenderJob, "asyncio.Future[RenderResult]"]


class GatheredRenderer:
    """What arrives during one call of the pool leaves with the next one, as results do on their way to the database.

    What takes long leaves alone, and the others do not wait for it.
    """

    def __init__(self, pool: EvaluatorPool) -> None:
        self._pool = pool
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._alone: set[asyncio.Task[None]] = set()

    async def render(self, job: RenderJob) -> RenderResult:
        """Render one job."""
        future: asyncio.Future[RenderResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._render_batch(batch)
        finally:
            self._task = None

    async def _render_batch(self, batch: list[_Waiting]) -> None:
        try:
            results = await self._pool.render_together([job for job, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (job, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if not isinstance(result, Unfinished):
                future.set_result(result)
            elif result.is_slow:
                task = asyncio.create_task(_settle(future, self._pool.render_alone(job)))
                self._alone.add(task)
                task.add_done_callback(self._alone.discard)
            else:
                self._waiting.append((job, future))


async def _settle(future: asyncio.Future[RenderResult], rendering: Awaitable[RenderResult]) -> None:
    try:
        result = await rendering
    except Exception as error:
        if not future.done():
            future.set_exception(error)
        return
    if not future.done():
        future.set_result(result)
