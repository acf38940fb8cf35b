"""Cron expressions: the twin of schedules/cron.sql, for files that no server has seen yet.

The grammar is that of the Open Cron Pattern Specification 1.1, with `L` and `#` of its later increments; SCHEDULES.md
has the whole of it. Refused although the specification takes them: dates that never come, `@reboot`, and steps that
are larger than their field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Final

import tzdata

from .problems import Problem

MAX_CHARACTERS: Final = 256
ALIASES: Final = {
    "@annually": "0 0 1 1 *",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@midnight": "0 0 * * *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@yearly": "0 0 1 1 *",
}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_VALUE: Final = r"([0-9]{1,2}|[a-z]{3})"
_ITEM: Final = re.compile(rf"(?:(?:(\*)|{_VALUE}-{_VALUE})(?:/([0-9]{{1,2}}))?|{_VALUE})", re.ASCII)
_NTH: Final = re.compile(r"([0-7]|sun|mon|tue|wed|thu|fri|sat)(?:#([1-5l])|(l))", re.ASCII)
_LAST: Final = 9
_BEGIN: Final = date(2024, 1, 1)
_DAYS: Final = 366 * 40
"""A weekday on 29 February comes within forty years, also across a century without one."""
_USUAL: Final = "five fields, for example `0 6 * * 1-5`, or one of " + " ".join(ALIASES)


@dataclass(frozen=True, slots=True)
class Fields:
    """What an expression means. `nth_weekdays`: ten times a weekday and which one of the month, 9 for the last.

    A day has to be right by its number and by its weekday; where both count, by one of them.
    """

    minutes: Sequence[int]
    hours: Sequence[int]
    days: Sequence[int]
    months: Sequence[int]
    weekdays: Sequence[int]
    nth_weekdays: Sequence[int]
    has_last_day: bool
    counts_days: bool
    counts_weekdays: bool


def check_cron(expression: str, timezone: str = "UTC") -> list[Problem]:
    """What is wrong with a cron expression and its time zone; both at once. Paths are "cron" and "timezone"."""
    problems = []
    read = read_cron(expression)
    if isinstance(read, str):
        problems.append(Problem(path="cron", code="cron_invalid", message=read, hint=_USUAL))
    if not is_timezone(timezone):
        hint = "a name of the IANA database, for example Europe/Berlin"
        problems.append(
            Problem(path="timezone", code="timezone_unknown", message="the time zone is not known", hint=hint)
        )
    return problems


def read_cron(expression: str) -> Fields | str:
    """What an expression means, or in words why it is none."""
    if len(expression) > MAX_CHARACTERS:
        return f"a cron expression has at most {MAX_CHARACTERS} characters"
    text = expression.strip(" \t")
    if text == "@reboot":
        return "@reboot names no time: there is no start here that it could mean"
    if text.startswith("@"):
        if text not in ALIASES:
            return "the alias is not known"
        text = ALIASES[text]
    parts = re.split(r"[ \t]+", "".join(char.lower() if char.isascii() else char for char in text))
    if len(parts) != 5:
        return "a cron expression has five fields: minute, hour, day, month, weekday"
    minute, hour, day, month, weekday = parts
    days, weekdays = day.split(","), weekday.split(",")
    numbered = [item for item in days if item != "l"]
    plain = [item for item in weekdays if not _NTH.fullmatch(item)]
    values = {
        "minutes": _read_values([minute], 0, 59),
        "hours": _read_values([hour], 0, 23),
        "days": _read_values(numbered, 1, 31),
        "months": _read_values([month], 1, 12, _MONTHS),
        "weekdays": _read_values(plain, 0, 7, _WEEKDAYS),
    }
    for (name, found), part in zip(values.items(), parts, strict=True):
        if found is None:
            return f"the {name} {part[:40]} are not valid"
    fields = Fields(
        minutes=values["minutes"] or (),
        hours=values["hours"] or (),
        days=values["days"] or (),
        months=values["months"] or (),
        # 7 is a Sunday as well.
        weekdays=sorted({value % 7 for value in values["weekdays"] or ()}),
        nth_weekdays=sorted({_read_nth(match) for match in map(_NTH.fullmatch, weekdays) if match}),
        has_last_day=len(numbered) < len(days),
        # Only what begins with a bare * leaves the choice to the other field.
        counts_days=days[0] != "*",
        counts_weekdays=weekdays[0] != "*",
    )
    return fields if next_day(fields, _BEGIN) is not None else "it never fires: no such date comes"


def next_day(fields: Fields, since: date) -> date | None:
    """The first day that counts, from this one on; None when there is none."""
    day = since
    while (day - since).days <= _DAYS:
        if day.month not in fields.months:
            day = _next_month(day)
        elif _is_day(fields, day):
            return day
        else:
            day += timedelta(days=1)
    return None


def is_timezone(name: str) -> bool:
    """Whether the IANA database knows a name, whatever zones this machine has."""
    return name in _zones()


@cache
def _zones() -> frozenset[str]:
    return frozenset(files(tzdata).joinpath("zones").read_text(encoding="ascii").split()) - {"Factory"}


def _read_values(items: Sequence[str], low: int, high: int, names: Sequence[str] = ()) -> list[int] | None:
    """The values of a list, in order; none for an empty one, None when something in it is no value."""
    values: set[int] = set()
    for item in ",".join(items).split(",") if items else ():
        match = _ITEM.fullmatch(item)
        if match is None:
            return None
        star, first, last, each, single = match.groups()
        begin = low if star else _read_value(first or single, low, names)
        # A Sunday ends a week that it does not begin.
        end = high if star else 7 if last == "sun" and begin else _read_value(last or single, low, names)
        step = int(each or 1)
        if begin is None or end is None or not low <= begin <= end <= high or not 1 <= step <= high - low + 1:
            return None
        values.update(range(begin, end + 1, step))
    return sorted(values)


def _read_value(text: str, low: int, names: Sequence[str]) -> int | None:
    if text.isdigit():
        return int(text)
    return names.index(text) + low if text in names else None


def _read_nth(match: re.Match[str]) -> int:
    weekday = _read_value(match[1], 0, _WEEKDAYS) or 0
    return weekday % 7 * 10 + (_LAST if "l" in (match[2], match[3]) else int(match[2]))


def _is_day(fields: Fields, day: date) -> bool:
    last = (_next_month(day) - timedelta(days=1)).day
    weekday = day.isoweekday() % 7
    by_number = day.day in fields.days or (fields.has_last_day and day.day == last)
    by_weekday = (
        weekday in fields.weekdays
        or weekday * 10 + (day.day + 6) // 7 in fields.nth_weekdays
        or (day.day > last - 7 and weekday * 10 + _LAST in fields.nth_weekdays)
    )
    if fields.counts_days and fields.counts_weekdays:
        return by_number or by_weekday
    return by_number and by_weekday


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
