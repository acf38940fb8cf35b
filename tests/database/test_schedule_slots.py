"""What schedules fire: each slot once, whatever clocks, schedulers and tenants do."""

from __future__ import annotations

import datetime as dt
import re
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.support.database import Database
from tests.support.definitions import Author
from tests.support.runner import wait_for
from tests.support.schedules import NOON, Schedules, at, cron, noon, scheduled


def test_slot_starts_an_execution_once(schedules: Schedules) -> None:
    schedules.add(cron(input={"n": 1}))
    assert schedules.fire()["p_started"] == 0
    schedules.clock.set(at("12:01"))
    fired = schedules.fire()
    assert (fired["p_picked"], fired["p_started"]) == (1, 1)
    assert 59 < fired["p_next_seconds"] <= 60
    assert schedules.fire()["p_started"] == 0
    assert schedules.slots() == noon(1)
    execution = schedules.db.one("select * from flowgres.executions where trigger_type = 'cron'")
    row = schedules.row()
    assert execution["created_by"] == f"schedule:{row['id']}"
    assert execution["trigger"]["schedule"] == str(row["id"])
    assert execution["input"] == {"n": 1}
    assert (row["last_slot"], row["last_execution_id"], row["last_error"]) == (at("12:01"), execution["id"], None)


@pytest.mark.parametrize(("catch_up", "minutes"), [("none", [45]), ("latest", [45]), ("all", list(range(36, 46)))])
def test_slots_that_were_missed_are_caught_up(schedules: Schedules, catch_up: str, minutes: list[int]) -> None:
    schedules.add(cron(catch_up=catch_up))
    schedules.clock.set(at("12:45"))
    schedules.fire()
    assert schedules.slots() == noon(*minutes)
    assert schedules.row()["next_at"] == at("12:46")


def test_a_year_without_a_scheduler_is_caught_up_at_once(schedules: Schedules) -> None:
    schedules.add(cron(), cron("0 0 1 1 *", catch_up="all"), cron("*/5 3 * * *", catch_up="all"))
    schedules.clock.set(NOON + dt.timedelta(days=400))
    assert schedules.fire()["p_started"] == 1 + 1 + 10


def test_none_starts_nothing_that_is_late(schedules: Schedules) -> None:
    schedules.add(cron("0 * * * *", catch_up="none"))
    schedules.clock.set(at("13:01:01"))
    assert schedules.fire()["p_started"] == 0
    assert schedules.row()["next_at"] == at("14:00")


def test_schedule_ends(schedules: Schedules) -> None:
    schedules.add(cron(until="2026-06-01T12:02:00Z", catch_up="all"))
    schedules.clock.set(at("12:10"))
    schedules.fire()
    assert schedules.slots() == noon(1, 2)
    assert schedules.row()["status"] == "ended"


def test_jitter_is_the_same_for_all_who_ask(schedules: Schedules) -> None:
    schedules.add(cron("0 * * * *", jitter=600))
    (told,) = schedules.call("preview", schedule="w", cron=None, timezone=None, count=1)["slots"]
    schedules.clock.set(at("13:00"))
    schedules.fire()
    begins = schedules.db.value("select scheduled_at from flowgres.executions")
    assert begins.replace(microsecond=0) == dt.datetime.fromisoformat(told["begins_at"])
    assert at("13:00") < begins < at("13:10")
    assert schedules.db.value("select due_at from flowgres.work_queue") == begins


def test_refused_start_loses_its_slot_alone(schedules: Schedules) -> None:
    inputs = {"n": {"type": "integer", "required": True}}
    answer = schedules.author.import_(scheduled(cron(), name="bad", inputs=inputs))
    schedules.author.confirm(answer["version_id"])
    assert [warning["code"] for warning in answer["warnings"]] == ["schedule_input_invalid"]
    schedules.add(cron(), name="good")
    schedules.clock.set(at("12:01"))
    fired = schedules.fire()
    assert (fired["p_picked"], fired["p_started"]) == (2, 1)
    row = schedules.row("bad")
    assert row["last_error"]["code"] == "input_invalid"
    assert row["next_at"] == at("12:02")
    assert row["last_slot"] is None
    schedules.add(cron(input={"n": 1}), name="bad", inputs=inputs)
    schedules.clock.set(at("12:02"))
    schedules.fire()
    assert schedules.row("bad")["last_error"] is None


def test_suspended_tenant_starts_nothing(schedules: Schedules) -> None:
    schedules.add(cron())
    schedules.db.run("update flowgres.tenants set status = 'suspended'")
    schedules.clock.set(at("12:01"))
    assert schedules.fire()["p_started"] == 0
    assert schedules.row()["last_error"]["code"] == "tenant_suspended"


def test_clock_that_goes_back_fires_nothing_twice(schedules: Schedules) -> None:
    schedules.add(cron())
    for time in ("12:01", "12:02", "12:01:30", "12:02:30", "12:00:59", "12:03"):
        schedules.clock.set(at(time))
        schedules.fire()
    assert schedules.slots() == noon(1, 2, 3)


def test_clock_that_was_far_ahead_silences_nothing(schedules: Schedules) -> None:
    schedules.add(cron())
    schedules.clock.set(NOON + dt.timedelta(days=30))
    schedules.fire()
    schedules.clock.set(at("12:05:10"))
    assert schedules.db.value("select flowgres.realign_schedules(10)") == 1
    assert schedules.db.value("select flowgres.realign_schedules(10)") == 0
    schedules.clock.set(at("12:06"))
    schedules.fire()
    assert schedules.slots() == [*noon(6), "2026-07-01T12:00:00Z"]


def test_two_schedulers_share_what_is_due(schedules: Schedules, database: Database) -> None:
    for number in range(6):
        schedules.add(cron(), name=f"w{number}")
    schedules.clock.set(at("12:01"))
    with database.connect("runner") as one, database.connect("runner") as two, one.connection.transaction():
        assert schedules.fire(3, one)["p_started"] == 3
        assert schedules.fire(10, two)["p_started"] == 3
        assert schedules.fire(10, two)["p_started"] == 0
    assert schedules.slots() == noon(1) * 6


def test_scheduler_that_is_killed_between_has_started_nothing(schedules: Schedules, database: Database) -> None:
    schedules.add(cron())
    schedules.clock.set(at("12:01"))
    with database.connect("runner") as dying:
        dying.connection.autocommit = False
        assert schedules.fire(10, dying)["p_started"] == 1
        schedules.db.run("select pg_terminate_backend(%s)", dying.connection.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            dying.connection.commit()
    assert schedules.slots() == []
    assert schedules.fire()["p_started"] == 1


def test_version_that_comes_while_a_schedule_is_fired_waits_for_that(schedules: Schedules, database: Database) -> None:
    (before,) = schedules.add(cron())
    schedules.clock.set(at("12:01"))
    version = schedules.author.import_(scheduled(cron(input={"n": 2})))["version_id"]
    with database.connect("runner") as firing, ThreadPoolExecutor(1) as pool:
        with firing.connection.transaction():
            assert schedules.fire(10, firing)["p_started"] == 1
            confirmed = pool.submit(schedules.author.confirm, version)
            with database.connect() as looking:
                wait_for(lambda: looking.value("select exists (select from pg_locks where not granted)"))
        assert confirmed.result(timeout=10)
    after = schedules.row()
    assert (after["id"], after["next_at"], after["input"]) == (before["id"], at("12:02"), {"n": 2})
    assert (after["last_slot"], schedules.slots()) == (at("12:01"), noon(1))


def test_copy_of_an_installation_fires_nothing(schedules: Schedules) -> None:
    schedules.add(cron())
    schedules.db.run("update flowgres.installation set place = 'elsewhere'")
    schedules.clock.set(at("12:01"))
    with pytest.raises(psycopg.Error) as refused:
        schedules.fire()
    assert refused.value.diag.constraint_name == "installation_copied"
    assert schedules.row()["next_at"] == at("12:01")


def test_tenants_take_turns(schedules: Schedules, database: Database) -> None:
    schedules.add(*[cron(input={"n": n}) for n in range(50)], name="many")
    with database.connect() as db:
        other = Author(database, db)
        other.import_(scheduled(cron()))
    schedules.clock.set(at("12:01"))
    schedules.fire(2)
    assert schedules.db.value("select count(distinct tenant_id) from flowgres.executions") == 2


def test_slots_are_pruned_when_their_time_is_over(schedules: Schedules) -> None:
    schedules.add(cron())
    schedules.clock.set(at("12:01"))
    schedules.fire()
    assert schedules.db.value("select flowgres.prune(10)") == 0
    schedules.clock.set(NOON + dt.timedelta(days=31))
    assert schedules.db.value("select flowgres.prune(10)") == 1
    assert schedules.db.value("select count(*) from flowgres.schedule_slots") == 0


def test_looking_for_what_is_due_reads_nothing_else(schedules: Schedules) -> None:
    schedules.add(cron())
    schedules.db.run(
        "insert into flowgres.schedules"
        " select (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid()))).*"
        " from flowgres.schedules as s cross join generate_series(1, 10000)"
    )
    schedules.db.run("analyze flowgres.schedules")
    plan = "\n".join(
        schedules.db.column(
            "explain (analyze, costs off, timing off, summary off, buffers)"
            " select i.next_at from flowgres.schedules as i where i.next_at is not null order by i.next_at limit 1"
        )
    )
    assert "Index Only Scan using schedules_due_idx" in plan
    (hits,) = {int(number) for number in re.findall(r"shared hit=(\d+)", plan.split("Planning")[0])}
    assert hits <= 4
    assert schedules.fire()["p_picked"] == 0
