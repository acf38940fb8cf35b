"""Durations as authors write them, read as SQL reads them (`flowgres.parse_duration`)."""

from __future__ import annotations

import re
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


def normalise_duration(value: Json) -> Json:
    """The seconds of a text that is a duration; anything else as it is, for the checks to complain about."""
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
        return value
    if _PLAIN.fullmatch(value):
        seconds = Decimal(value)
    elif _SHORT.fullmatch(value):
        seconds = sum((Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(value)), Decimal(0))
    elif (iso := _ISO.fullmatch(value)) is not None:
        parts = zip(iso.groups(), _ISO_UNITS, strict=True)
        seconds = sum((Decimal(number) * unit for number, unit in parts if number), Decimal(0))
    else:
        return value
    return int(seconds) if seconds == seconds.to_integral_value() else float(seconds)
