"""How a runner's process goes about its memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc

_MAPPED_BYTES = 272 << 10
"""Just above what asyncio asks for at each read of a socket (256 KiB): a map for each would cost as much again."""
_MALLOPT_TRIM_THRESHOLD, _MALLOPT_MMAP_THRESHOLD = -1, -3


def return_memory() -> None:
    """Have large blocks go back to the system when they are free; glibc would soon keep those of an answer's size."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MALLOPT_MMAP_THRESHOLD, _MAPPED_BYTES)
        libc.mallopt(_MALLOPT_TRIM_THRESHOLD, 4 * _MAPPED_BYTES)


def calm_collector() -> None:
    """Look for cycles seldom: a runner makes many small objects that die by themselves, and keeps others for long."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
