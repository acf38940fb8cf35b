"""pgqueuer: a job that enqueues the next of six."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

from tests.benchmarks.peers.common import CHAIN_LENGTH, PAUSE_SECONDS, arguments, report

BATCH = 100
POOL = 8


async def measure() -> None:
    """Throughput first, then one at a time."""
    given = arguments()
    connection = await asyncpg.connect(given.dsn)
    pool = await asyncpg.create_pool(given.dsn, min_size=POOL, max_size=POOL)
    queries = Queries(AsyncpgPoolDriver(pool))
    await queries.install()
    queuer = PgQueuer(AsyncpgDriver(connection))
    done = 0
    ended = asyncio.Event()

    async def chain(job: Any) -> None:
        nonlocal done
        place = int(job.payload)
        if place < CHAIN_LENGTH - 1:
            await queries.enqueue("chain", str(place + 1).encode())
        else:
            done += 1
            ended.set()

    queuer.entrypoint("chain")(chain)
    for first in range(0, given.executions, 1000):
        count = min(1000, given.executions - first)
        await queries.enqueue(["chain"] * count, [b"0"] * count, [0] * count)
    await connection.execute("analyze")
    began = time.perf_counter()
    worker = asyncio.create_task(queuer.run(dequeue_timeout=timedelta(seconds=2), batch_size=BATCH))
    while done < given.executions:
        await asyncio.sleep(0.01)
        if worker.done():
            worker.result()
    seconds = time.perf_counter() - began
    latencies = []
    for _ in range(given.idle_executions):
        await asyncio.sleep(PAUSE_SECONDS)
        ended.clear()
        began = time.perf_counter()
        await queries.enqueue("chain", b"0")
        await asyncio.wait_for(ended.wait(), 30)
        latencies.append(time.perf_counter() - began)
    report(executions=given.executions, seconds=seconds, latencies=latencies)
    queuer.shutdown.set()
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await pool.close()
    await connection.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(measure())
