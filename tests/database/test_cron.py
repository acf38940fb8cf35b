"""Cron in SQL, beside a calculation of its own kind: a walk along the clocks of a zone."""

from __future__ import annotations

import datetime as dt

import pytest
from psycopg.rows import tuple_row

from tests.support.database import Db

BEGIN, END = dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC), dt.datetime(2028, 1, 1, 12, tzinfo=dt.UTC)
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Apia",
    "America/St_Johns",
    "Africa/Casablanca",  # goes back for Ramadan
    "Asia/Tehran",
    "Pacific/Auckland",
    "America/Havana",  # at midnight
    "Antarctica/Troll",  # two hours
]
SLOTS = """
with recursive slots as (
  select flowgres.next_slot(f.p_fields, %s, %s) as at, f.p_fields from flowgres.read_cron(%s) as f
  union all
  select flowgres.next_slot(s.p_fields, %s, s.at), s.p_fields from slots as s where s.at < %s
)
select at from slots where at < %s order by at
"""


STEP = 5
"""Minutes: all that is asked for here, and every change of clocks, are at multiples of it."""


CLOCKS = "select g, g at time zone %s from generate_series(%s::timestamptz, %s, make_interval(mins => %s)) as g"
"""The clocks are the server's: which years a zone changes them in differs between releases of the zones' data."""


def show(db: Db, zone: str) -> list[tuple[dt.datetime, dt.datetime]]:
    """Each local time once, with the first moment at which the clocks show it, or have gone past it."""
    step, found = dt.timedelta(minutes=STEP), []
    last: dt.datetime | None = None
    for at, local in db.connection.cursor(row_factory=tuple_row).execute(CLOCKS, [zone, BEGIN, END, STEP]):
        last = local - step if last is None else last
        while last < local:
            last += step
            found.append((at, last))
    return found


def walk(shown: list[tuple[dt.datetime, dt.datetime]], wanted: tuple[range | list[int], ...]) -> list[dt.datetime]:
    minutes, hours, weekdays = (frozenset(values) for values in wanted)
    found = (
        at
        for at, local in shown
        if at < END and local.minute in minutes and local.hour in hours and local.isoweekday() % 7 in weekdays
    )
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("zone", ZONES)
def test_every_local_slot_is_there_once_for_three_years(db: Db, zone: str) -> None:
    shown = show(db, zone)
    for cron, wanted in (
        ("30 2 * * *", ([30], [2], range(7))),
        ("0 0 * * *", ([0], [0], range(7))),
        ("*/20 0-3 * * *", ([0, 20, 40], range(4), range(7))),
        ("15 * * * sat,sun", ([15], range(24), [0, 6])),
    ):
        found = db.column(SLOTS, zone, BEGIN - dt.timedelta(seconds=1), cron, zone, END, END)
        assert found == walk(shown, wanted), cron
