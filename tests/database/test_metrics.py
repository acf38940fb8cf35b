"""Figures of the engine: the version, and a lag whose price does not grow with the backlog."""

from __future__ import annotations

from flowgres_cli import __version__
from tests.support.database import Database, Db

BACKLOG = """
insert into flowgres.work_queue (tenant_id, execution_id, version_id, ready_at, step_index, priority, is_new)
select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), flowgres.now() - p * interval '1 s', 0, p, false
from generate_series(1, 9) as p, generate_series(1, %s)
"""


def test_version_is_that_of_the_package(db: Db) -> None:
    assert db.value("select flowgres.version()") == __version__


def test_lag_is_that_of_the_oldest_head_of_a_queue(db: Db) -> None:
    assert db.value("select flowgres.oldest_ready_at()") is None
    db.run(BACKLOG, 1)
    assert db.value("select round(extract(epoch from flowgres.now() - flowgres.oldest_ready_at()))") == 9


def test_lag_hops_from_queue_to_queue(db: Db) -> None:
    db.run(BACKLOG.replace("gen_random_uuid(),", "'00000000-0000-4000-8000-000000000001',", 1), 3000)
    db.run("analyze flowgres.work_queue")
    body = db.value("select prosrc from pg_proc where proname = 'oldest_ready_at'")
    plan = db.value(f"explain (analyze, buffers, format json) {body}")[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 200


def test_health_is_open_to_everybody_and_tells_nothing_of_tenants(database: Database) -> None:
    database.make_tenant("Secretive")
    with database.as_role("anon") as db:
        health = db.value("select flowgres_api.health()")
    assert set(health) == {
        "engine",
        "installation",
        "status",
        "version",
        "lag_seconds",
        "live_runners",
        "unserved_types",
        "is_copy",
    }
