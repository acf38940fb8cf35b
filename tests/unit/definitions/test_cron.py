"""Cron expressions: five fields or an alias, a real next fire, known time zones."""

from __future__ import annotations

import itertools
import random
import time
from datetime import date, datetime

import pytest
from croniter import croniter

from flowgres_definitions.cron import Fields, check_cron, next_day, read_cron


def read(expression: str) -> Fields:
    fields = read_cron(expression)
    assert isinstance(fields, Fields), fields
    return fields


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "* * * * *",
            "0 6 * * 1-5",
            "*/15 9-17 * * mon-fri",
            "0 0 L * *",
            "@daily",
            "0 0 29 2 *",
            "0 0 * jan,JUL sun",
        ),
        *(
            "*  * *\t* *",
            " * * * * * ",
            " @daily\t",
            "0 0 * * fri-sun",
            "0 0 * * 5-7",
            "*,1-30 * * * *",
            "0 0 15,L * *",
        ),
        *("0 0 * * fri#2", "0 0 * * FRI#L", "0 0 * * 5l,mon#1,sun", "0 0 */28 2 */6"),
    ],
)
def test_expression_is_accepted(expression: str) -> None:
    assert check_cron(expression, "Europe/Berlin") == []


@pytest.mark.parametrize(
    "expression",
    [
        *("", " ", "* * * *", "* * * * * *", "* * * * *\n", "*\n* * * *", "R * * * *", "H H * * *", "? * * * *"),
        *("0 0 31 2 *", "0 0 30 feb *", "60 * * * *", "* 24 * * *", "0 0 0 * *", "0 0 * 0 *", "0 0 * * 8"),
        *("@reboot", "@every 1s", "@Daily", "@daily * * * *", "0 0 * * mon#", "0 0 * * mon#6", "0,,1 * * * *"),
        *("\u0661 * * * *", "0-59," * 60 + "1 * * * *", "*/0 * * * *", "*/61 * * * *", "*/100 * * * *", "5/15 * * * *"),
        *("22-2 * * * *", "0 0 * * fri-mon", "0 0 * * 5-0", "/5 * * * *", "1- * * * *", "0 0 L, * *", "0 0 LW * *"),
        *("0 0 * feb-jan *", "mon * * * *", "0 0 * mon *"),
    ],
)
def test_expression_is_refused(expression: str) -> None:
    started = time.process_time()

    assert [problem.code for problem in check_cron(expression)] == ["cron_invalid"]
    assert time.process_time() - started < 0.2


def test_leap_day_is_found_across_a_century_without_one() -> None:
    assert next_day(read("0 0 29 2 *"), date(2096, 3, 1)) == date(2104, 2, 29)


def test_either_day_is_enough_where_both_count() -> None:
    days = [day for day in range(1, 15) if next_day(read("0 0 1 * mon"), date(2025, 9, day)) == date(2025, 9, day)]
    assert days == [1, 8]
    restricted = read("0 12 1-31 * mon")
    assert next_day(restricted, date(2025, 10, 7)) == date(2025, 10, 7)
    free = read("0 12 * * mon")
    assert next_day(free, date(2025, 10, 7)) == date(2025, 10, 13)


def test_days_are_those_of_croniter() -> None:
    chance = random.Random(4)
    days = ["*", "1", "31", "1-10", "*/2", "5,20", "10-20/3", "L"]
    months = ["*", "2", "jan-mar", "*/3", "6,12"]
    weekdays = ["*", "mon", "1-5", "sun", "7", "0,3", "*/2", "5-7", "fri#2", "wed#1"]
    # croniter wants both days where one of them is a second Friday.
    every = [given for given in itertools.product(days, months, weekdays) if given[0] == "*" or "#" not in given[2]]
    for day, month, weekday in chance.sample(every, 200):
        expression = f"0 0 {day} {month} {weekday}"
        if (day, month, weekday) == ("31", "2", "*"):
            continue
        fields = read(expression)
        expected = croniter(expression, datetime(2025, 12, 31), max_years_between_matches=50)
        since = date(2026, 1, 1)
        for _ in range(5):
            found = next_day(fields, since)
            assert found == expected.get_next(datetime).date(), expression
            assert found is not None
            since = date.fromordinal(found.toordinal() + 1)


@pytest.mark.parametrize(
    "zone",
    [
        *("Mars/Olympus", "../../etc/passwd", "", "/etc/localtime", "Europe", "UTC\0", "europe/berlin", "CEST"),
        *("EST5EDT4", "<+03>-3", "posix/Europe/Berlin", "right/UTC", "localtime", "Factory", "Europe/Berlin\n"),
    ],
)
def test_time_zone_is_refused(zone: str) -> None:
    assert [problem.path for problem in check_cron("@daily", zone)] == ["timezone"]


def test_both_mistakes_are_told_at_once() -> None:
    assert [problem.code for problem in check_cron("x", "y z")] == ["cron_invalid", "timezone_unknown"]
