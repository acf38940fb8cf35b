"""What an attempt says on its way: lines that become events of its execution, and how far it is."""

from __future__ import annotations

import threading
import time

from flowgres_runner.json_values import storable_text

MAX_LOG_LINES = 100
"""Of one attempt. Whatever comes after them is counted, and said in one more line."""
MAX_LOG_CHARACTERS = 10_000
"""Of one line."""
MAX_PROGRESS_CHARACTERS = 500
"""Of what a telling says."""
PROGRESS_SECONDS = 1.0
"""Between two tellings of one attempt, at least."""
MAX_PROGRESS_EVENTS = 1000
"""Of one attempt."""
PROGRESS_PART = 0.02
"""And this part of the time since it began: so an hour has some two hundred, and a day half as many more."""
LOG_LEVELS = ("debug", "info", "warning", "error")


class StepLog:
    """Lines that become events of the execution when the attempt ends, whatever its end: at most MAX_LOG_LINES."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []
        self._dropped = 0
        self._lock = threading.Lock()

    def debug(self, message: str) -> None:
        """Add a line of the level debug."""
        self._add("debug", message)

    def info(self, message: str) -> None:
        """Add a line of the level info."""
        self._add("info", message)

    def warning(self, message: str) -> None:
        """Add a line of the level warning."""
        self._add("warning", message)

    def error(self, message: str) -> None:
        """Add a line of the level error."""
        self._add("error", message)

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """What was logged so far: (level, message)."""
        with self._lock:
            if not self._dropped:
                return tuple(self._lines)
            return (*self._lines[:-1], ("warning", f"{self._dropped + 1} more lines were not kept"))

    def _add(self, level: str, message: str) -> None:
        with self._lock:
            if len(self._lines) < MAX_LOG_LINES:
                self._lines.append((level, str(message)[:MAX_LOG_CHARACTERS]))
            else:
                self._dropped += 1


class StepProgress:
    """How far an attempt is: the last word counts, and is told at most once a second, less often in a long attempt."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told_at = float("-inf")
        self._told: tuple[float, str] | None = None
        self._count = 0
        self._last: tuple[float, str] | None = None

    @property
    def last(self) -> tuple[float, str] | None:
        """What was said last: a fraction from 0 to 1, and words."""
        return self._last

    def say(self, fraction: float, message: str = "") -> None:
        """Say how far it is. Raises ValueError for what is no number."""
        value = float(fraction)
        if value != value:
            raise ValueError("progress is a number from 0 to 1")
        self._last = (min(1.0, max(0.0, value)), storable_text(message, MAX_PROGRESS_CHARACTERS))

    def take(self) -> tuple[float, str] | None:
        """What there is to tell now; None when that was told, or told of too lately."""
        now, last = time.monotonic(), self._last
        pause = max(PROGRESS_SECONDS, (now - self._began) * PROGRESS_PART)
        if last is None or last == self._told or now - self._told_at < pause or self._count >= MAX_PROGRESS_EVENTS:
            return None
        self._told, self._told_at, self._count = last, now, self._count + 1
        return last
