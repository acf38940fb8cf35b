"""A reading process: takes apart what strangers wrote, one job after the other, until its parent goes.

`python -m flowgres_front.reading` speaks over its pipes: `readers.HEADER`, JSON, bytes; and answers in the same form.
It has no key and no connection, and sets limits to itself before it looks at anything.
"""

from __future__ import annotations

import gc
import json
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from flowgres_front.bodies import BodyLimits, parse_json
from flowgres_front.definitions import place_problems, read_definition
from flowgres_front.problems import Problem
from flowgres_front.readers import HEADER, JOB_CPU_SECONDS, too_much

_ROOM_BYTES = 96 << 20
Answer = tuple[Any, bytes]


def _definition(body: bytes, arguments: dict[str, Any]) -> Answer:
    """Read a definition and check its expressions; the bytes are what to import, as JSON: {definition, source}."""
    reading = read_definition(body, **arguments)
    both = {"definition": reading.document, "source": reading.source}
    return reading.as_json(), json.dumps(both, ensure_ascii=False).encode()


def _places(body: bytes, arguments: dict[str, Any]) -> Answer:
    """Find where the problems of a definition stand in its text."""
    return place_problems(body, **arguments), b""


def _object(body: bytes, arguments: dict[str, Any]) -> Answer:
    """Say nothing against a JSON body that keeps its limits; it is a small thing to parse once that is known."""
    parse_json(body, BodyLimits(**arguments))
    return None, b""


def _nothing(body: bytes, arguments: dict[str, Any]) -> Answer:
    """Show that the process is up."""
    return None, b""


JOBS: dict[str, Callable[[bytes, dict[str, Any]], Answer]] = {
    "definition": _definition,
    "places": _places,
    "object": _object,
    "nothing": _nothing,
}


def main() -> None:
    """Serve until stdin ends. A job that fails by a fault of ours ends the process, and the front starts another."""
    _confine()
    while header := sys.stdin.buffer.read(HEADER.size):
        first, second = HEADER.unpack(header)
        name, arguments = json.loads(sys.stdin.buffer.read(first))
        body = sys.stdin.buffer.read(second)
        answer: dict[str, Any]
        rest = b""
        try:
            result, rest = _within_limits(JOBS[name], body, arguments)
            answer = {"result": result}
        except Problem as problem:
            answer = {"problem": [problem.status, problem.code, problem.detail, problem.hint]}
        text = json.dumps(answer).encode()
        sys.stdout.buffer.write(HEADER.pack(len(text), len(rest)) + text + rest)
        sys.stdout.buffer.flush()
        del body, rest
        gc.collect()


class _TimeIsUpError(BaseException):
    """The processor time of one job is used up. No `except Exception` on the way can swallow it."""


def _within_limits(job: Callable[[bytes, dict[str, Any]], Answer], body: bytes, arguments: dict[str, Any]) -> Answer:
    """Do a job in its time, by the processor's clock: a machine that is busy with other things is nobody's fault."""
    try:
        signal.setitimer(signal.ITIMER_PROF, JOB_CPU_SECONDS, 0.05)
        try:
            return job(body, arguments)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except (_TimeIsUpError, MemoryError, RecursionError):
        raise too_much() from None


def _time_is_up(_signal: int, _frame: object) -> NoReturn:
    raise _TimeIsUpError


def _confine() -> None:
    """So much memory beyond what the interpreter uses, no file written, no other process."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM_BYTES, used + _ROOM_BYTES))
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC):
        resource.setrlimit(limit, (0, 0))
    signal.signal(signal.SIGPROF, _time_is_up)
    gc.freeze()


if __name__ == "__main__":
    main()
