"""How much memory a process and its children have to themselves."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    pids = [pid]
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:  # it has ended
        tasks = []
    for task in tasks:
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            if not _is_about_to_start(int(child), pid):
                pids += family(int(child))
    return pids


def _is_about_to_start(child: int, parent: int) -> bool:
    """Whether a child lives in its parent's memory still (vfork): that would be counted twice."""
    try:
        return Path(f"/proc/{child}/cmdline").read_bytes() == Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return False


def memory_of(pid: int) -> int:
    """Bytes of a process and its children, each page that several share counted in parts (PSS)."""
    return sum(parts_of(pid))


def parts_of(pid: int) -> list[int]:
    """The same of each, the process itself first."""
    parts: list[int] = []
    for member in family(pid):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        parts.append(next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) << 10)
    return parts


class MemoryWatch:
    """The most that a process and its children took within a block."""

    def __init__(self, pid: int, *, every_seconds: float = 0.02) -> None:
        self._pid = pid
        self._every_seconds = every_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0
        self.parts: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            parts = parts_of(self._pid)
            if sum(parts) > self.peak:
                self.peak, self.parts = sum(parts), parts
            time.sleep(self._every_seconds)
