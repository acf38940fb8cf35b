"""Durations as definitions write them: seconds as a number, `250ms 30s 5m 2h 3d`, or ISO 8601 (`PT30S`)."""

from __future__ import annotations

import math
import re

from flowgres_runner.steps.base import Json

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SHORT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)", re.ASCII)
_PLAIN = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
_ISO = re.compile(
    r"P(?:([0-9]{1,9})W)?(?:([0-9]{1,9})D)?"
    r"(?:T(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)S)?)?",
    re.ASCII,
)
_ISO_SECONDS = (604_800.0, 86_400.0, 3600.0, 60.0, 1.0)


def parse_duration(value: Json) -> float | None:
    """Seconds, or None for what is no duration (negative, not finite, another text or type)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if 0 <= value < 1e15 and math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if short := _SHORT.fullmatch(text):
        return float(short[1]) * _UNIT_SECONDS[short[2]]
    if _PLAIN.fullmatch(text):
        return float(text)
    iso = _ISO.fullmatch(text)
    if iso is None or not any(iso.groups()) or text.endswith("T"):
        return None
    return sum(float(part) * unit for part, unit in zip(iso.groups(), _ISO_SECONDS, strict=True) if part)
