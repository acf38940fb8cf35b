"""The periods of history, as tests look at them: from the catalogue, and from the table that keeps account of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise

from tests.support.database import Database, Db

TABLES = ["attempts", "events", "executions", "step_executions"]
OLDEST = "00000000-0000-0000-0000-000000000000"


def keep_one_family(db: Db) -> None:
    """Let executions be all that has periods, so that what is counted is theirs."""
    for table in ("history_periods", "history_tables", "history_families"):
        db.run(f"delete from flowgres.{table} where family <> 'executions'")


def create_history(database: Database) -> int:
    """What a runner does: make periods until none is missing; return how many."""
    with database.connect("runner") as runner:
        count = 0
        while runner.call("flowgres.create_history")["created"]:
            count += 1
        return count


def retire_history(database: Database, *, limit: int = 500) -> dict[str, int]:
    """What a runner does: retire until there is nothing to do; return the sums."""
    total = {"retired": 0, "deleted": 0}
    with database.connect("runner") as runner:
        while True:
            done = runner.call("flowgres.retire_history", p_limit=limit)
            total = {name: count + done[name] for name, count in total.items()}
            if not done["retired"] and not done["deleted"]:
                return total


def partitions(db: Db, table: str = "executions") -> list[str]:
    """The names of the partitions of a table, without schema and the default one, in the order of their names."""
    return db.column(
        "select c.relname::text from pg_inherits as i join pg_class as c on c.oid = i.inhrelid"
        " where i.inhparent = %s::regclass and c.relname !~ '_default$' order by 1",
        f"flowgres.{table}",
    )


def partition_of(db: Db, execution_id: str, table: str = "executions") -> str:
    """The partition that holds an execution."""
    key = "id" if table == "executions" else "execution_id"
    query = f"select tableoid::regclass::text from flowgres.{table} where {key} = %s limit 1"
    return str(db.value(query, execution_id)).removeprefix("flowgres.")


def bounds(db: Db, table: str = "executions") -> list[tuple[datetime, datetime]]:
    """The spans of the partitions of a table, oldest first, as the catalogue has them."""
    texts = db.column(
        "select pg_get_expr(c.relpartbound, c.oid) from pg_inherits as i join pg_class as c on c.oid = i.inhrelid"
        " where i.inhparent = %s::regclass",
        f"flowgres.{table}",
    )
    # None: dropped between the look at the catalogue and the reading of its bounds.
    found = [re.findall(r"'([0-9a-f-]{36})'|MINVALUE", text) for text in texts if text not in (None, "DEFAULT")]
    return sorted((_time(first or OLDEST), _time(last)) for first, last in found)


def _time(key: str) -> datetime:
    """The moment in a UUID v7."""
    return datetime.fromtimestamp(int(key.replace("-", "")[:12], 16) / 1000, UTC)


def assert_periods_are_sound(db: Db, *, most: int = 12) -> None:
    """No gap, no overlap, at most 12, the same for every table of the family, and all of them in the account."""
    spans = bounds(db)
    assert len(spans) <= most
    assert all(one[1] == other[0] for one, other in pairwise(spans)), spans
    assert all(bounds(db, table) == spans for table in TABLES)
    query = (
        "select greatest(starts_at, 'epoch') as a, ends_at as b from flowgres.history_periods"
        " where family = 'executions' and attached_at is not null order by 1"
    )
    assert [(row["a"], row["b"]) for row in db.all(query)] == spans
