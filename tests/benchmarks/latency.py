"""The latency of one execution when all else is idle."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.benchmarks.lab import Site

WARM_UP_SINGLES = 30
PAUSE_SECONDS = 0.02
LOOK_SECONDS = 0.0002
LATEST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds of executions: as a client saw them, and by the database's clock."""

    seen: list[float]
    stored: list[float]


def one_at_a_time(site: Site, workflow: str, count: int) -> Latencies:
    """Start executions one after the other, each from the call of start_execution until a client sees its end.

    The tables are left as autovacuum would leave them, and it comes round no oftener than by default.
    """
    site.settle()
    seen = []
    ids = []
    with site.lab.quiet():
        for _ in range(min(WARM_UP_SINGLES, count)):
            run_one(site, workflow)
        for _ in range(count):
            milliseconds, execution_id = run_one(site, workflow)
            seen.append(milliseconds)
            ids.append(execution_id)
    stored = site.admin.column(
        "select extract(epoch from finished_at - created_at)::float8 * 1000 from flowgres.executions"
        " where id = any(%s::text[]::uuid[])",
        "{" + ",".join(ids) + "}",
    )
    return Latencies(seen, stored)


def run_one(site: Site, workflow: str) -> tuple[float, str]:
    """Start an execution after a pause, and look until it has ended; the milliseconds, and its id."""
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    started = site.service.call("flowgres_api.start_execution", workflow=workflow, input={"v": 1})
    execution_id = started["execution_id"]
    while not site.admin.value(
        "select finished_at is not null from flowgres.executions where tenant_id = %s and id = %s",
        site.tenant.tenant_id,
        execution_id,
    ):
        if time.perf_counter() - began > LATEST_SECONDS:
            raise TimeoutError(f"execution {execution_id} did not end within {LATEST_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    return (time.perf_counter() - began) * 1000, execution_id
