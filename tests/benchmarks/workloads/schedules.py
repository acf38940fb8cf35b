"""W10: how late schedules are that are all due in the same minute, and what those cost that are due much later."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from flowgres_cli.stack.process import ManagedProcess
from tests.benchmarks.definitions import single
from tests.benchmarks.figures import percentile
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context
from tests.benchmarks.versions import descendants
from tests.support.database import Clock

TRIGGERS = 50
"""Of one workflow."""
MINUTES = 3
LOOKS = 200
LATER = "0 0 29 2 *"
SETTLE_SECONDS = 5.0
SESSIONS = "select pid from pg_stat_activity where datname = current_database() and usename like '%runner'"
LATE = """
select extract(epoch from e.started_at - (e.trigger ->> 'scheduled_for')::timestamptz)::float8 * 1000
from flowgres.executions as e where e.trigger_type = 'cron' and e.trigger ->> 'scheduled_for' = %s
"""


def measure(context: Context) -> None:
    """Milliseconds from the slot until the first step of its execution begins; and of one look for what is due."""
    count, idle = context.scale.schedules, context.scale.idle_schedules
    with context.site() as site:
        clock = Clock(site.admin)
        context.record("w10.look.none", _look(site))
        _import(site, "later", idle, LATER)
        context.record("w10.look.many", _look(site))
        _import(site, "now", count, "* * * * *")
        late: list[float] = []
        with site.runners(1):
            for minute in range(1, MINUTES + 1):
                # The first one warms everything up.
                clock.set(f"2026-06-01T12:0{minute - 1}:57Z")
                slot = f"2026-06-01T12:0{minute}:00Z"
                site.wait_until(
                    "count(*) = %s from flowgres.executions"
                    " where status = 'completed' and trigger ->> 'scheduled_for' = %s",
                    count,
                    slot,
                    timeout_seconds=60,
                )
                late += site.admin.column(LATE, slot) if minute > 1 else []
        context.record("w10.late.p50", percentile(late, 0.5))
        context.record("w10.late.p99", percentile(late, 0.99))


def measure_idle(context: Context) -> None:
    """Milliseconds of CPU a second of two runners that have nothing to do, beside each other."""
    with context.site() as without, context.site() as site:
        _import(site, "later", context.scale.idle_schedules, LATER)
        with without.runners(1) as (lonely,), site.runners(1) as (runner,):
            time.sleep(SETTLE_SECONDS)
            began = time.monotonic()
            before = _cpu_seconds(without, lonely), _cpu_seconds(site, runner)
            time.sleep(context.scale.idle_seconds)
            after = _cpu_seconds(without, lonely), _cpu_seconds(site, runner)
            seconds = time.monotonic() - began
    context.record("w10.idle.none", (after[0] - before[0]) / seconds * 1000)
    context.record("w10.idle.many", (after[1] - before[1]) / seconds * 1000)


def _cpu_seconds(site: Site, runner: ManagedProcess) -> float:
    """For how long the kernel has let the runner, its evaluators and its sessions run so far."""
    pids = [runner.pid, *descendants(runner.pid), *site.admin.column(SESSIONS)]
    times = (file for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(file.read_text().split()[0]) for file in times) / 1e9


def _import(site: Site, name: str, count: int, cron: str) -> None:
    """Workflows with as many schedules together, at a time when none is due for long."""
    site.admin.run("update flowgres.settings set value = '1000000' where name = 'max_schedules'")
    Clock(site.admin).set("2026-06-01T11:59:10Z")
    for first in range(0, count, TRIGGERS):
        triggers: list[dict[str, Any]] = [
            {"type": "cron", "cron": cron, "timezone": "Europe/Berlin", "input": {"v": number}}
            for number in range(first, min(first + TRIGGERS, count))
        ]
        site.import_workflow({**single(), "name": f"{name}-{first}", "triggers": triggers})
    site.admin.run("vacuum (analyze) flowgres.schedules")


def _look(site: Site) -> float:
    with site.database.connect("runner") as runner:
        times = []
        for _ in range(LOOKS):
            began = time.perf_counter()
            runner.one("select * from flowgres.fire_schedules(p_limit => 50)")
            times.append((time.perf_counter() - began) * 1000)
    return percentile(times, 0.5)
