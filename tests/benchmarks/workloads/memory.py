"""What a runner holds when a hundred thousand executions are in flight: they are the database's, not the runner's."""

from __future__ import annotations

import time
from pathlib import Path

from tests.benchmarks.definitions import waiting
from tests.benchmarks.parts import Context
from tests.benchmarks.versions import descendants

LOOK_SECONDS = 0.2


def measure(context: Context) -> None:
    """The greatest proportional set size of the runner and its evaluators while it brings executions to their delay."""
    count = context.scale.in_flight
    with context.site() as site, site.runners(1) as (runner,):
        site.import_workflow(waiting())
        site.start_many("waiting", count)
        deadline = time.monotonic() + context.scale.part_seconds
        whole = alone = 0.0
        while site.admin.value("select count(*) from flowgres.work_queue where due_at is not null") < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} executions did not reach their delay")
            sizes = [_megabytes(pid) for pid in [runner.pid, *descendants(runner.pid)]]
            whole, alone = max(whole, sum(sizes)), max(alone, sizes[0])
            time.sleep(LOOK_SECONDS)
    context.record("memory", whole)
    context.record("memory.runner", alone)


def _megabytes(pid: int) -> float:
    """Pages shared with others count in part, so the sum over processes is what they cost together."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6
