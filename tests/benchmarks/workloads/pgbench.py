"""The yardstick: how many small transactions this machine commits, by PostgreSQL's own program."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.benchmarks.lab import Lab
from tests.benchmarks.parts import Context

CLIENTS = 32
ROWS = 100_000
UPDATE_ONE_ROW = f"\\set id random(1, {ROWS})\nupdate yardstick set n = n + 1 where id = :id;\n"


def measure(context: Context) -> None:
    """Commits per second, one updated row each."""
    with context.lab.empty_database() as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(
                "create table yardstick (id integer primary key, n integer not null) with (fillfactor = 70)"
            )
            connection.execute(f"insert into yardstick select g, 0 from generate_series(1, {ROWS}) as g")
            connection.execute("vacuum analyze yardstick")
        rate = transactions_per_second(
            context.lab, dsn, UPDATE_ONE_ROW, clients=CLIENTS, seconds=context.scale.load_seconds
        )
        context.record("pgbench", rate)


def transactions_per_second(lab: Lab, dsn: str, script: str, *, clients: int, seconds: float) -> float:
    """Run a script with pgbench over and over."""
    program = lab.cluster.binaries.path("pgbench")
    if not program.exists():
        raise RuntimeError(f"{lab.cluster.binaries} has no pgbench")
    parameters = conninfo_to_dict(dsn)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        whole_seconds = max(1, round(seconds))
        options = ["-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(whole_seconds), "-f", file.name]
        done = subprocess.run(
            [str(program), *options, str(parameters["dbname"])],
            env={
                "PATH": os.environ["PATH"],
                "PGHOST": str(parameters["host"]),
                "PGPORT": str(parameters["port"]),
                "PGUSER": str(parameters["user"]),
                "PGPASSWORD": str(parameters["password"]),
            },
            cwd=Path(file.name).parent,
            capture_output=True,
            text=True,
            timeout=whole_seconds + 60,
            check=False,
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode != 0 or found is None:
        said = done.stderr.strip() or done.stdout.strip()
        raise RuntimeError(f"pgbench failed, exit code {done.returncode}: {said[-500:]}")
    return float(found.group(1))
