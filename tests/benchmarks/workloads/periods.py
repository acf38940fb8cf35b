"""What an advance costs when history has many partitions."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack

from tests.benchmarks.definitions import chain
from tests.benchmarks.figures import percentile
from tests.benchmarks.hands import hands
from tests.benchmarks.history import set_periods
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context

PERIODS = (5, 12, 30)
LEASES = (16, 1)
WARM_UP_ADVANCES = 10


def measure(context: Context) -> None:
    """A database for each number of periods; calls are made in each of them in turn, so that all see the same noise."""
    count = context.scale.advances
    executions = context.rounds * (count + WARM_UP_ADVANCES) * sum(LEASES)
    with ExitStack() as stack:
        sites = {periods: stack.enter_context(context.site()) for periods in PERIODS}
        for periods, site in sites.items():
            site.import_workflow(chain())
            set_periods(site, periods)
            site.start_many("chain", executions)
            site.settle()
        for _ in range(context.rounds):
            for (periods, leases), samples in asyncio.run(_advances(sites, count)).items():
                context.record(f"periods.{periods}.{leases}", percentile(samples, 0.5))
        for periods, site in sites.items():
            ended = site.admin.value("select count(*) from flowgres.executions where status = 'completed'")
            if ended != executions:
                raise RuntimeError(f"with {periods} periods {ended} of {executions} executions completed")


async def _advances(sites: dict[int, Site], count: int) -> dict[tuple[int, int], list[float]]:
    """Milliseconds of complete_and_claim, by periods and leases; the claims before it are not timed."""
    samples: dict[tuple[int, int], list[float]] = {}
    async with AsyncExitStack() as stack:
        runners = {periods: await stack.enter_async_context(hands(site)) for periods, site in sites.items()}
        for leases in LEASES:
            for number in range(-WARM_UP_ADVANCES, count):
                for periods, runner in runners.items():
                    _, claimed = await runner.claim(leases)
                    elapsed = await runner.finish_chains(claimed)
                    if number >= 0:
                        samples.setdefault((periods, leases), []).append(elapsed)
    return samples
