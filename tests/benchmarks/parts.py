"""The parts of a run: what belongs to which workload, in which order, and how long it may take."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from tests.benchmarks.lab import Lab
from tests.benchmarks.scale import Scale

Record = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Context:
    """What a part gets: where to measure, how much, where figures go; `rounds` is for those that repeat inside."""

    lab: Lab
    scale: Scale
    record: Record
    rounds: int
    peer_python: str


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is measured. `repeats_inside`: its preparation is dear, so one call measures all rounds."""

    name: str
    workload: str
    measure: Callable[[Context], None]
    repeats_inside: bool = False
    is_peer: bool = False
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
