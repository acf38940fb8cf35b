"""W1: throughput of a chain, with one runner and with two; its WAL; the latency of one execution when all is idle."""

from __future__ import annotations

from tests.benchmarks.definitions import CHAIN_LENGTH, chain
from tests.benchmarks.figures import percentile
from tests.benchmarks.lab import Site
from tests.benchmarks.latency import one_at_a_time
from tests.benchmarks.parts import Context


def measure_one_runner(context: Context) -> None:
    """Steps per second with one runner process, and bytes of WAL per step (a sixth of a start counted in)."""
    with context.site() as site, site.runners(1):
        _warm_up(site, context)
        count = context.scale.chain_executions
        before = _wal_bytes(site)
        seconds = site.run("chain", count)
        written = _wal_bytes(site) - before
        context.record("w1.one", count * CHAIN_LENGTH / seconds)
        context.record("w1.busy", site.busy_percent)
        context.record("w1.wal", written / (count * CHAIN_LENGTH))


def measure_two_runners(context: Context) -> None:
    """The same with two runner processes."""
    with context.site() as site, site.runners(2):
        _warm_up(site, context)
        count = context.scale.chain_executions
        context.record("w1.two", count * CHAIN_LENGTH / site.run("chain", count))


def measure_idle_latency(context: Context) -> None:
    """One execution at a time, where others ran."""
    with context.site() as site, site.runners(1):
        _warm_up(site, context)
        # Tables that have grown for a while: of new ones statistics are gathered, and plans made anew, again and again.
        site.run("chain", context.scale.idle_history)
        latencies = one_at_a_time(site, "chain", context.scale.idle_executions)
    for key, samples in (("idle", latencies.seen), ("idle.db", latencies.stored)):
        context.record(f"{key}.p50", percentile(samples, 0.5))
        context.record(f"{key}.p99", percentile(samples, 0.99))


def _warm_up(site: Site, context: Context) -> None:
    """Import the workflow, and let connections, plans and caches become what they are after a while."""
    site.import_workflow(chain())
    site.run("chain", context.scale.warm_up_executions)


def _wal_bytes(site: Site) -> float:
    return float(site.admin.value("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
