"""W1: throughput of a chain, with one runner and with two; its WAL; the latency of one execution when all is idle."""

from __future__ import annotations

import time

from tests.benchmarks.definitions import CHAIN_LENGTH, chain
from tests.benchmarks.figures import percentile
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context

WARM_UP_EXECUTIONS = 500
# Tables that have grown for a while: of new ones statistics are gathered, and plans made anew, every few seconds.
HISTORY_EXECUTIONS = 5_000
WARM_UP_SINGLES = 30
PAUSE_SECONDS = 0.02
LOOK_SECONDS = 0.0002
LATEST_SECONDS = 10.0


def measure_one_runner(context: Context) -> None:
    """Steps per second with one runner process, and bytes of WAL per step (a sixth of a start counted in)."""
    with context.lab.site() as site, site.runners(1):
        _warm_up(site)
        count = context.scale.chain_executions
        before = _wal_bytes(site)
        seconds = site.run("chain", count)
        written = _wal_bytes(site) - before
        context.record("w1.one", count * CHAIN_LENGTH / seconds)
        context.record("w1.busy", site.busy_percent)
        context.record("w1.wal", written / (count * CHAIN_LENGTH))


def measure_two_runners(context: Context) -> None:
    """The same with two runner processes."""
    with context.lab.site() as site, site.runners(2):
        _warm_up(site)
        count = context.scale.chain_executions
        context.record("w1.two", count * CHAIN_LENGTH / site.run("chain", count))


def measure_idle_latency(context: Context) -> None:
    """One execution at a time, where others ran: from the call of start_execution until a client sees its end."""
    with context.lab.site() as site, site.runners(1):
        _warm_up(site)
        site.run("chain", HISTORY_EXECUTIONS)
        site.settle()
        seen = []
        ids = []
        with context.lab.quiet():
            for _ in range(WARM_UP_SINGLES):
                _run_one(site)
            for _ in range(context.scale.idle_executions):
                milliseconds, execution_id = _run_one(site)
                seen.append(milliseconds)
                ids.append(execution_id)
        stored = site.admin.column(
            "select extract(epoch from finished_at - created_at)::float8 * 1000 from flowgres.executions"
            " where id = any(%s::text[]::uuid[])",
            "{" + ",".join(ids) + "}",
        )
    context.record("idle.p50", percentile(seen, 0.5))
    context.record("idle.p99", percentile(seen, 0.99))
    context.record("idle.db.p50", percentile(stored, 0.5))
    context.record("idle.db.p99", percentile(stored, 0.99))


def _run_one(site: Site) -> tuple[float, str]:
    """Start an execution after a pause, and look until it has ended; the milliseconds, and its id."""
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    started = site.service.call("flowgres_api.start_execution", workflow="chain", input={"v": 1})
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


def _warm_up(site: Site) -> None:
    """Import the workflow, and let connections, plans and caches become what they are after a while."""
    site.import_workflow(chain())
    site.run("chain", WARM_UP_EXECUTIONS)


def _wal_bytes(site: Site) -> float:
    return float(site.admin.value("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
