"""Schedules: what makes them, what they fire, and that each slot starts once."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Row
from tests.support.definitions import Author, Definition, log_step, workflow

UTC = dt.UTC
NOON = dt.datetime(2026, 6, 1, 12, 0, 10, tzinfo=UTC)
"""A Monday, ten seconds after a slot."""


def cron(expression: str = "* * * * *", **members: Any) -> Definition:
    return {"type": "cron", "cron": expression, **members}


def scheduled(*triggers: Definition, name: str = "w", **members: Any) -> Definition:
    return workflow(log_step("a"), name=name, triggers=list(triggers), **members)


class Schedules:
    """A tenant's schedules, at noon."""

    def __init__(self, author: Author, clock: Clock) -> None:
        self.author, self.db, self.clock = author, author.db, clock
        clock.set(NOON)

    def rows(self, name: str = "w") -> list[Row]:
        return self.db.all(
            "select * from flowgres_api.schedules where tenant_id = %s and workflow_name = %s order by place",
            self.author.tenant_id,
            name,
        )

    def row(self, name: str = "w") -> Row:
        (row,) = self.rows(name)
        return row

    def add(self, *triggers: Definition, **members: Any) -> list[Row]:
        """Make a version with these triggers the active one."""
        self.author.confirm(self.author.import_(scheduled(*triggers, **members))["version_id"])
        return self.rows(members.get("name", "w"))

    def fire(self, limit: int = 100, db: Db | None = None) -> Row:
        return (db or self.db).one("select * from flowgres.fire_schedules(%s)", limit)

    def slots(self) -> list[str]:
        """What the executions that schedules have started were scheduled for."""
        return self.db.column(
            "select e.trigger ->> 'scheduled_for' from flowgres.executions as e"
            " where e.tenant_id = %s and e.trigger_type = 'cron' order by 1",
            self.author.tenant_id,
        )

    def call(self, function: str, **arguments: Any) -> Any:
        return self.db.call(f"flowgres.{function}_schedule", **{f"p_{name}": v for name, v in arguments.items()})


@pytest.fixture
def schedules(database: Database, db: Db, clock: Clock) -> Iterator[Schedules]:
    with database.connect() as own:
        yield Schedules(Author(database, own), clock)


def at(text: str) -> dt.datetime:
    """A time of that Monday."""
    hour, minute, *second = (int(part) for part in text.split(":"))
    return NOON.replace(hour=hour, minute=minute, second=second[0] if second else 0)


def noon(*minutes: int) -> list[str]:
    return [f"2026-06-01T12:{minute:02}:00Z" for minute in minutes]


def test_import_makes_a_schedule_and_names_it(schedules: Schedules) -> None:
    answer = schedules.author.import_(scheduled(cron("0 6 * * 1-5", timezone="Europe/Berlin", jitter="5m")))
    row = schedules.row()
    assert row["next_at"] == dt.datetime(2026, 6, 2, 4, tzinfo=UTC)
    assert (row["status"], row["catch_up"], row["jitter_seconds"]) == ("active", "latest", 300)
    assert row["in_words"] == "at 06:00 on Monday to Friday, Europe/Berlin"
    assert [told["id"] for told in answer["schedules"]] == [str(row["id"])]
    assert answer["warnings"] == []


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


def test_paused_schedule_fires_nothing_and_goes_on_from_now(schedules: Schedules) -> None:
    schedules.add(cron(catch_up="all"))
    assert schedules.call("pause", schedule="w")["status"] == "paused"
    assert schedules.call("pause", schedule="w")["status"] == "paused"
    schedules.clock.set(at("12:30:10"))
    assert schedules.fire()["p_picked"] == 0
    schedules.add(cron(catch_up="all", input={"n": 2}))
    assert schedules.row()["status"] == "paused"
    assert schedules.call("resume", schedule="w")["status"] == "active"
    schedules.clock.set(at("12:31"))
    schedules.fire()
    assert schedules.slots() == noon(31)
    actions = schedules.db.column("select action from flowgres.audit_log where action like 'schedule%%' order by id")
    assert actions == ["schedule_paused", "schedule_resumed"]


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


def test_schedules_follow_the_versions_of_their_workflow(schedules: Schedules) -> None:
    hourly, daily, weekly = cron("0 * * * *"), cron("0 3 * * *"), cron("0 4 * * 0")
    first = schedules.add(hourly, daily)
    schedules.call("pause", schedule=str(first[1]["id"]))
    # One before them, and one of them changed.
    second = schedules.add(weekly, daily, hourly | {"catch_up": "all"})
    assert [row["id"] for row in second[1:]] == [first[1]["id"], first[0]["id"]]
    assert [row["status"] for row in second] == ["active", "paused", "active"]
    assert second[2]["catch_up"] == "all"
    changed = schedules.add(cron("5 4 * * 0"))
    assert [row["id"] for row in changed] == [second[0]["id"]]
    assert changed[0]["next_at"] == dt.datetime(2026, 6, 7, 4, 5, tzinfo=UTC)
    schedules.db.call("flowgres.activate_workflow", p_workflow="w", p_version=1)
    assert [row["cron"] for row in schedules.rows()] == ["0 * * * *", "0 3 * * *"]


def test_inactive_workflow_keeps_its_schedules_and_an_archived_one_has_none(schedules: Schedules) -> None:
    (before,) = schedules.add(cron(catch_up="all"))
    schedules.db.call("flowgres.deactivate_workflow", p_workflow="w")
    schedules.clock.set(at("12:20:10"))
    assert schedules.fire()["p_picked"] == 0
    assert schedules.row()["status"] == "inactive"
    schedules.db.call("flowgres.activate_workflow", p_workflow="w")
    after = schedules.row()
    assert (after["id"], after["status"], after["next_at"]) == (before["id"], "active", at("12:21"))
    schedules.db.call("flowgres.archive_workflow", p_workflow="w")
    assert schedules.rows() == []
    schedules.db.call("flowgres.activate_workflow", p_workflow="w")
    assert schedules.row()["id"] != before["id"]
    schedules.db.call("flowgres.delete_workflow", p_workflow="w")
    assert schedules.rows() == []


def test_version_that_is_checked_waits_with_its_schedule(schedules: Schedules) -> None:
    schedules.author.confirm(schedules.author.import_(scheduled(cron("0 1 * * *")))["version_id"])
    waiting = schedules.author.import_(scheduled(cron("0 2 * * *")))
    assert schedules.row()["cron"] == "0 1 * * *"
    schedules.author.confirm(waiting["version_id"])
    assert schedules.row()["cron"] == "0 2 * * *"


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


def test_tenants_take_turns(schedules: Schedules, database: Database) -> None:
    schedules.add(*[cron(input={"n": n}) for n in range(50)], name="many")
    with database.connect() as db:
        other = Author(database, db)
        other.import_(scheduled(cron()))
    schedules.clock.set(at("12:01"))
    schedules.fire(2)
    assert schedules.db.value("select count(distinct tenant_id) from flowgres.executions") == 2


def test_tenant_has_a_bounded_number(schedules: Schedules) -> None:
    schedules.db.run("update flowgres.settings set value = '3' where name = 'max_schedules'")
    schedules.add(cron(), cron())
    schedules.add(cron(), cron(), cron())
    with pytest.raises(psycopg.Error, match="more than the 3 of one tenant") as refused:
        schedules.add(cron(), name="other")
    assert refused.value.diag.constraint_name == "too_many_schedules"


def test_backfill_starts_each_slot_once(schedules: Schedules) -> None:
    schedules.add(cron("*/10 * * * *"))
    schedules.clock.set(at("13:00"))
    schedules.fire()
    given = {"schedule": "w", "since": at("12:00"), "until": at("14:00"), "max": 1000}
    answer = schedules.call("backfill", **given)
    assert (answer["slots"], answer["started"], answer["passed_over"]) == (7, 6, 1)
    assert schedules.call("backfill", **given)["started"] == 0
    assert schedules.slots() == [*noon(0, 10, 20, 30, 40, 50), "2026-06-01T13:00:00Z"]
    with pytest.raises(psycopg.Error) as refused:
        schedules.call("backfill", **given | {"max": 6})
    assert refused.value.diag.constraint_name == "too_many_slots"


def test_backfill_leaves_what_is_due_to_the_scheduler(schedules: Schedules) -> None:
    schedules.add(cron())
    schedules.clock.set(at("12:01"))
    answer = schedules.call("backfill", schedule="w", since=at("12:00"), until=at("12:01"), max=10)
    assert answer["started"] == 1
    schedules.fire()
    assert schedules.slots() == noon(0, 1)


def test_trigger_starts_now_and_is_no_slot(schedules: Schedules) -> None:
    schedules.add(cron("0 0 1 1 *", input={"n": 3}))
    schedules.call("pause", schedule="w")
    answer = schedules.call("trigger", schedule="w")
    assert schedules.db.value("select input from flowgres.executions where id = %s", answer["execution_id"]) == {"n": 3}
    assert schedules.db.value("select count(*) from flowgres.schedule_slots") == 0


def test_preview_tells_the_next_ten(schedules: Schedules) -> None:
    schedules.add(cron("30 2 * * *", timezone="Europe/Berlin"))
    told = schedules.call("preview", schedule="w", cron=None, timezone=None, count=10)
    assert len(told["slots"]) == 10
    assert told["slots"][0] == {
        "slot": "2026-06-02T00:30:00Z",
        "local_time": "2026-06-02T02:30:00",
        "begins_at": "2026-06-02T00:30:00Z",
    }
    other = schedules.call("preview", schedule=None, cron="@hourly", timezone=None, count=2)
    assert [slot["slot"] for slot in other["slots"]] == ["2026-06-01T13:00:00Z", "2026-06-01T14:00:00Z"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"schedule": "nobody"}, "schedule_not_found"),
        ({"schedule": "two"}, "schedule_ambiguous"),
        ({"cron": "x"}, "cron_invalid"),
        ({"cron": "@daily", "timezone": "CEST"}, "timezone_unknown"),
        ({}, "argument_invalid"),
        ({"cron": "@daily", "count": 0}, "argument_invalid"),
    ],
)
def test_mistakes_are_told(schedules: Schedules, arguments: dict[str, Any], code: str) -> None:
    schedules.add(cron(), cron("@daily"), name="two")
    given = {"schedule": None, "cron": None, "timezone": None, "count": 10} | arguments
    with pytest.raises(psycopg.Error) as refused:
        schedules.call("preview", **given)
    assert refused.value.diag.constraint_name == code


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
