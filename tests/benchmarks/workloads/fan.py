"""W2: one step, fifty beside each other, one that joins them."""

from __future__ import annotations

from tests.benchmarks.definitions import FAN_WIDTH, fan
from tests.benchmarks.parts import Context

WARM_UP_EXECUTIONS = 20


def measure(context: Context) -> None:
    """Steps per second with one runner."""
    with context.site() as site, site.runners(1):
        site.import_workflow(fan())
        site.run("fan", WARM_UP_EXECUTIONS)
        count = context.scale.fan_executions
        context.record("w2", count * (FAN_WIDTH + 2) / site.run("fan", count))
