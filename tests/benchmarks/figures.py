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
    """The "must" of a figure: at least `limit`, or at most."""

    limit: float
    is_minimum: bool = True

    def is_met(self, value: float) -> bool:
        """Tell whether a value satisfies it."""
        return value >= self.limit if self.is_minimum else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.is_minimum else '<='} {written(self.limit)}"


def at_least(limit: float) -> Bar:
    """A lower bound."""
    return Bar(limit)


def at_most(limit: float) -> Bar:
    """An upper bound."""
    return Bar(limit, is_minimum=False)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a figure by its key, or the quotient of two."""

    key: str
    title: str
    unit: str = ""
    bar: Bar | None = None
    quotient: tuple[str, str] | None = None


LINES: tuple[Line, ...] = (
    Line("pgbench", "pgbench, 32 clients, one-row update per commit", "commits/s"),
    Line("w1.one", "W1 chain of 6, one runner", "steps/s", at_least(15_000)),
    Line("w1/pgbench", "  against pgbench", "x", at_least(0.7), ("w1.one", "pgbench")),
    Line("w1.busy", "  share of all cores at work", "%"),
    Line("w1.two", "W1 chain of 6, two runners", "steps/s"),
    Line("w1.two/one", "  against one runner", "x", at_least(1.25), ("w1.two", "w1.one")),
    Line("w1.wal", "WAL per W1 step", "bytes", at_most(1_200)),
    Line("idle.p50", "idle latency of 6 steps, p50 (client)", "ms", at_most(8)),
    Line("idle.p99", "idle latency of 6 steps, p99 (client)", "ms", at_most(15)),
    Line("idle.db.p50", "  the same by the database's clock, p50", "ms"),
    Line("idle.db.p99", "  the same by the database's clock, p99", "ms"),
    Line("dbos", "DBOS, chain of 6", "steps/s"),
    Line("dbos.p50", "  idle latency of 6 steps, p50", "ms"),
    Line("dbos.p99", "  idle latency of 6 steps, p99", "ms"),
    Line("w1/dbos", "  W1 against it", "x", at_least(40), ("w1.one", "dbos")),
    Line("procrastinate", "Procrastinate, chain of 6", "steps/s"),
    Line("procrastinate.p50", "  idle latency of 6 steps, p50", "ms"),
    Line("procrastinate.p99", "  idle latency of 6 steps, p99", "ms"),
    Line("w1/procrastinate", "  W1 against it", "x", at_least(25), ("w1.one", "procrastinate")),
    Line("pgqueuer", "pgqueuer, chain of 6", "steps/s"),
    Line("pgqueuer.p50", "  idle latency of 6 steps, p50", "ms"),
    Line("pgqueuer.p99", "  idle latency of 6 steps, p99", "ms"),
    Line("w1/pgqueuer", "  W1 against it", "x", at_least(7), ("w1.one", "pgqueuer")),
    Line("w2", "W2 fan 1 -> 50 -> 1", "steps/s", at_least(15_000)),
    Line("w3.0ms", "W3 3 POSTs, answered at once", "steps/s", at_least(2_500)),
    Line("w3.20ms", "W3 3 POSTs, answered after 20 ms", "steps/s"),
    Line("w3.slots.one", "W3 answered after 100 ms, one runner of 100 slots", "steps/s"),
    Line("w3.slots.two", "  two runners", "steps/s"),
    Line("w3.slots.two/one", "  against one runner", "x", at_least(1.25), ("w3.slots.two", "w3.slots.one")),
    Line("w3.httpx", "W3 answered at once, the same runner on stock httpx", "steps/s"),
    Line("w3/httpx", "  against stock httpx", "x", at_least(8), ("w3.0ms", "w3.httpx")),
    Line("w4.empty", "W4 empty function over PostgREST, 16 connections", "calls/s"),
    Line("w4.rpc", "W4 rpc/start_execution, 16 connections", "starts/s"),
    Line("w4.rpc.p50", "  p50", "ms"),
    Line("w4.rpc.p99", "  p99", "ms"),
    Line("w4.rpc/empty", "  against the empty function", "x", at_least(0.5), ("w4.rpc", "w4.empty")),
    Line("w4.sql", "W4 start_execution in SQL, 16 connections", "starts/s"),
    Line("w4.bulk", "W4 start_executions, 10,000 a call", "starts/s", at_least(40_000)),
    Line("w5.small.p50", "W5 claim(100), small backlog, p50", "ms"),
    Line("w5.small.p99", "  p99", "ms"),
    Line("w5.large.p50", "W5 claim(100), {ready} ready and {finished} finished, p50", "ms", at_most(3)),
    Line("w5.large.p99", "  p99", "ms"),
    Line("w5.large/small", "  against the small backlog", "x", at_most(2), ("w5.large.p50", "w5.small.p50")),
    Line("w5.timers.p50", "W5 claim(100), {timers} future timers, 1,000 idle tenants, p50", "ms"),
    Line("w5.timers.p99", "  p99", "ms"),
    Line("w5.timers/small", "  against the small backlog", "x", at_most(1.5), ("w5.timers.p50", "w5.small.p50")),
    Line("memory", "runner's memory, {in_flight} executions in flight", "MB", at_most(150)),
    Line("memory.runner", "  of it the runner itself", "MB"),
)


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


def table(results: Results, sizes: dict[str, str]) -> str:
    """The lines that were measured, as a Markdown table that is also readable as text."""
    rows = [("figure", "median", "min - max", "unit", "must", "met")]
    for line in LINES:
        values = results.of(line)
        if not values:
            continue
        median = statistics.median(values)
        spread = f"{written(min(values))} - {written(max(values))}" if len(values) > 1 else ""
        met = "" if line.bar is None else "yes" if line.bar.is_met(median) else "NO"
        title = line.title.format_map(sizes)
        rows.append((title, written(median), spread, line.unit, str(line.bar or ""), met))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]  # six texts, as above
    lines = ("| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"{line} |" for line in lines)


def as_json(results: Results, sizes: dict[str, str]) -> list[dict[str, object]]:
    """The same for programs: every value of every round."""
    lines: list[dict[str, object]] = []
    for line in LINES:
        values = results.of(line)
        if values:
            median = statistics.median(values)
            lines.append(
                {
                    "key": line.key,
                    "title": line.title.format_map(sizes).strip(),
                    "unit": line.unit,
                    "rounds": values,
                    "median": median,
                    "must": str(line.bar) if line.bar else None,
                    "met": line.bar.is_met(median) if line.bar else None,
                }
            )
    return lines
