"""Claims under a snapshot that somebody holds: what they read, and sessions that are made to read from floors on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.support.database import Clock, Database, Db, Row, Tenant
from tests.support.engine import Hands

CLAIM = "select * from flowgres.claim(%s, %s, null)"

FORCED = """
select (row(
  0, '-infinity', '0', '-infinity', 'infinity', '{core}',
  array(
    select r
    from flowgres.ranges_past(
      p_lines => array(
        select flowgres.make_line(
          p_capability => n.name, p_tenant_id => t.tenant_id, p_priority => p::smallint, p_is_new => b, p_floor => 0)
        from unnest(c.names) as n (name)
        cross join flowgres.tenants as t
        cross join generate_series(3, 6) as p
        cross join (values (false), (true)) as v (b)),
      p_capabilities => c.names) as r))::flowgres.queue_floors)::text
from (values (array['alone:core', 'core'])) as c (names)
"""
FULL_LOOK_AT = """
select (row(f.rank, f.at, f.xid, f.due_at, %s::timestamptz, f.capabilities, f.ranges)::flowgres.queue_floors)::text
from (select (%s::flowgres.queue_floors).*) as f
"""


@contextmanager
def held_snapshot(database: Database) -> Iterator[psycopg.Connection]:
    """Another session has begun to read everything, as a dump does: no vacuum removes what is taken from now on."""
    with psycopg.connect(database.dsn()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select count(*) from flowgres.work_queue")
        yield connection


def start_many(database: Database, tenant: Tenant, workflow: str, count: int) -> None:
    """Start executions as a member of the tenant."""
    with database.as_role("member", tenant_id=tenant.tenant_id) as api:
        inputs: list[dict[str, int]] = [{} for _ in range(count)]
        api.call("flowgres_api.start_executions", workflow=workflow, inputs=inputs)


def take(runner: Hands, count: int) -> list[Row]:
    """One claim, and nothing else."""
    return runner.db.all(CLAIM, runner.id, count)


def take_all(runner: Hands, *, batch: int = 500) -> int:
    """Claim until nothing is left; return how many rows."""
    taken = 0
    while rows := len(take(runner, batch)):
        taken += rows
    return taken


def buffers_of_claim(runner: Hands, count: int) -> tuple[int, int]:
    """Claim, and say how many rows came and how many buffers that took."""
    plan = runner.db.value(f"explain (analyze, buffers, format json) {CLAIM}", runner.id, count)[0]["Plan"]
    return plan["Actual Rows"], plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def buffers_of_look(runner: Hands) -> int:
    """How many buffers a claim takes that finds nothing.

    The least of some: an analyze in between lets the session plan anew, and what that reads of the catalogue counts.
    """
    looks = [buffers_of_claim(runner, 10) for _ in range(4)]
    assert {rows for rows, _ in looks} == {0}
    return min(buffers for _, buffers in looks)


def settle(clock: Clock, runner: Hands) -> None:
    """Let the floors of a session come up to what is there now, whoever writes to other databases meanwhile.

    The first mark may be from before, the second is not. One that is not over holds with the look after the next.
    """
    for _ in range(2):
        clock.advance(seconds=1)
        for _ in range(2):
            assert take(runner, 0) == []


def floors_of(runner: Hands) -> str:
    """What the session knows, as it keeps it; empty when it reads from the beginning."""
    return runner.db.value("select coalesce(current_setting('flowgres.floors', true), '')") or ""


def force_floors(db: Db, runner: Hands) -> None:
    """Let a session read from floors on, known or not needed, and never from the beginning again."""
    runner.db.run("select set_config('flowgres.floors', %s, false)", db.value(FORCED))


def look_fully(db: Db, runner: Hands, *, at: str) -> None:
    """Say when the session reads from the beginning again: '-infinity' is with the next claim."""
    text = db.value(FULL_LOOK_AT, at, floors_of(runner))
    runner.db.run(
        "select set_config('flowgres.floors', %s, false), set_config('flowgres.floors_learned_until', '', false)", text
    )
