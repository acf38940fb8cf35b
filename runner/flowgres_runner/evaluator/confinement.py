"""Limits that a process of this room sets to itself before it looks at what a stranger wrote."""

from __future__ import annotations

import gc
import os
import resource
import signal
import time


class TimeIsUpError(BaseException):
    """The CPU time of one job is used up. No `except Exception` of a filter can swallow it."""


def limit_cpu_time(seconds: float) -> None:
    """Raise TimeIsUpError once so much CPU time is used up from here; 0 lifts the limit."""
    # It repeats, in case the first signal falls into code that ignores exceptions (a destructor).
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.05)


class JobClock:
    """Bounds the CPU time of jobs, one after the other: TimeIsUpError is raised within the one that has used it up.

    Setting a timer is a system call, and a quick job takes little longer than two of them. So the timer of a job goes
    on for the next ones until a fifth of its time is over: each has at least the rest, and the first one all of it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._set_again_at = 0.0
        self.is_running = False

    def begin(self, now: float) -> None:
        """A job begins; `now` is what time.monotonic() says."""
        if now >= self._set_again_at:
            self._set_again_at = now + self._seconds / 5
            limit_cpu_time(self._seconds)
        self.is_running = True

    def end(self) -> None:
        """The job is over, by itself or because its time was up."""
        self.is_running = False

    def __enter__(self) -> JobClock:
        global _jobs
        _jobs = self
        return self

    def __exit__(self, *_: object) -> None:
        global _jobs
        limit_cpu_time(0)
        _jobs = None


_jobs: JobClock | None = None


def confine(memory_bytes: int, *, files: int = 0) -> int:
    """Set the limits of this process: no program, no file written, so many open; returns its size before any work."""

    def time_is_up(_signal: int, _frame: object) -> None:
        # Between two jobs it is nobody's time.
        if _jobs is None or _jobs.is_running:
            raise TimeIsUpError

    signal.signal(signal.SIGPROF, time_is_up)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the socket
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    baseline = memory_in_use()
    # Relative to what the interpreter already uses, so that jobs get the same room on every platform.
    resource.setrlimit(resource.RLIMIT_AS, (baseline + memory_bytes, baseline + memory_bytes))
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    return baseline


def memory_in_use() -> int:
    """Bytes of address space, read through a file that was opened before files could no longer be."""
    global _statm
    if _statm is None:
        _statm = os.open("/proc/self/statm", os.O_RDONLY)
    return int(os.pread(_statm, 64, 0).split()[0]) * resource.getpagesize()


_statm: int | None = None


def extend_cpu_limit(seconds: float) -> None:
    """Should the parent die while a job spins, the kernel ends this process a few seconds later."""
    used = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 5, resource.RLIM_INFINITY))
