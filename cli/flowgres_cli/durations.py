"""Durations as people write them."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))


def describe_seconds(seconds: float) -> str:
    """As 2d 4h 30.5s; 0s for none."""
    left, parts = round(seconds, 6), []
    for name, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{int(count)}{name}")
    if left or not parts:
        parts.append(f"{round(left, 3):g}s")
    return " ".join(parts)
