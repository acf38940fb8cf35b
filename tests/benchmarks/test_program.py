"""The benchmark program runs and prints its table. What it measures is asserted nowhere: times are no tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.__main__ import PARTS, WORKLOADS, in_turn
from tests.benchmarks.figures import Results, at_least, at_most, percentile, table
from tests.benchmarks.lines import LINES
from tests.benchmarks.scale import Scale
from tests.benchmarks.versions import REPOSITORY

PEERS = ("dbos", "procrastinate", "pgqueuer")


def program(*options: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.slow
def test_every_part_but_the_peers_fills_its_lines_of_table_and_json(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    options = ["--tiny", "--no-peers", "--rounds", "1", "--before", str(REPOSITORY), "--json", str(written)]
    done = program(*options, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| W1 chain of 6, one runner " in done.stdout
    assert "|   against the version before " in done.stdout
    measured = {line["key"] for line in json.loads(written.read_text())["figures"]}
    assert measured == {line.key for line in LINES if not any(peer in line.key for peer in PEERS)}


def test_every_workload_has_parts_of_its_own_name() -> None:
    assert {part.workload for part in PARTS} == set(WORKLOADS)
    assert len({part.name for part in PARTS}) == len(PARTS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "W99"], "unknown workload 'W99'"),
        (["--parts", "lists,nothing"], "no part is called 'nothing'"),
        (["--before", "/usr"], "/usr is no checkout of flowgres"),
        (["--before-ref", "no-such-commit"], "no-such-commit cannot be checked out"),
    ],
)
def test_what_does_not_exist_is_refused(options: list[str], said: str) -> None:
    done = program(*options)
    assert done.returncode == 2
    assert said in done.stderr


def test_quotient_is_formed_round_by_round() -> None:
    results = Results({"w1.one": [20_000, 10_000, 30_000], "w1.two": [30_000, 20_000, 30_000]})
    line = next(line for line in LINES if line.key == "w1.two/one")
    assert results.of(line) == [1.5, 2.0, 1.0]


def test_ours_is_divided_by_the_version_before_of_the_same_round() -> None:
    results = Results({"w1.one": [20_000, 30_000], "before.w1.one": [10_000, 10_000]})
    line = next(line for line in LINES if line.key == "w1.one/before")
    assert results.of(line) == [2.0, 3.0]


def test_versions_take_turns_in_going_first() -> None:
    ours, before = object(), object()
    runs: list[Any] = [
        (part, version) for part in PARTS[:2] for version in (ours, before) if part.is_compared or version is ours
    ]
    order = [[(part.name, version is ours) for part, version in in_turn(runs, number)] for number in range(3)]
    assert order[0] == order[2] == [("pgbench", True), ("W1 one runner", True), ("W1 one runner", False)]
    assert order[1] == [("pgbench", True), ("W1 one runner", False), ("W1 one runner", True)]


def test_table_shows_median_spread_and_bar() -> None:
    results = Results({"w1.one": [14_000, 16_000, 12_000], "idle.p50": [5.0], "idle.p99": [16.0], "w1.wal": [450.0]})
    lines = [" ".join(line.split()) for line in table(LINES, results, Scale().written()).splitlines()]
    assert "| W1 chain of 6, one runner | 14,000 | 12,000 - 16,000 | steps/s | >= 15,000 | | NO |" in lines
    assert "| idle latency of 6 steps, p50 (client) | 5 | | ms | <= 6.50 | 4 | yes |" in lines
    assert "| WAL per W1 step | 450 | | bytes | <= 680 | 450 | stretch |" in lines
    assert not [line for line in lines if "against" in line], "what was not measured is left out"


def test_bar_tells_missed_met_and_stretch() -> None:
    assert [at_least(2, stretch=3).judge(value) for value in (1.9, 2, 3)] == ["NO", "yes", "stretch"]
    assert [at_most(6.5, stretch=4).judge(value) for value in (6.6, 6.5, 4)] == ["NO", "yes", "stretch"]
    assert at_most(1.5).judge(0.1) == "yes"


def test_percentile_is_one_of_the_samples() -> None:
    samples = [float(number) for number in range(1, 101)]
    assert (percentile(samples, 0.5), percentile(samples, 0.99), percentile([3.0], 0.99)) == (50.0, 99.0, 3.0)
