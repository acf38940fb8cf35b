"""The parts of a run: what belongs to which workload, in which order, and how long it may take."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from tests.benchmarks.figures import Results
from tests.benchmarks.lab import Lab, Site
from tests.benchmarks.scale import Scale
from tests.benchmarks.versions import Version


@dataclass(frozen=True, slots=True)
class Context:
    """What a part gets: where to measure, which version, how much; `rounds` is for parts that repeat inside."""

    lab: Lab
    version: Version
    scale: Scale
    results: Results
    rounds: int
    peer_python: str

    def record(self, key: str, value: float) -> None:
        """Add a value; those of the version before stand under keys of their own."""
        self.results.record(f"{self.version.prefix}{key}", value)

    def site(self) -> AbstractContextManager[Site]:
        """A fresh database of the version that is measured."""
        return self.lab.site(self.version)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is measured.

    `repeats_inside`: its preparation is dear, so one call measures all rounds. `is_compared`: the version before is
    measured as well, right after ours.
    """

    name: str
    workload: str
    measure: Callable[[Context], None]
    repeats_inside: bool = False
    is_peer: bool = False
    is_compared: bool = False
    seconds: Callable[[Scale], int] = lambda scale: scale.part_seconds


class PartTimeoutError(Exception):
    """The part took longer than it may."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise PartTimeoutError in the main thread after so long, wherever it then waits."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise PartTimeoutError(f"not done after {seconds} s")

    previous: Any = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
