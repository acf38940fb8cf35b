"""Single renders of many steps, gathered into batches while one is under way."""

from __future__ import annotations

import asyncio

from flowgres_runner.evaluator import EvaluatorPool, RenderJob
from flowgres_runner.evaluator.jobs import RenderResult


class GatheredRenderer:
    """What arrives during one call of the pool leaves with the next one, as results do on their way to the database."""

    def __init__(self, pool: EvaluatorPool) -> None:
        self._pool = pool
        self._waiting: list[tuple[RenderJob, asyncio.Future[RenderResult]]] = []
        self._task: asyncio.Task[None] | None = None

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

    async def _render_batch(self, batch: list[tuple[RenderJob, asyncio.Future[RenderResult]]]) -> None:
        try:
            results = await self._pool.render([job for job, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
