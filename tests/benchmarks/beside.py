"""`python -m tests.benchmarks.beside PATH [w1 w2 w3 idle] [--turns N]`: beside the checkout of an earlier version.

Rounds that are minutes apart differ by more than what a change may cost. So here all are alive in one cluster, with a
runner each, and take short turns. The earlier version is there twice: how far the second one differs from the first is
how far two of the same differ, and no smaller difference means anything.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.definitions import chain, fan, posts
from tests.benchmarks.lab import Lab, Site
from tests.benchmarks.latency import WARM_UP_SINGLES, run_one
from tests.benchmarks.versions import require_own_packages
from tests.benchmarks.workloads.http import CONCURRENCY, echo

COUNTS = {"w1": 1500, "w2": 200, "w3": 300, "idle": 5}
"""Executions of a turn: about half a second of them; of `idle`, which are one after the other, the median counts."""
BEFORE, OURS, AGAIN = "the version before", "this version", "the version before, again"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; no figure is a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.beside", description=__doc__)
    parser.add_argument("before", type=Path, help="the checkout of an earlier version")
    parser.add_argument("workloads", nargs="*", metavar="|".join(COUNTS))
    parser.add_argument("--turns", type=int, default=72, help="of each of the three")
    options = parser.parse_args(arguments)
    if unknown := set(options.workloads) - COUNTS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; it is {', '.join(COUNTS)}")
    require_own_packages()
    for workload in options.workloads or COUNTS:
        with Lab(before=options.before) as lab, ExitStack() as stack:
            seconds = _measure(lab, stack, workload, options.turns)
        for name in (OURS, AGAIN):
            ratios = [first / other for first, other in zip(seconds[BEFORE], seconds[name], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            sys.stdout.write(f"{workload} {name:27} {middle:.3f} of its speed (quartiles {low:.3f} - {high:.3f})\n")
        sys.stdout.flush()
    return 0


def _measure(lab: Lab, stack: ExitStack, workload: str, turns: int) -> dict[str, list[float]]:
    """The seconds of each turn."""
    environment = {"RUNNER_CONCURRENCY": str(CONCURRENCY)} if workload == "w3" else None
    if workload == "w3":
        definition = posts(stack.enter_context(echo(lab, 0.0)))
    else:
        definition = fan() if workload == "w2" else chain()
    count = COUNTS[workload]
    sites: dict[str, Site] = {}
    for name, version in ((BEFORE, lab.before), (OURS, lab.ours), (AGAIN, lab.before)):
        site = sites[name] = stack.enter_context(lab.site(version))
        stack.enter_context(site.runners(1, environment=environment))
        site.import_workflow(definition)
        site.run(definition["name"], count)
    if workload == "idle":
        stack.enter_context(lab.quiet())
        for site in sites.values():
            site.settle()
            _one_by_one(site, definition["name"], WARM_UP_SINGLES)
    take_turn = _one_by_one if workload == "idle" else Site.run
    seconds: dict[str, list[float]] = {name: [] for name in sites}
    for order in itertools.islice(itertools.cycle(itertools.permutations(sites)), turns):
        for name in order:
            seconds[name].append(take_turn(sites[name], definition["name"], count))
    return seconds


def _one_by_one(site: Site, workflow: str, count: int) -> float:
    """Seconds from a start until its end is seen."""
    return statistics.median(run_one(site, workflow)[0] for _ in range(count)) / 1000


if __name__ == "__main__":
    sys.exit(main())
