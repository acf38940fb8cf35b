"""Schedules: what makes and changes them, what people do with them, and how they are told."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.schedules import UTC, Schedules, at, cron, noon, scheduled


def test_import_makes_a_schedule_and_names_it(schedules: Schedules) -> None:
    answer = schedules.author.import_(scheduled(cron("0 6 * * 1-5", timezone="Europe/Berlin", jitter="5m")))
    row = schedules.row()
    assert row["next_at"] == dt.datetime(2026, 6, 2, 4, tzinfo=UTC)
    assert (row["status"], row["catch_up"], row["jitter_seconds"]) == ("active", "latest", 300)
    assert row["in_words"] == "at 06:00 on Monday to Friday, Europe/Berlin"
    assert [told["id"] for told in answer["schedules"]] == [str(row["id"])]
    assert answer["warnings"] == []


def test_trigger_without_a_zone_goes_by_the_settings(schedules: Schedules) -> None:
    daily = {"type": "cron", "cron": "0 6 * * *"}
    setting = "update flowgres.settings set value = %s::jsonb where name = 'cron_timezone' and tenant_id = %s"
    schedules.db.run(setting, '"Asia/Tokyo"', "00000000-0000-0000-0000-000000000000")
    (row,) = schedules.add(daily)
    assert (row["timezone"], row["next_at"]) == ("Asia/Tokyo", dt.datetime(2026, 6, 1, 21, tzinfo=UTC))
    assert schedules.db.call("flowgres_api.preview_schedule", cron="0 6 * * *")["timezone"] == "Asia/Tokyo"
    schedules.db.call("flowgres_api.set_setting", name="cron_timezone", value=Jsonb("Europe/Berlin"))
    assert schedules.row()["timezone"] == "Asia/Tokyo"
    (row,) = schedules.add({**daily, "input": {"n": 2}})
    assert row["timezone"] == "Europe/Berlin"
    (row,) = schedules.add({**daily, "timezone": "UTC"})
    assert row["timezone"] == "UTC"


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


def test_upgrade_makes_the_schedules_of_what_is_active(schedules: Schedules) -> None:
    schedules.add(cron("0 6 * * *"))
    schedules.add(cron(), name="paused")
    schedules.call("pause", schedule="paused")
    schedules.db.run(
        "delete from flowgres.schedules as s using flowgres.workflows as w where w.id = s.workflow_id and w.name = 'w'"
    )
    apply = Path(__file__).parents[2] / "database" / "schema" / "schedules" / "apply.sql"
    with schedules.db.connection.transaction():
        schedules.db.run(apply.read_text())
    assert schedules.row()["next_at"] == dt.datetime(2026, 6, 2, 6, tzinfo=UTC)
    assert schedules.row("paused")["status"] == "paused"


def test_words_say_when_it_is(schedules: Schedules) -> None:
    for expression, words in {
        "* * * * *": "every minute",
        "*/15 * * * *": "every 15 minutes",
        "*/15 9-17 * * mon-fri": "every 15 minutes of the hours 9 to 17 on Monday to Friday",
        "@hourly": "every hour",
        "0 */6 * * *": "at 00:00, 06:00, 12:00 and 18:00 every day",
        "5 * * * *": "at minute 5 of every hour",
        "0 6,18 * * *": "at 06:00 and 18:00 every day",
        "0 0 1,15,L * *": "at 00:00 on day 1 and 15 and the last day of the month",
        "0 9 * jan,jul mon#1": "at 09:00 on the first Monday of the month in January and July",
        "0 0 13 * fri": "at 00:00 on day 13 of the month or on Friday",
        "0 22 * * fri#L,sat": "at 22:00 on Saturday and the last Friday of the month",
        "@yearly": "at 00:00 on day 1 of the month in January",
    }.items():
        told = schedules.call("preview", schedule=None, cron=expression, timezone=None, count=1)
        assert told["in_words"] == f"{words}, UTC"


def test_tenant_has_a_bounded_number(schedules: Schedules) -> None:
    schedules.db.run("update flowgres.settings set value = '3' where name = 'max_schedules'")
    schedules.add(cron(), cron())
    schedules.add(cron(), cron(), cron())
    with pytest.raises(psycopg.Error, match="more than the 3 of one tenant") as refused:
        schedules.add(cron(), name="other")
    assert refused.value.diag.constraint_name == "too_many_schedules"
    assert refused.value.diag.message_hint == (
        "Archive workflows that are not needed, or ask an operator to raise max_schedules."
    )


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
