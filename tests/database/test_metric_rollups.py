"""Figures that are kept are those of history, at any moment and whoever dies between."""

from __future__ import annotations

import random
import threading
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, completed, dag, failed, import_workflow, start
from tests.support.metrics import assert_exact, measure, measure_all

STEPS: list[dict[str, Any]] = [
    {"id": "a"},
    {"id": "b", "depends_on": ["a"], "retry": 2, "on_error": "continue"},
    {"id": "c", "depends_on": ["b"]},
]


def _counted(db: Db, span_seconds: int) -> int:
    return int(
        db.value(
            "select sum(total) from flowgres.metric_rollups where measure = 'execution' and span_seconds = %s",
            span_seconds,
        )
    )


def _span(clock: Clock) -> tuple[Any, Any]:
    now = clock.now()
    return now.replace(year=now.year - 1), now.replace(year=now.year + 1)


def _decide(random_: random.Random) -> Any:
    def decide(lease: Any, step: str) -> dict[str, Any]:
        if step != "a" and random_.random() < 0.3:
            return failed(message=f"order {random_.randrange(10**6)} is lost", code="lost", ms=random_.random() * 1000)
        return completed(1, ms=random_.random() * 5000)

    return decide


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_exact_at_any_moment(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands, seed: int
) -> None:
    draw = random.Random(seed)
    flows = [import_workflow(db, tenant, dag(name, STEPS)) for name in ("one", "two")]
    first = clock.now()
    for _ in range(40):
        match draw.randrange(6):
            case 0 | 1:
                for _ in range(draw.randrange(1, 4)):
                    start(database, tenant, draw.choice(flows), priority=draw.randrange(10))
            case 2:
                runner.work(_decide(draw))
            case 3:
                leases = runner.claim(draw.randrange(1, 5))
                decide = _decide(draw)
                runner.report([runner.result(row, decide(row, runner.step_name(row))) for row in leases])
            case 4:
                clock.advance(seconds=draw.choice([0.5, 12, 70, 4000]))
            case _:
                measure(database, limit=draw.choice([1, 3, 1000]))
        now = clock.now()
        edges = sorted(first + (now - first) * draw.random() for _ in range(2))
        assert_exact(db, tenant, *edges)
        assert_exact(db, tenant, *_span(clock))
    for _ in range(3):  # attempts
        runner.work(_decide(draw))
        clock.advance(seconds=7200)
    measure(database)
    figures = assert_exact(db, tenant, *_span(clock))
    assert sum(f["total"] for f in figures if f["measure"] == "execution") == db.value(
        "select count(*) from flowgres.executions"
    )
    assert db.column("select execution_id from flowgres.metric_open order by 1") == db.column(
        "select id from flowgres.executions where finished_at is null order by 1"
    )


def test_what_commits_late_is_measured_all_the_same(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    import_workflow(db, tenant, dag("late", STEPS))
    measure_all(database, clock)
    with database.as_role("member", tenant_id=tenant.tenant_id) as late:
        late.call("flowgres_api.start_execution", workflow="late")
        before = db.value("select measured_until from flowgres.metric_marks")
        clock.advance(seconds=300)
        for _ in range(3):
            runner.db.call("flowgres.measure_history", p_limit=1000)
        started_at = late.value("select created_at from flowgres.executions")
        assert before <= db.value("select measured_until from flowgres.metric_marks") <= started_at
    runner.work()
    clock.advance(seconds=300)
    measure(database)
    figures = assert_exact(db, tenant, *_span(clock))
    assert [(f["status"], f["total"]) for f in figures if f["measure"] == "execution"] == [("completed", 1)]
    assert _counted(db, 60) == 1


def test_who_dies_while_measuring_leaves_nothing(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("cut", STEPS)))
    runner.work()
    clock.advance(seconds=60)
    measure_once = "select flowgres.measure_history(p_limit => 10)"
    with psycopg.connect(database.dsn("runner")) as dying:
        for _ in range(3):
            dying.execute(measure_once)
        # Another one has nothing to do meanwhile, and does not wait.
        with database.connect("runner") as other:
            other.run("set lock_timeout to '1 ms'")
            assert other.value(measure_once) == 0
        dying.rollback()
    assert db.value("select count(*) from flowgres.metric_rollups") == 0
    assert_exact(db, tenant, *_span(clock))
    measure(database)
    assert db.value("select total from flowgres.metric_rollups where measure = 'execution' and span_seconds = 0") == 1
    assert_exact(db, tenant, *_span(clock))


def test_ends_while_it_is_measured_count_once(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    flow = import_workflow(db, tenant, dag("busy", STEPS))
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_executions", workflow=flow, inputs=[{}] * 300)
    clock.advance(seconds=60)
    is_over = threading.Event()

    def keep_measuring() -> None:
        with database.connect("runner") as other:
            while not is_over.is_set():
                other.call("flowgres.measure_history", p_limit=20)

    thread = threading.Thread(target=keep_measuring)
    thread.start()
    try:
        draw = random.Random(7)
        while leases := runner.claim(25):
            decide = _decide(draw)
            while leases:
                leases = runner.report(
                    [runner.result(row, decide(row, runner.step_name(row))) for row in leases], want=0
                )
            assert_exact(db, tenant, *_span(clock))
            clock.advance(seconds=1)
    finally:
        is_over.set()
        thread.join()
    clock.advance(seconds=7200)
    runner.work()
    measure(database)
    assert_exact(db, tenant, *_span(clock))
    assert _counted(db, 0) == 300


def test_clock_that_was_set_back_loses_nothing(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    flow = import_workflow(db, tenant, dag("back", STEPS))
    for shift in (0, 5000, -4000, 30, -3600, 9000):
        clock.advance(seconds=shift)
        start(database, tenant, flow)
        measure_all(database, clock)
        runner.work()
        assert_exact(db, tenant, *_span(clock))
    clock.advance(seconds=7200)
    measure(database)
    assert_exact(db, tenant, *_span(clock))
    assert _counted(db, 3600) == 6


def test_percentiles_are_at_most_five_percent_off(db: Db) -> None:
    off = db.value(
        "select max(abs(flowgres.place_seconds(flowgres.duration_place(s)) / s - 1)) from"
        " (select power(10, -5 + 12 * random()) as s from generate_series(1, 20000)) as d"
    )
    assert 0.04 < off < 0.05


def test_figures_of_spans_without_history_are_pruned(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("old", STEPS)))
    runner.work(lambda lease, step: failed(code="lost", message="x"))
    measure_all(database, clock)
    assert db.value("select count(*) from flowgres.error_rollups") == 1
    clock.advance(seconds=32 * 86400)
    while runner.db.call("flowgres.prune_metrics", p_limit=2):
        pass
    assert db.column("select distinct span_seconds from flowgres.metric_rollups") == [0]
    assert db.value("select count(*) from flowgres.error_rollups") == 0


def test_what_is_measured_already_is_not_read_again(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    flow = import_workflow(db, tenant, dag("many", [{"id": "a"}]))

    def blocks_of_one() -> int:
        """Blocks that are read to measure one more execution, by a session that has its plans."""
        for _ in range(3):
            start(database, tenant, flow)
            clock.advance(seconds=60)
            db.value("select flowgres.measure_history(p_limit => 2000)")  # notes the moment
            plan = db.value("explain (analyze, buffers, format json) select flowgres.measure_history(p_limit => 2000)")
        return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])

    few = blocks_of_one()
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        for _ in range(4):
            member.call("flowgres_api.start_executions", workflow=flow, inputs=[{}] * 5000)
    clock.advance(seconds=60)
    measure(database, limit=5000)
    db.run("update flowgres.metric_open set look_at = look_at + interval '1 day'")
    for table in ("executions", "metric_open"):
        db.run(f"vacuum (analyze) flowgres.{table}")
    assert blocks_of_one() < 2 * few


def test_tenants_that_start_nothing_cost_nothing(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("one", [{"id": "a"}])))
    runner.work()

    def blocks() -> int:
        """Blocks that are read to measure when nothing has happened, by a session that has its plans."""
        for _ in range(3):
            clock.advance(seconds=60)
            plan = db.value("explain (analyze, buffers, format json) select flowgres.measure_history(p_limit => 2000)")
        return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])

    measure_all(database, clock)
    alone = blocks()
    db.run(
        "insert into flowgres.tenants (tenant_id, name, slug)"
        " select gen_random_uuid(), 't' || g, 't-' || g from generate_series(1, 3000) as g"
    )
    # Idle today: each has something of yesterday.
    db.run(
        "insert into flowgres.executions"
        " select (jsonb_populate_record(e, jsonb_build_object('tenant_id', t.tenant_id))).*"
        " from flowgres.executions as e cross join flowgres.tenants as t where t.tenant_id <> e.tenant_id"
        " and t.tenant_id <> flowgres.system_tenant_id()"
    )
    db.run("vacuum (analyze) flowgres.executions")
    assert blocks() < 2 * alone
    db.run("delete from flowgres.executions where tenant_id <> %s", tenant.tenant_id)  # of no workflow


def test_starts_note_their_tenant_once_in_a_while_and_wait_for_nobody(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    flow = import_workflow(db, tenant, dag("noted", [{"id": "a"}]))
    with database.as_role("member", tenant_id=tenant.tenant_id) as slow:
        slow.run("set local lock_timeout to '1 s'")
        slow.call("flowgres_api.start_execution", workflow=flow)
        for _ in range(3):
            start(database, tenant, flow)
    # Two did not see each other.
    assert db.value("select count(*) from flowgres.metric_starters") == 2
    runner.work()
    clock.advance(seconds=30)
    start(database, tenant, flow)
    assert db.value("select count(*) from flowgres.metric_starters") == 3
    runner.work()
    measure_all(database, clock)
    assert _counted(db, 60) == 5
    clock.advance(seconds=300)
    measure(database)
    assert db.value("select count(*) from flowgres.metric_starters") == 0
