"""Giving up runners: only for silence in a time when somebody was there to hear them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from flowgres_cli.bundle import load_bundle
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, hands, import_workflow, outwait_lease, start
from tests.support.runner import wait_for

LEASE_SECONDS = 10
LIVE = "select count(*) from flowgres.runners where stopped_at is null"


@pytest.fixture
def single(db: Db, tenant: Tenant) -> str:
    """A workflow of one step."""
    return import_workflow(db, tenant, dag("single", [{"id": "only"}]))


@pytest.fixture
def pair(database: Database, tenant: Tenant, single: str) -> Iterator[list[Hands]]:
    """Two runners, each of which holds a step."""
    with hands(database) as first, hands(database) as second:
        for runner in (first, second):
            start(database, tenant, single)
            assert len(runner.claim(1)) == 1
        yield [first, second]


def sweeps_until_rescue(clock: Clock, sweeper: Hands, *, most: int) -> int:
    """Sweep once a second, while the sweeper is heard, until something is freed; how many sweeps that took."""
    for number in range(1, most + 1):
        clock.advance(seconds=1)
        assert sweeper.beat()["alive"]
        if sweeper.sweep():
            return number
    raise AssertionError(f"nothing was freed by {most} sweeps")


@pytest.mark.parametrize("away_seconds", [11, 60, 3600])
def test_nobody_is_given_up_and_nothing_suspected_after_the_database_was_away(
    db: Db, clock: Clock, pair: list[Hands], away_seconds: int
) -> None:
    for _ in range(3):
        clock.advance(seconds=away_seconds)
        # It is back, and each sweeps before anybody else has said a word.
        assert [runner.sweep() for runner in pair] == [0, 0]
        clock.advance(seconds=2)
        assert [runner.sweep() for runner in pair] == [0, 0]
        assert [runner.beat()["alive"] for runner in pair] == [True, True]
    rows = db.all("select capability, attempt, runner_id is not null as is_held from flowgres.work_queue")
    assert rows == [{"capability": "core", "attempt": 1, "is_held": True}] * 2


@pytest.mark.parametrize("jump_seconds", [3600, 60, -60, -3600])
def test_jump_of_the_clock_gives_up_nobody_early_and_the_dead_in_time(
    database: Database, db: Db, clock: Clock, pair: list[Hands], jump_seconds: int
) -> None:
    alive, dead = pair
    for runner in pair:
        assert (runner.sweep(), runner.beat()["alive"]) == (0, True)
    clock.advance(seconds=jump_seconds)
    assert alive.sweep() == 0
    assert db.value(LIVE) == 2
    # Silent since before the jump, of which two seconds count at most.
    assert LEASE_SECONDS - 3 <= sweeps_until_rescue(clock, alive, most=60) <= LEASE_SECONDS + 1
    assert db.column("select id::text from flowgres.runners where stopped_at is not null") == [dead.id]
    assert_invariants(db, drained=False)


def test_work_of_runners_that_all_died_goes_on_within_a_lease_of_the_next_one(
    database: Database, db: Db, clock: Clock, pair: list[Hands]
) -> None:
    clock.advance(seconds=3600)
    with hands(database) as heir:
        assert heir.sweep() == 0
        assert sweeps_until_rescue(clock, heir, most=LEASE_SECONDS + 1) >= LEASE_SECONDS - 3
        assert db.value(LIVE) == 1
        assert len(heir.claim()) == 2


def test_runner_that_never_was_heard_is_given_up(database: Database, db: Db, clock: Clock, single: str) -> None:
    with hands(database) as mute, hands(database) as alive:
        outwait_lease(db, clock, alive)
        alive.sweep()
        assert db.column("select id::text from flowgres.runners where stopped_at is not null") == [mute.id]


def test_frozen_runner_is_given_up_and_fenced(
    database: Database, db: Db, tenant: Tenant, clock: Clock, single: str
) -> None:
    start(database, tenant, single)
    with hands(database) as frozen, hands(database) as alive:
        (lease,) = frozen.claim(1)
        outwait_lease(db, clock, alive)
        assert alive.sweep() == 1
        assert frozen.beat(lease) | {"now": None} == {
            "alive": False,
            "drain": False,
            "lost": [lease["queue_id"]],
            "now": None,
        }
        frozen.report([frozen.result(lease, completed("late"))])
        (again,) = alive.claim(1)
        assert again["attempt"] == 2
        alive.report([alive.result(again, completed("in time"))])
    assert db.value("select output from flowgres.step_executions where step = 'only'") == "in time"


def test_time_counts_once_however_many_sweep(database: Database, db: Db, clock: Clock) -> None:
    watched = "select watched_seconds from flowgres.watch"
    with ExitStack() as stack:
        crowd = [stack.enter_context(hands(database)) for _ in range(5)]
        crowd[0].sweep()
        before = db.value(watched)
        for _ in range(6):
            clock.advance(seconds=1)
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda runner: runner.sweep(), crowd))
        assert 6 <= db.value(watched) - before < 7.5


def test_sweep_right_after_another_writes_nothing(database: Database, db: Db, clock: Clock) -> None:
    version = "select xmin::text || ctid::text from flowgres.watch"
    with hands(database) as first, hands(database) as second:
        clock.advance(seconds=1)
        first.sweep()
        before = db.value(version)
        second.sweep()
        assert db.value(version) == before


def test_sweep_waits_for_no_other(database: Database, db: Db, clock: Clock, pair: list[Hands]) -> None:
    clock.advance(seconds=2)
    with database.connect() as other, other.connection.transaction():
        other.run("select flowgres.keep_watch(p_now => flowgres.now())")
        db.run("set statement_timeout to '3s'")
        assert db.value("select flowgres.rescue_expired_leases(200)") == 0


def test_runner_whose_row_is_held_is_heard_when_it_is_free(
    database: Database, db: Db, clock: Clock, pair: list[Hands]
) -> None:
    held, alive = pair
    with ThreadPoolExecutor() as pool, database.connect() as operator:
        with operator.connection.transaction():
            operator.run("update flowgres.runners set drained_at = now() where id = %s", held.id)
            beat = pool.submit(held.beat)
            blocked = (
                "select count(*) from pg_stat_activity where query like '%heartbeat%' and wait_event_type = 'Lock'"
            )
            wait_for(lambda: db.value(blocked) == 1, what="the heartbeat that waits")
            outwait_lease(db, clock, alive)
            alive.db.run("set statement_timeout to '3s'")
            assert alive.sweep() == 0
        assert (beat.result()["alive"], beat.result()["drain"]) == (True, True)
        assert alive.sweep() == 0
    assert db.value(LIVE) == 2


def test_heartbeats_and_sweeps_leave_nothing_to_vacuum(database: Database, db: Db, clock: Clock) -> None:
    with hands(database) as runner:
        for _ in range(100):
            clock.advance(seconds=1)
            runner.beat()
            runner.sweep()
    updates = (
        "select relname, n_tup_upd::int as updates, n_tup_hot_upd::int as hot from pg_stat_user_tables"
        " where relname in ('runners', 'watch') order by relname"
    )
    wait_for(lambda: all(row["updates"] >= 100 for row in db.all(updates)), what="the statistics")
    assert [row for row in db.all(updates) if row["hot"] < row["updates"] - 5] == []


def test_heartbeat_with_a_hundred_leases_reads_little(database: Database, db: Db, tenant: Tenant, single: str) -> None:
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_executions", workflow=single, inputs=[{}] * 3000)
    with hands(database) as runner:
        leases = [[str(r["tenant_id"]), str(r["execution_id"]), r["queue_id"], r["token"]] for r in runner.claim(100)]
        assert len(leases) == 100
        query = "explain (analyze, buffers, format json) select flowgres.heartbeat(%s, %s, '{}')"
        plans = [runner.db.value(query, runner.id, leases)[0]["Plan"] for _ in range(3)]
    # Four pages for each lease, through the primary key, and a few for the rest.
    assert plans[-1]["Shared Hit Blocks"] + plans[-1]["Shared Read Blocks"] < 100 * 5 + 100


def test_upgrade_shortens_the_lease_only_where_nobody_chose_it(database: Database, db: Db) -> None:
    current = "select name, value::int from flowgres.settings where name in ('lease_seconds', 'heartbeat_seconds')"
    (migration,) = (m for m in load_bundle().migrations if m.name.endswith("_watch.sql"))
    change = "update flowgres.settings" + migration.text.partition("update flowgres.settings")[2]
    assert {row["name"]: row["value"] for row in db.all(current)} == {"lease_seconds": 10, "heartbeat_seconds": 2}

    value = "case name when 'lease_seconds' then '30'::jsonb else '3' end"
    old = f"update flowgres.settings set value = {value} where name in"
    db.run(f"{old} ('lease_seconds', 'heartbeat_seconds')")
    db.run(change)
    assert {row["name"]: row["value"] for row in db.all(current)} == {"lease_seconds": 10, "heartbeat_seconds": 2}

    db.run(f"{old} ('heartbeat_seconds')")
    with database.connect("operator") as operator:
        operator.run("select flowgres_api.set_setting(name => 'lease_seconds', value => '30')")
    db.run(change)
    assert {row["name"]: row["value"] for row in db.all(current)} == {"lease_seconds": 30, "heartbeat_seconds": 2}

    db.run("update flowgres.settings set value = '60' where name = 'lease_seconds'")
    db.run(change)
    assert {row["name"]: row["value"] for row in db.all(current)} == {"lease_seconds": 60, "heartbeat_seconds": 2}
