"""Runs one program for as long as somebody holds the other end of our stdin, and no longer.

    python -I -S guard.py STOP_SIGNAL GRACE_SECONDS USER:GROUP|- PROGRAM [ARGUMENT]...

Whoever started the stack can be killed with a signal that nobody can catch. The kernel closes its end of the pipe all
the same, on every system; this process reads the end, asks the program to stop, and kills it when it does not. An
orderly stop is the same: the pipe is closed. `k` in the pipe asks to kill at once. Where the kernel offers it (Linux)
the program is also asked to stop when this process is the one that is killed.

A file of its own that imports nothing of ours: it starts in hundredths of a second, and stays small.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

KILL = b"k"
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl
_NOT_STARTED = 127  # as a shell says it
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """Start, wait for either end, and return the program's exit code (128 and more: a signal ended it)."""
    stop_signal, grace_seconds, account, *command = arguments
    wake = _wake_on_signals()
    try:
        child = _start(command, stop_signal=int(stop_signal), account=account)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return _NOT_STARTED
    deadline = None
    watched = [0, wake]
    while child.poll() is None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(watched, [], [], left)
        asked = wake in ready and any(number in _ENDING for number in os.read(wake, 64))
        said = os.read(0, 1) if 0 in ready else None
        if said == b"":
            watched, asked = [wake], True
        if asked and deadline is None:
            deadline = time.monotonic() + float(grace_seconds)
            child.send_signal(int(stop_signal))
        elif said == KILL or (deadline is not None and time.monotonic() >= deadline):
            _kill_session(child.pid)
            child.wait()
    # What the program started and did not end itself.
    _kill_session(child.pid)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _start(command: list[str], *, stop_signal: int, account: str) -> subprocess.Popen[bytes]:
    end_with_us = _request_to_end_with_us(stop_signal)
    user, group = (None, None) if account == "-" else (int(number) for number in account.split(":"))
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        # One thread, and nothing imported that holds a lock: safe here.
        preexec_fn=end_with_us,
    )


def _request_to_end_with_us(stop_signal: int) -> Callable[[], None] | None:
    """What the child says to the kernel before it becomes the program; None where the kernel has no such thing."""
    if sys.platform != "linux":
        return None
    # Imported on this side: the account of the program may not be allowed to read where Python is.
    import ctypes

    guard = os.getpid()
    prctl = ctypes.CDLL(None).prctl

    def request() -> None:
        prctl(_SET_PARENT_DEATH_SIGNAL, stop_signal, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(1)

    return request


def _wake_on_signals() -> int:
    """Make signals readable: the end of the child, and requests to stop."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGCHLD, *_ENDING):
        signal.signal(number, lambda _number, _frame: None)
    return reading


def _kill_session(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
