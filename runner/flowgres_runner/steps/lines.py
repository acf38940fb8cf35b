"""What an attempt says on its way: lines that become events of its execution."""

from __future__ import annotations

import threading

MAX_LOG_LINES = 100
"""Of one attempt. Whatever comes after them is counted, and said in one more line."""
MAX_LOG_CHARACTERS = 10_000
"""Of one line."""
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
