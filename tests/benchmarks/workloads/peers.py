"""DBOS, Procrastinate and pgqueuer on the same chain, each in a database of its own on the same server.

The queues are analysed before they are worked off: without statistics both become several times slower than they are
once autovacuum has come by.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.figures import percentile
from tests.benchmarks.parts import Context

REQUIREMENTS = Path(__file__).resolve().parents[1] / "peers" / "requirements.txt"
INSTALL_SECONDS = 400


class PeersUnavailableError(Exception):
    """The peers could not be installed."""


@contextmanager
def peer_environment(existing: str | None) -> Iterator[str]:
    """Yield the Python of a new virtual environment with the peers in it (or `existing`); it is removed at the end."""
    if existing:
        yield existing
        return
    with tempfile.TemporaryDirectory(prefix="flowgres-bench-peers-") as directory:
        python = str(Path(directory) / "bin" / "python")
        for command in (
            [sys.executable, "-m", "venv", directory],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
            except subprocess.TimeoutExpired as error:
                raise PeersUnavailableError(f"not installed after {INSTALL_SECONDS} s") from error
            if done.returncode != 0:
                raise PeersUnavailableError(done.stderr.strip()[-500:])
        yield python


def measure_dbos(context: Context) -> None:
    """DBOS."""
    _measure(context, "dbos", context.scale.dbos_executions)


def measure_procrastinate(context: Context) -> None:
    """Procrastinate."""
    _measure(context, "procrastinate", context.scale.procrastinate_executions)


def measure_pgqueuer(context: Context) -> None:
    """pgqueuer."""
    _measure(context, "pgqueuer", context.scale.pgqueuer_executions)


def _measure(context: Context, name: str, executions: int) -> None:
    if not context.peer_python:
        raise PeersUnavailableError("the peers are not installed")
    with context.lab.empty_database() as dsn:
        module = [f"tests.benchmarks.peers.{name}_chain", dsn, str(executions), str(context.scale.peer_idle_executions)]
        with context.lab.process(name, module, python=context.peer_python) as process:
            code = process.wait(timeout_seconds=context.scale.part_seconds)
        said = process.log_path.read_text(errors="replace")
    figures = [line for line in said.splitlines() if line.startswith('{"per_second"')]
    if code != 0 or not figures:
        raise RuntimeError(f"exit code {code}: {said.strip()[-800:]}")
    found = json.loads(figures[-1])
    context.record(name, found["per_second"])
    context.record(f"{name}.p50", percentile(found["milliseconds"], 0.5))
    context.record(f"{name}.p99", percentile(found["milliseconds"], 0.99))
