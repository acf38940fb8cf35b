"""W7: one execution of 40 light steps when all is idle, in a row and beside each other."""

from __future__ import annotations

from tests.benchmarks.definitions import Definition, chain, fan
from tests.benchmarks.figures import percentile
from tests.benchmarks.latency import one_at_a_time
from tests.benchmarks.parts import Context

STEPS = 40


def measure_chain(context: Context) -> None:
    """Forty steps, each on the output of the one before."""
    _measure(context, chain(length=STEPS))


def measure_fan(context: Context) -> None:
    """Forty steps beside each other, between one before and one after."""
    _measure(context, fan(width=STEPS))


def _measure(context: Context, definition: Definition) -> None:
    workflow = definition["name"]
    with context.site() as site, site.runners(1):
        site.import_workflow(definition)
        site.run(workflow, 2 * context.scale.wide_executions)
        seen = one_at_a_time(site, workflow, context.scale.wide_executions).seen
    context.record(f"w7.{workflow}.p50", percentile(seen, 0.5))
    context.record(f"w7.{workflow}.p99", percentile(seen, 0.99))
