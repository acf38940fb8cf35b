"""Processes as /proc shows them: who descends from whom, and who is still there."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """One process; the time of its start tells it from a later one with the same number."""

    pid: int
    began: str
    command: str


def descendants(pid: int) -> set[Process]:
    """Everything that a process has started, and what that has started."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            children.setdefault(int(_fields(int(entry.name))[1]), []).append(int(entry.name))
    found, new = set(), [pid]
    while new:
        for child in children.get(new.pop(), ()):
            new.append(child)
            with contextlib.suppress(OSError, IndexError):
                found.add(_process(child))
    return found


def alive(processes: set[Process]) -> list[Process]:
    """Those that still run; a zombie does not."""
    found = []
    for process in processes:
        with contextlib.suppress(OSError, IndexError):
            fields = _fields(process.pid)
            if fields[0] not in "ZX" and fields[19] == process.began:
                found.append(process)
    return found


def wait_until_gone(processes: set[Process], *, timeout_seconds: float = 20) -> None:
    """Wait for the end of all of them."""
    deadline = time.monotonic() + timeout_seconds
    while left := alive(processes):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def working_in(folder: Path) -> list[str]:
    """Command lines of processes that have to do with a folder: as an argument, as directory, or as an open file."""
    needle = os.fsencode(folder)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            links = [entry / "cwd", *(entry / "fd").iterdir()]
            if needle in command or any(needle in os.fsencode(target) for target in map(_target, links)):
                found.append(command.replace(b"\0", b" ").decode())
    return found


def _target(link: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(link)
    return ""


def _process(pid: int) -> Process:
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return Process(pid, _fields(pid)[19], command)


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()
