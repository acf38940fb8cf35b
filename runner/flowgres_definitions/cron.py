"""Cron expressions: the only module that imports croniter.

croniter calls `0 0 31 2 *` valid, takes seconds, years, random (`R`) and hashed (`H`) fields. Here: five fields or an
@alias, and a real next fire. Five fields cannot fire more often than every minute.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

from .problems import Problem

MAX_CHARACTERS: Final = 256
ALIASES: Final = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_FIELD = re.compile(
    r"(?:[0-9*/,\-#L]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat)+", re.I
)
_LEAP_CYCLE_YEARS = 8
"""29 February is at most eight years away (1900, 2100)."""


def check_cron(expression: str, timezone: str = "UTC", *, now: datetime | None = None) -> list[Problem]:
    """What is wrong with a cron expression and its time zone; both at once. Paths are "cron" and "timezone"."""
    problems = []
    message, hint = _find_fault(expression, now or datetime.now(UTC))
    if message:
        problems.append(Problem(path="cron", code="cron_invalid", message=message, hint=hint))
    if not is_timezone(timezone):
        hint = "a name of the IANA database, for example Europe/Berlin"
        problems.append(
            Problem(path="timezone", code="timezone_unknown", message="the time zone is not known", hint=hint)
        )
    return problems


def is_timezone(name: str) -> bool:
    """Whether the IANA database knows a name; names that are paths never reach the file system."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9][A-Za-z0-9_+-]*){0,2}", name) or len(name) > 64:
        return False
    try:
        ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError; see below
        return False
    except KeyError:
        return False
    return True


def _find_fault(expression: str, now: datetime) -> tuple[str, str]:
    usual = "five fields, for example `0 6 * * 1-5`, or one of " + " ".join(sorted(ALIASES))
    if len(expression) > MAX_CHARACTERS:
        return f"a cron expression has at most {MAX_CHARACTERS} characters", ""
    if expression.startswith("@"):
        return ("", "") if expression.lower() in ALIASES else ("the alias is not known", usual)
    fields = expression.split(" ")
    if len(fields) != 5 or not all(fields):
        return "a cron expression has five fields with single spaces between them", usual
    for number, field in enumerate(fields):
        # Minute and hour have no names, and no L; letters left over are R, H and their like.
        letters = number in (0, 1) and re.search(r"[^0-9*/,\-]", field)
        if letters or not _FIELD.fullmatch(field):
            return f"the field {field[:40]!r} is not valid", usual
    try:
        fires = croniter(expression, now, max_years_between_matches=_LEAP_CYCLE_YEARS).get_next(datetime)
    except CroniterError as error:
        never = "failed to find next date" in str(error)
        return ("it never fires", "") if never else (f"not valid: {str(error)[:120]}", usual)
    except (ValueError, KeyError, OverflowError):
        return "not valid", usual
    if fires - now > timedelta(days=366 * _LEAP_CYCLE_YEARS + 1):
        return "it never fires", ""
    return "", ""
