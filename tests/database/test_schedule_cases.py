"""The cases of kind `cron`, by what an import makes of them and by what they fire."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.cases import Case, load_cases
from tests.support.database import Database
from tests.support.schedules import NOON, Schedules, cron

CASES = load_cases("cron")
FIRING = [case for case in CASES if "fires" in case.outcomes]
JUDGED = [case for case in CASES if case not in FIRING]


@pytest.mark.parametrize("case", JUDGED, ids=str)
def test_import_judges_the_expression(case: Case, schedules: Schedules) -> None:
    trigger = cron(case.input["cron"], timezone=case.input.get("tz", "UTC"))
    started = time.process_time()
    if "accept" in case.outcomes:
        schedules.add(trigger)
        assert schedules.row()["status"] == "active"
    else:
        with pytest.raises(psycopg.Error) as refused:
            schedules.add(trigger)
        assert refused.value.diag.constraint_name == "definition_invalid"
        assert schedules.rows() == []
    assert (time.process_time() - started) * 1000 < case.expectation.get("max_ms", 200)


@pytest.mark.parametrize("case", [case for case in FIRING if "window" in case.input], ids=str)
def test_slots_of_a_window_fire(case: Case, schedules: Schedules) -> None:
    at, end = (dt.datetime.fromisoformat(text) for text in case.input["window"])
    schedules.clock.set(at)
    schedules.add(cron(case.input["cron"], timezone=case.input["tz"], catch_up="all"))
    while at < end:
        at += dt.timedelta(minutes=15)
        schedules.clock.set(at)
        schedules.fire()
    assert len(schedules.slots()) == case.input["count"]


@pytest.mark.parametrize("case", [case for case in FIRING if "downtime_s" in case.input], ids=str)
def test_downtime_is_caught_up_by_policy(case: Case, schedules: Schedules) -> None:
    schedules.add(cron(case.input["cron"], catch_up=case.input["policy"]))
    schedules.clock.set(NOON + dt.timedelta(seconds=case.input["downtime_s"]))
    schedules.fire()
    assert len(schedules.slots()) == case.input["count"]


@pytest.mark.parametrize("case", [case for case in FIRING if "schedulers" in case.input], ids=str)
def test_schedulers_at_once_start_one_execution_for_each_slot(
    case: Case, schedules: Schedules, database: Database
) -> None:
    schedules.add(cron(case.input["cron"]))

    def scheduler() -> int:
        with database.connect("runner") as db:
            return sum(schedules.fire(10, db)["p_started"] for _ in range(20))

    started = 0
    for minute in range(1, case.input["slots"] + 1):
        schedules.clock.set(NOON.replace(minute=minute, second=0))
        with ThreadPoolExecutor(case.input["schedulers"]) as pool:
            started += sum(pool.map(lambda _: scheduler(), range(case.input["schedulers"])))
    assert (started, len(schedules.slots())) == (case.input["count"], case.input["count"])


def test_every_case_is_run() -> None:
    kinds = ("window", "downtime_s", "schedulers")
    assert all(any(kind in case.input for kind in kinds) for case in FIRING)
