"""What claims cost while somebody holds an old snapshot, so that no vacuum removes what the load leaves behind."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.benchmarks.definitions import chain
from tests.benchmarks.hands import hands
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context

WANT = 300
WARM_UP_CLAIMS = 3
EMPTY_CLAIMS = 30
BURST_SECONDS = 120


def measure(context: Context) -> None:
    """Claims before the snapshot, then ten times while the load goes on, at last at its end; once in a run."""
    scale = context.scale
    claim: list[float] = []
    empty: list[float] = []

    def look(site: Site) -> None:
        found = asyncio.run(_claims(site, scale.held_claims))
        claim.append(found[0])
        empty.append(found[1])

    with context.site() as site:
        site.import_workflow(chain())
        with site.runners(1):
            site.run("chain", scale.warm_up_executions)
        site.settle()
        look(site)
        with _held_snapshot(site):
            for _ in range(scale.held_looks):
                with site.runners(1):
                    _load(site, scale.held_seconds / scale.held_looks, scale.held_burst)
                look(site)
    third = scale.held_looks // 3
    for key, (before, *under_load) in (("claim", claim), ("empty", empty)):
        context.record(f"held.{key}.before", before)
        context.record(f"held.{key}.after", under_load[-1])
        context.record(f"held.{key}.middle", statistics.median(under_load[third:-third]))
        context.record(f"held.{key}.last", statistics.median(under_load[-third:]))


async def _claims(site: Site, count: int) -> tuple[float, float]:
    """Median milliseconds of a claim of 300 and of one that finds nothing; no runner is at work, and nothing waits.

    What was claimed is given back: the next runner does it.
    """
    async with hands(site) as runner:
        empty = [(await runner.claim(WANT, expected=0))[0] for _ in range(WARM_UP_CLAIMS + EMPTY_CLAIMS)]
        site.start_many("chain", (WARM_UP_CLAIMS + count) * WANT)
        claims = [await runner.claim(WANT) for _ in range(WARM_UP_CLAIMS + count)]
        await runner.release([lease for _, leases in claims for lease in leases])
    milliseconds = [elapsed for elapsed, _ in claims]
    return statistics.median(milliseconds[WARM_UP_CLAIMS:]), statistics.median(empty[WARM_UP_CLAIMS:])


@contextmanager
def _held_snapshot(site: Site) -> Iterator[None]:
    with psycopg.connect(site.database.dsn()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select count(*) from flowgres.work_queue")
        yield


def _load(site: Site, seconds: float, burst: int) -> None:
    """Keep a runner busy: there is always a burst of executions under way and another one behind it. Ends empty."""
    deadline = time.monotonic() + seconds
    under_way = _start(site, burst)
    while time.monotonic() < deadline:
        behind = _start(site, burst)
        _wait_for(site, under_way)
        under_way = behind
    _wait_for(site, under_way)
    site.wait_until("not exists (select from flowgres.work_queue)", timeout_seconds=BURST_SECONDS)


def _start(site: Site, count: int) -> tuple[str, str]:
    """Start executions; the lowest and the highest of their ids."""
    row = site.service.one(
        "select min(s.id) as lowest, max(s.id) as highest from jsonb_array_elements_text("
        "flowgres_api.start_executions(workflow => 'chain', inputs => ("
        "select jsonb_agg(jsonb_build_object('v', g)) from generate_series(1, %s::integer) as g))) as s (id)",
        count,
    )
    return row["lowest"], row["highest"]


def _wait_for(site: Site, ids: tuple[str, str]) -> None:
    """Look at these executions alone: the queue is what fills with dead rows, and looking at it would cost too much."""
    site.wait_until(
        "not exists (select from flowgres.executions"
        " where tenant_id = %s and id between %s and %s and finished_at is null)",
        site.tenant.tenant_id,
        *ids,
        timeout_seconds=BURST_SECONDS,
    )
