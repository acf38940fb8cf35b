"""Schemas as text, as pg_dump writes them."""

from __future__ import annotations

import os
import re
import subprocess

from flowgres_cli.stack.binaries import find_postgres
from tests.support.database import Database


def dump_schema(database: Database) -> list[str]:
    """The lines of a schema, without what differs between any two dumps; partitions follow the day."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    output = subprocess.run(
        [str(find_postgres().path("pg_dump")), "--schema-only", "--dbname", database.dsn()],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout
    # A random token of newer pg_dump.
    return [line for line in output.splitlines() if not re.match(r"\\(un)?restrict ", line)]
