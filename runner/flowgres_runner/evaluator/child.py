"""The evaluator process: renders batches from its socket under resource limits, without environment or database.

Frames are a length of 4 bytes (big endian) and a body. From the parent: `marshal` of `(new templates, new chains,
forgotten numbers, jobs)` (this process trusts its parent). To the parent, which does not trust this process: the length
of a JSON array, that array, and texts. The array has the results in the order of the jobs: `[0, value, values of
followers ...]`, `[1]` for not taken, `[2, code, message]`, and `[3, length]` for the outputs of a whole chain: so many
characters of what comes after the array. A long batch is answered in several frames. The first one is `"ready"`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import marshal
import os
import resource
import signal
import struct
import sys
import time
from typing import NoReturn

from .held import HeldTemplates
from .sandbox import Template, encode_result
from .values import RenderError

SOCKET = 0
FLUSH_SECONDS = 0.02
FLUSH_CHARACTERS = 1 << 20
_LENGTH = struct.Struct(">I")


class TimeIsUpError(BaseException):
    """The CPU time of one job is used up. No `except Exception` of a filter can swallow it."""


def main(arguments: list[str]) -> NoReturn:
    """Serve until the parent closes the socket."""
    cpu_seconds, memory_bytes, output_bytes = float(arguments[0]), int(arguments[1]), int(arguments[2])
    _warm_up(output_bytes)
    baseline = _limit(memory_bytes)
    send(b'"ready"')
    held = HeldTemplates()
    while True:
        frame = receive()
        if frame is None:
            os._exit(0)
        templates, chains, forgotten, jobs = marshal.loads(frame)  # noqa: S302  from the parent, over a private socket
        frame = None
        held.update(templates, chains, forgotten)
        _extend_cpu_limit(len(jobs) * cpu_seconds)
        tight = serve(held, jobs, cpu_seconds, output_bytes)
        jobs.clear()
        if tight and gc.collect() >= 0 and _memory_in_use() > baseline + memory_bytes // 4:
            os._exit(0)  # what a memory-hungry job left behind would make its successors fail; the parent respawns


def serve(held: HeldTemplates, jobs: list[tuple[int, bytes]], cpu_seconds: float, output_bytes: int) -> bool:
    """Render the jobs in order and send their results; True when one of them ran out of memory.

    The CPU time of a job counts for all members of a chain: who runs out of it in the middle is left out, and has all
    of it when the parent asks again.
    """
    results: list[str] = []
    wholes: list[str] = []
    size = 0
    tight = False
    flushed_at = time.monotonic()
    for number, packed in jobs:
        texts: list[str] = []
        whole = None
        result = "[1]"
        try:
            try:
                # It repeats, in case the first signal falls into code that ignores exceptions (a destructor).
                signal.setitimer(signal.ITIMER_PROF, cpu_seconds, 0.05)
                whole = held.render(number, packed, output_bytes, texts)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except RenderError as error:
            tight = tight or error.out_of_memory
            result = json.dumps([2, error.code, error.message])
        except TimeIsUpError:
            result = json.dumps([2, "expression_limit", f"the expressions took more than {cpu_seconds} s of CPU time"])
        except (MemoryError, RecursionError):
            tight = True
            result = '[2,"expression_limit","the expressions need too much memory"]'
        except Exception as error:
            message = f"the expressions cannot be evaluated ({type(error).__name__})"
            result = json.dumps([2, "expression_error", message])
        if whole is not None:
            wholes.append(whole)
            result = f"[3,{len(whole)}]"
            size += len(whole)
        elif texts:
            result = f"[0,{','.join(texts)}]"
        results.append(result)
        size += len(result)
        now = time.monotonic()
        if size > FLUSH_CHARACTERS or now - flushed_at > FLUSH_SECONDS:
            _send_results(results, wholes)
            size = 0
            flushed_at = now
    if results:
        _send_results(results, wholes)
    return tight


def _send_results(results: list[str], wholes: list[str]) -> None:
    """Send one frame, and empty both lists."""
    array = f"[{','.join(results)}]".encode()
    send(_LENGTH.pack(len(array)) + array + "".join(wholes).encode())
    results.clear()
    wholes.clear()


def receive() -> bytes | None:
    """One frame from the parent, or None when it has gone."""
    head = _read(_LENGTH.size)
    return None if head is None else _read(_LENGTH.unpack(head)[0])


def _read(size: int) -> bytes | None:
    parts = []
    while size > 0:
        part = os.read(SOCKET, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def send(body: bytes) -> None:
    view = memoryview(_LENGTH.pack(len(body)) + body)
    while view:
        view = view[os.write(SOCKET, view) :]


def _warm_up(output_bytes: int) -> None:
    """Load every lazily imported module and codec while files can still be opened."""
    body = {"a": "{{ ('é' ~ input.x | upper).strip() | default(1) }} ", "b": "{{ [1] | map('string') | join(',') }}"}
    encode_result(Template(body, "{{ input.x is defined and 1 < 2 }}").evaluate({"input": {"x": "é"}}), output_bytes)
    json.loads(json.dumps({"a": [1.5, "é"]}))
    # A missing field, a name that Python has to normalize, a text that is no expression.
    for text in ("{{ input.nope }}", "{{ é }}", "{{ a b }}"):
        with contextlib.suppress(RenderError):
            Template(text, None).evaluate({"input": {}})


def _limit(memory_bytes: int) -> int:
    """Set the limits of this process; returns the size of its address space before any work."""

    def time_is_up(_signal: int, _frame: object) -> NoReturn:
        raise TimeIsUpError

    signal.signal(signal.SIGPROF, time_is_up)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the socket
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    baseline = _memory_in_use()
    # Relative to what the interpreter already uses, so that jobs get the same room on every platform.
    resource.setrlimit(resource.RLIMIT_AS, (baseline + memory_bytes, baseline + memory_bytes))
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        resource.setrlimit(limit, (0, 0))
    return baseline


def _memory_in_use() -> int:
    """Bytes of address space, read through a file that was opened before files could no longer be."""
    global _statm
    if _statm is None:
        _statm = os.open("/proc/self/statm", os.O_RDONLY)
    return int(os.pread(_statm, 64, 0).split()[0]) * resource.getpagesize()


_statm: int | None = None


def _extend_cpu_limit(seconds: float) -> None:
    """Should the parent die while a job spins, the kernel ends this process a few seconds later."""
    used = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 5, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1:])
