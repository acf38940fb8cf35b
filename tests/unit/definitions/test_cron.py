"""Cron expressions: five fields or an alias, a real next fire, known time zones."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from flowgres_definitions.cron import check_cron


@pytest.mark.parametrize(
    "expression",
    ["* * * * *", "0 6 * * 1-5", "*/15 9-17 * * mon-fri", "0 0 L * *", "@daily", "0 0 29 2 *", "0 0 * jan,JUL sun"],
)
def test_expression_is_accepted(expression: str) -> None:
    assert check_cron(expression, "Europe/Berlin") == []


@pytest.mark.parametrize(
    "expression",
    [
        "",
        " ",
        "* * * *",
        "* * * * * *",
        "*  * * * *",
        "* * * * *\n",
        "R * * * *",
        "H H * * *",
        "0 0 31 2 *",
        "0 0 30 feb *",
        "60 * * * *",
        "@reboot",
        "@every 1s",
        "0 0 * * mon#",
        "0,,1 * * * *",
        "\u0661 * * * *",
        "0-59," * 60 + "1 * * * *",
    ],
)
def test_expression_is_refused(expression: str) -> None:
    started = time.process_time()

    assert [problem.code for problem in check_cron(expression)] == ["cron_invalid"]
    assert time.process_time() - started < 0.2


def test_leap_day_is_found_across_a_century_without_one() -> None:
    assert check_cron("0 0 29 2 *", now=datetime(2096, 3, 1, tzinfo=UTC)) == []


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "/etc/localtime", "Europe", "UTC\0"])
def test_time_zone_is_refused(zone: str) -> None:
    assert [problem.path for problem in check_cron("@daily", zone)] == ["timezone"]


def test_both_mistakes_are_told_at_once() -> None:
    assert [problem.code for problem in check_cron("x", "y z")] == ["cron_invalid", "timezone_unknown"]
