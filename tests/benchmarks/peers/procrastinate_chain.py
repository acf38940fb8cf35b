"""Procrastinate: a job that defers the next of six."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import logging
import time

from procrastinate import App, PsycopgConnector

from tests.benchmarks.peers.common import CHAIN_LENGTH, PAUSE_SECONDS, arguments, report

CONCURRENCY = 50
QUEUE = "bench"
POLL_SECONDS = 0.1  # its default, 5 s, makes a chain wait for seconds whenever it misses a notification


async def measure() -> None:
    """Throughput first, then one at a time."""
    given = arguments()
    app = App(connector=PsycopgConnector(conninfo=given.dsn, min_size=5, max_size=20))
    done = 0
    ended = asyncio.Event()

    async def chain(place: int, value: int) -> None:
        nonlocal done
        if place < CHAIN_LENGTH - 1:
            await app.configure_task("chain", queue=QUEUE).defer_async(place=place + 1, value=value + 1)
        else:
            done += 1
            ended.set()

    app.task(chain, name="chain", queue=QUEUE)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await app.configure_task("chain", queue=QUEUE).batch_defer_async(
            *({"place": 0, "value": number} for number in range(given.executions))
        )
        await app.connector.execute_query_async("analyze")
        began = time.perf_counter()
        worker = asyncio.create_task(
            app.run_worker_async(
                queues=[QUEUE],
                concurrency=CONCURRENCY,
                wait=True,
                listen_notify=True,
                fetch_job_polling_interval=POLL_SECONDS,
                install_signal_handlers=False,
            )
        )
        while done < given.executions:
            await asyncio.sleep(0.01)
            if worker.done():
                worker.result()
        seconds = time.perf_counter() - began
        latencies = []
        for number in range(given.idle_executions):
            await asyncio.sleep(PAUSE_SECONDS)
            ended.clear()
            began = time.perf_counter()
            await app.configure_task("chain", queue=QUEUE).defer_async(place=0, value=number)
            await asyncio.wait_for(ended.wait(), 30)
            latencies.append(time.perf_counter() - began)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    report(executions=given.executions, seconds=seconds, latencies=latencies)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(measure())
