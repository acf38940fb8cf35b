"""What is measured, what it is held against, and the table that says so.

A figure has one value a round. A quotient is formed round by round, because what disturbs one figure of a round mostly
disturbs its neighbours too; only when a round lacks one of the two are medians divided.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Bar:
    """The "must" of a figure: at least `limit`, or at most; `stretch` is what would be better still."""

    limit: float
    stretch: float | None = None
    is_minimum: bool = True

    def judge(self, value: float) -> str:
        """NO, yes, or stretch."""
        if not self._is_met(value, self.limit):
            return "NO"
        return "stretch" if self.stretch is not None and self._is_met(value, self.stretch) else "yes"

    def __str__(self) -> str:
        return f"{'>=' if self.is_minimum else '<='} {written(self.limit)}"

    def _is_met(self, value: float, limit: float) -> bool:
        return value >= limit if self.is_minimum else value <= limit


def at_least(limit: float, stretch: float | None = None) -> Bar:
    """A lower bound."""
    return Bar(limit, stretch)


def at_most(limit: float, stretch: float | None = None) -> Bar:
    """An upper bound."""
    return Bar(limit, stretch, is_minimum=False)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a figure by its key, or the quotient of two."""

    key: str
    title: str
    unit: str = ""
    bar: Bar | None = None
    quotient: tuple[str, str] | None = None


@dataclass(slots=True)
class Results:
    """What has been measured so far, and what has failed."""

    values: dict[str, list[float]] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def record(self, key: str, value: float) -> None:
        """Add the value of one round."""
        self.values.setdefault(key, []).append(value)

    def of(self, line: Line) -> list[float]:
        """The values of a line by round; empty when it was not measured."""
        if line.quotient is None:
            return self.values.get(line.key, [])
        above, below = (self.values.get(key, []) for key in line.quotient)
        if not above or not below:
            return []
        if len(above) == len(below):
            return [one / other for one, other in zip(above, below, strict=True)]
        return [statistics.median(above) / statistics.median(below)]


def percentile(samples: Sequence[float], fraction: float) -> float:
    """The smallest sample that at least this fraction does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def written(value: float) -> str:
    """Three significant digits at least, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}".removesuffix(".00")


def table(lines: Sequence[Line], results: Results, sizes: dict[str, str]) -> str:
    """The lines that were measured, as a Markdown table that is also readable as text."""
    rows = [("figure", "median", "min - max", "unit", "must", "stretch", "met")]
    for line in lines:
        values = results.of(line)
        if not values:
            continue
        median = statistics.median(values)
        spread = f"{written(min(values))} - {written(max(values))}" if len(values) > 1 else ""
        must = stretch = met = ""
        if line.bar is not None:
            must, met = str(line.bar), line.bar.judge(median)
            stretch = "" if line.bar.stretch is None else written(line.bar.stretch)
        rows.append((line.title.format_map(sizes), written(median), spread, line.unit, must, stretch, met))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]  # as many texts as above
    texts = ("| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"{text} |" for text in texts)


def as_json(lines: Sequence[Line], results: Results, sizes: dict[str, str]) -> list[dict[str, object]]:
    """The same for programs: every value of every round."""
    measured: list[dict[str, object]] = []
    for line in lines:
        values = results.of(line)
        if values:
            median = statistics.median(values)
            measured.append(
                {
                    "key": line.key,
                    "title": line.title.format_map(sizes).strip(),
                    "unit": line.unit,
                    "rounds": values,
                    "median": median,
                    "must": str(line.bar) if line.bar else None,
                    "stretch": line.bar.stretch if line.bar else None,
                    "met": line.bar.judge(median) if line.bar else None,
                }
            )
    return measured
