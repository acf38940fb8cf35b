"""W9: one execution whose step runs once for each item of a list, beside as many executions of one step."""

from __future__ import annotations

from tests.benchmarks.definitions import items, single
from tests.benchmarks.figures import percentile
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context

FEW_ITEMS = 100


def measure(context: Context) -> None:
    """Seconds from before the start to the end of the last step, of both in turn; and how long a short list takes."""
    count = context.scale.items
    with context.site() as site, site.runners(1):
        site.import_workflow(items())
        site.import_workflow(single())
        _seconds(site, "items", 1, items=list(range(count // 10)))
        _seconds(site, "single", count // 10)
        context.record("w9.items", _seconds(site, "items", 1, items=list(range(count))))
        context.record("w9.single", _seconds(site, "single", count))
        few = [_seconds(site, "items", 1, items=list(range(FEW_ITEMS))) for _ in range(context.scale.short_lists)]
        context.record("w9.few.p50", 1000 * percentile(few, 0.5))


def _seconds(site: Site, workflow: str, count: int, **also: list[int]) -> float:
    began = site.admin.value("select clock_timestamp()")
    site.run(workflow, count, also=also)
    ended = "select extract(epoch from max(finished_at) - %s)::float8 from flowgres.executions where finished_at > %s"
    return float(site.admin.value(ended, began, began))
