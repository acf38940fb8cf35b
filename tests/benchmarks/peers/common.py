"""What the scripts of the peers share: `python -m tests.benchmarks.peers.NAME DSN EXECUTIONS IDLE_EXECUTIONS`.

Each prints one line of JSON: {"per_second": steps, "milliseconds": [latency of each idle execution]}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

CHAIN_LENGTH = 6
PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a script is asked to do."""

    dsn: str
    executions: int
    idle_executions: int


def arguments() -> Arguments:
    """Read the command line."""
    dsn, executions, idle_executions = sys.argv[1:]
    return Arguments(dsn, int(executions), int(idle_executions))


def report(*, executions: int, seconds: float, latencies: Sequence[float]) -> None:
    """Print the figures."""
    milliseconds = [seconds * 1000 for seconds in latencies]
    line = {"per_second": executions * CHAIN_LENGTH / seconds, "milliseconds": milliseconds}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
