"""The benchmark program runs and prints its table. What it measures is asserted nowhere: times are no tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.figures import LINES, Results, percentile, table
from tests.benchmarks.lab import REPOSITORY
from tests.benchmarks.scale import Scale


@pytest.mark.slow
def test_quick_run_prints_table_and_writes_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", "W1", "--no-peers", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "figures.json")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| W1 chain of 6, one runner " in done.stdout
    keys = {line["key"] for line in json.loads((tmp_path / "figures.json").read_text())["figures"]}
    assert {"pgbench", "w1.one", "w1/pgbench", "w1.two", "w1.wal", "idle.p50", "idle.p99"} <= keys


def test_unknown_workload_is_refused() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--only", "W9"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "unknown workload 'W9'" in done.stderr


def test_quotient_is_formed_round_by_round() -> None:
    results = Results({"w1.one": [20_000, 10_000, 30_000], "w1.two": [30_000, 20_000, 30_000]})
    line = next(line for line in LINES if line.key == "w1.two/one")
    assert results.of(line) == [1.5, 2.0, 1.0]


def test_table_shows_median_spread_and_bar() -> None:
    results = Results({"w1.one": [14_000, 16_000, 12_000], "idle.p50": [7.0]})
    lines = [" ".join(line.split()) for line in table(results, Scale().written()).splitlines()]
    assert "| W1 chain of 6, one runner | 14,000 | 12,000 - 16,000 | steps/s | >= 15,000 | NO |" in lines
    assert "| idle latency of 6 steps, p50 (client) | 7 | | ms | <= 8 | yes |" in lines
    assert not [line for line in lines if "against" in line], "what was not measured is left out"


def test_percentile_is_one_of_the_samples() -> None:
    samples = [float(number) for number in range(1, 101)]
    assert (percentile(samples, 0.5), percentile(samples, 0.99), percentile([3.0], 0.99)) == (50.0, 99.0, 3.0)
