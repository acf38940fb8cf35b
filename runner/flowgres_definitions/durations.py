"""Durations and times, as authors write them and as expressions give them; SQL reads them the same way."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from .problems import Json

_PLAIN: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?", re.ASCII)
_SHORT: Final = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,6})?(?:ms|s|m|h|d))+", re.ASCII)
_PART: Final = re.compile(r"([0-9.]+)(ms|s|m|h|d)", re.ASCII)
_ISO: Final = re.compile(
    # No years and months: they have no fixed length.
    r"P(?=[0-9T])(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)S)?)?",
    re.ASCII,
)
_UNITS: Final = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86_400)}
_ISO_UNITS: Final = (Decimal(604_800), Decimal(86_400), Decimal(3600), Decimal(60), Decimal(1))
_MAX_CHARACTERS: Final = 40


_LARGEST: Final = 10**12
"""Seconds; above it nothing is a duration, however it is written."""

_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
    r"(?:Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?)?",
    re.ASCII,
)


def parse_duration(value: Json) -> int | float | None:
    """Seconds of a number or of a text such as 250ms, 1h30m, PT30S; None for what is no duration.

    One grammar for what stands in a definition and for what an expression gives.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _plain(Decimal(value)) if 0 <= value < _LARGEST else None
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
        return None
    if _PLAIN.fullmatch(value):
        return _plain(Decimal(value))
    if _SHORT.fullmatch(value):
        return _plain(sum((Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(value)), Decimal(0)))
    if (iso := _ISO.fullmatch(value)) is not None:
        parts = zip(iso.groups(), _ISO_UNITS, strict=True)
        return _plain(sum((Decimal(number) * unit for number, unit in parts if number), Decimal(0)))
    return None


def normalise_duration(value: Json) -> Json:
    """The seconds of a duration; anything else as it is, for the checks to complain about."""
    seconds = parse_duration(value)
    return value if seconds is None else seconds


def parse_moment(value: Json) -> datetime | None:
    """A time such as 2027-01-31T12:00:00Z, in UTC unless it says otherwise; None for what is none."""
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:  # 31 February
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _plain(seconds: Decimal) -> int | float:
    return int(seconds) if seconds == seconds.to_integral_value() else float(seconds)
