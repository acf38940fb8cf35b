"""The benchmark program: `python -m tests.benchmarks [--only W1,W2] [--before PATH] [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.figures import Results, as_json, table
from tests.benchmarks.lab import Lab
from tests.benchmarks.lines import LINES
from tests.benchmarks.parts import Context, Part, time_limit
from tests.benchmarks.scale import QUICK, TINY, Scale
from tests.benchmarks.versions import VersionError, checkout_of, require_own_packages
from tests.benchmarks.workloads import (
    backlog,
    calls,
    chain,
    changes,
    fan,
    held,
    http,
    inputs,
    items,
    limits,
    lists,
    machines,
    memory,
    metrics,
    peers,
    periods,
    pgbench,
    schedules,
    start,
    streams,
    webhooks,
    wide,
)

WORKLOADS = ("W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9", "W10", "W11", "W12", "W13", "W14", "W15", "W16")

# What is divided by each other stands together, so that the same disturbance meets both.
PARTS: tuple[Part, ...] = (
    Part("pgbench", "W1", pgbench.measure),
    Part("W1 one runner", "W1", chain.measure_one_runner, is_compared=True),
    Part("W1 two runners", "W1", chain.measure_two_runners),
    Part("W1 idle latency", "W1", chain.measure_idle_latency, is_compared=True),
    Part("DBOS", "W1", peers.measure_dbos, is_peer=True),
    Part("Procrastinate", "W1", peers.measure_procrastinate, is_peer=True),
    Part("pgqueuer", "W1", peers.measure_pgqueuer, is_peer=True),
    Part("W2 fan", "W2", fan.measure, is_compared=True),
    Part("W3 at once", "W3", http.measure_at_once),
    Part("W3 stock httpx", "W3", http.measure_stock_httpx),
    Part("W3 after 20 ms", "W3", http.measure_after_20_ms),
    Part("W3 slots of one runner", "W3", http.measure_slots_of_one),
    Part("W3 slots of two runners", "W3", http.measure_slots_of_two),
    Part("W4 PostgREST", "W4", start.measure_api),
    Part("W4 SQL", "W4", start.measure_sql),
    Part("W4 bulk", "W4", start.measure_bulk),
    Part("W5 backlog", "W5", backlog.measure, repeats_inside=True, seconds=lambda scale: scale.backlog_seconds),
    Part("W5 periods", "W5", periods.measure, repeats_inside=True),
    Part("W5 held snapshot", "W5", held.measure, repeats_inside=True, seconds=lambda scale: scale.held_part_seconds),
    Part("W5 memory", "W5", memory.measure, repeats_inside=True),
    Part("W6 inputs", "W6", inputs.measure),
    Part("W7 chain of 40", "W7", wide.measure_chain),
    Part("W7 fan of 40", "W7", wide.measure_fan),
    Part("W9 items", "W9", items.measure),
    Part("W10 schedules", "W10", schedules.measure),
    Part("W10 idle", "W10", schedules.measure_idle),
    Part("W11 run", "W11", calls.measure),
    Part("W11 streams", "W11", streams.measure),
    Part("W12 changes", "W12", changes.measure),
    Part("W13 webhooks", "W13", webhooks.measure),
    Part("W14 metrics", "W14", metrics.measure, repeats_inside=True, seconds=lambda scale: scale.backlog_seconds),
    Part("W15 transitions", "W15", machines.measure),
    Part("W15 crowd", "W15", machines.measure_crowd),
    Part("W16 neighbours", "W16", limits.measure_neighbours, seconds=lambda scale: scale.backlog_seconds),
    Part("W16 limits", "W16", limits.measure_limits),
    Part("W8 lists", "W8", lists.measure, repeats_inside=True, seconds=lambda scale: scale.backlog_seconds),
)

Run = tuple[Part, Context]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, return the exit code: 1 when a part failed. A bar that is not met is no failure."""
    options = _options(arguments)
    scale = _scale(options)
    parts = [part for part in options.parts if part.workload in options.only]
    parts = [part for part in parts if not (part.is_peer and options.no_peers)]
    results = Results()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped then, too
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            require_own_packages()
            before = stack.enter_context(checkout_of(options.before_ref)) if options.before_ref else options.before
            lab = stack.enter_context(Lab(before=before))
        except VersionError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        about = _describe(lab, options)
        _say("\n".join(f"{name}: {value}" for name, value in about.items()))
        peer_python = ""
        if any(part.is_peer for part in parts):
            try:
                peer_python = stack.enter_context(peers.peer_environment(options.peer_python))
            except peers.PeersUnavailableError as error:
                results.failures.append(("peers", str(error)))
                parts = [part for part in parts if not part.is_peer]
        ours = Context(lab, lab.ours, scale, results, options.rounds, peer_python)
        runs: list[Run] = []
        for part in parts:
            runs.append((part, ours))
            if part.is_compared and lab.before is not None:
                runs.append((part, replace(ours, version=lab.before)))
        for number in range(options.rounds):
            for run in in_turn([run for run in runs if not run[0].repeats_inside], number):
                if not _measure(*run, label=f"round {number + 1}"):
                    runs.remove(run)
        for run in [run for run in runs if run[0].repeats_inside]:
            _measure(*run, label="all rounds")
    _say("")
    sys.stdout.write(table(LINES, results, scale.written()) + "\n")
    for name, reason in results.failures:
        sys.stdout.write(f"\nFAILED: {name}: {reason}\n")
    sys.stdout.flush()
    if options.json:
        document = {
            "about": about,
            "seconds": time.monotonic() - began,
            "figures": as_json(LINES, results, scale.written()),
            "failures": results.failures,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if results.failures else 0


def in_turn(runs: Sequence[Run], number: int) -> list[Run]:
    """The runs of this round: in every other one, the version before goes first where both versions are measured.

    What is measured second has it easier (the same version twice: W2 came out at 0.90 of itself), so that an even
    number of rounds favours nobody.
    """
    pairs: dict[str, list[Run]] = {}
    for run in runs:
        pairs.setdefault(run[0].name, []).append(run)
    return [run for pair in pairs.values() for run in (reversed(pair) if number % 2 else pair)]


def _measure(part: Part, context: Context, *, label: str) -> bool:
    """Measure one part, within its time; whatever goes wrong is written down and hides nothing else."""
    name = f"{part.name}, {context.version.name}" if context.version.name else part.name
    began = time.monotonic()
    try:
        with time_limit(part.seconds(context.scale)):
            part.measure(context)
    except Exception as error:
        context.results.failures.append((f"{name}, {label}", f"{type(error).__name__}: {error}"))
        _say(f"{label}: {name}: FAILED: {error}")
        return False
    _say(f"{label}: {name}: {time.monotonic() - began:.0f} s")
    return True


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", type=_workloads, default=WORKLOADS, help="workloads, such as W1,W4 (default: all)")
    parser.add_argument(
        "--parts", type=_parts, default=PARTS, help="parts with one of these in their names: lists,held"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="rounds; the table shows their median (default: 3; an even number to compare two versions)",
    )
    parser.add_argument("--no-peers", action="store_true", help="leave out DBOS, Procrastinate and pgqueuer")
    parser.add_argument("--peer-python", help="a Python that has peers/requirements.txt, instead of a new environment")
    parser.add_argument("--held-seconds", type=int, help="length of the load under a held snapshot (default: 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values of all rounds there, too")
    before = parser.add_mutually_exclusive_group()
    before.add_argument("--before", type=Path, metavar="PATH", help="a checkout of an earlier version, to compare with")
    before.add_argument("--before-ref", metavar="REF", help="the same by a commit or tag of this repository")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    sizes.add_argument("--tiny", action="store_true", help="the smallest sizes, for the test of this program")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else TINY if options.tiny else Scale()
    return scale if options.held_seconds is None else replace(scale, held_seconds=options.held_seconds)


def _workloads(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().upper() for name in text.split(","))
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    return names


def _parts(text: str) -> tuple[Part, ...]:
    words = [word.strip().lower() for word in text.split(",")]
    for word in words:
        if not any(word in part.name.lower() for part in PARTS):
            raise argparse.ArgumentTypeError(
                f"no part is called {word!r}; there are {', '.join(part.name for part in PARTS)}"
            )
    return tuple(part for part in PARTS if any(word in part.name.lower() for word in words))


def _describe(lab: Lab, options: argparse.Namespace) -> dict[str, str]:
    load = os.getloadavg()[0]
    sizes = ", quick sizes" if options.quick else ", tiny sizes" if options.tiny else ""
    versions = {"this version": lab.ours.described()}
    if lab.before is not None:
        versions["version before"] = lab.before.described()
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, load {load:.1f} at the start",
        "server": f"{lab.cluster.binaries}, fsync and synchronous_commit on",
        "python": platform.python_version(),
        **versions,
        "rounds": f"{options.rounds}{sizes}",
    }


def _say(text: str) -> None:
    """Progress goes to standard error; standard output has the table alone."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
