"""DBOS: a workflow of six steps. Measured with coroutines and with threads, whichever is faster counts."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS

from tests.benchmarks.peers.common import CHAIN_LENGTH, PAUSE_SECONDS, arguments, report

COROUTINES = 50
THREADS = 16


async def add_one_later(value: int) -> int:
    """The step, as a coroutine."""
    return value + 1


def add_one(value: int) -> int:
    """The step, as a function."""
    return value + 1


async def measure() -> None:
    """Throughput first, then one at a time."""
    given = arguments()
    config = {
        "name": "flowgres-bench",
        "system_database_url": given.dsn,
        "sys_db_pool_size": 20,
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    later_step = DBOS.step()(add_one_later)
    step = DBOS.step()(add_one)

    async def later_chain(value: int) -> int:
        for _ in range(CHAIN_LENGTH):
            value = await later_step(value)
        return value

    def chain(value: int) -> int:
        for _ in range(CHAIN_LENGTH):
            value = step(value)
        return value

    run_later = DBOS.workflow()(later_chain)
    run = DBOS.workflow()(chain)
    DBOS.launch()
    try:
        await run_later(0)
        await asyncio.to_thread(run, 0)
        half = max(1, given.executions // 2)
        seconds = min(await _coroutines(run_later, half), await asyncio.to_thread(_threads, run, half))
        latencies = []
        for number in range(given.idle_executions):
            await asyncio.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            await run_later(number)
            latencies.append(time.perf_counter() - began)
    finally:
        DBOS.destroy()
    report(executions=half, seconds=seconds, latencies=latencies)


async def _coroutines(run: object, count: int) -> float:
    slots = asyncio.Semaphore(COROUTINES)

    async def one(number: int) -> None:
        async with slots:
            await run(number)  # type: ignore[operator]  # a workflow of DBOS

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    return time.perf_counter() - began


def _threads(run: object, count: int) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(run, range(count)))  # type: ignore[arg-type]  # a workflow of DBOS
    return time.perf_counter() - began


if __name__ == "__main__":
    asyncio.run(measure())
