"""The evaluator process: renders batches from its socket under resource limits, without environment or database.

From the parent comes `marshal` of `(new templates, new chains, forgotten numbers, groups of jobs, is_careful)` (this
process trusts its parent). To it go the results in the order of the jobs: `[0, value, values of followers ...]`, `[1]`
for not taken, `[2, code, message]`, `[3, length]` for the outputs of a whole chain: so many characters of the texts,
`[4]` for what ran out of time, `[5]` for what has to be asked again, `[7]` for what there was no room for, and
`[6, rest, [[name, length], ...]]` for what is large: so many characters of the texts each. A long batch is answered in
several frames, a careful one result by result.

A group is what one tenant wants. It has SLICE_SECONDS and GROUP_CHARACTERS, and it ends with the first job that runs
out of time, or that gives something large: what is left of it comes back, and the next group begins.
"""

from __future__ import annotations

import contextlib
import gc
import json
import marshal
import os
import sys
import time
from typing import NoReturn

from flowgres_runner.json_values import HELD_BYTES, encode_json

from .confinement import JobClock, TimeIsUpError, confine, extend_cpu_limit, memory_in_use
from .frames import READY, receive, send, send_results
from .held import Given, HeldTemplates, open_texts
from .sandbox import Template, encode_result
from .values import RenderError

FLUSH_SECONDS = 0.02
FLUSH_CHARACTERS = 1 << 20
SLICE_SECONDS = 0.05
GROUP_CHARACTERS = 1 << 20


def main(arguments: list[str]) -> NoReturn:
    """Serve until the parent closes the socket."""
    cpu_seconds, memory_bytes, output_bytes = float(arguments[0]), int(arguments[1]), int(arguments[2])
    os.nice(int(arguments[3]))
    _warm_up(output_bytes)
    baseline = confine(memory_bytes)
    send(READY)
    held = HeldTemplates()
    while True:
        frame = receive()
        if frame is None:
            os._exit(0)
        templates, chains, forgotten, groups, is_careful = marshal.loads(frame)  # noqa: S302  from the parent
        frame = None
        held.update(templates, chains, forgotten)
        extend_cpu_limit(len(groups) * (SLICE_SECONDS + cpu_seconds))
        with JobClock(cpu_seconds) as clock:
            tight = serve(held, groups, clock, output_bytes, is_careful=is_careful)
        if tight and gc.collect() >= 0 and memory_in_use() > baseline + memory_bytes // 4:
            os._exit(0)  # what a memory-hungry job left behind would make its successors fail; the parent respawns


def serve(
    held: HeldTemplates,
    groups: list[list[tuple[int, bytes]]],
    clock: JobClock,
    output_bytes: int,
    *,
    is_careful: bool = False,
) -> bool:
    """Render the jobs in order and send their results; True when one of them ran out of memory.

    The CPU time of a job counts for all members of a chain: who runs out of it in the middle is left out, and has all
    of it when the parent asks again.
    """
    results: list[str] = []
    wholes: list[str] = []
    size = 0
    given = Given()
    tight = False
    flushed_at = now = time.monotonic()
    groups.reverse()
    while groups:
        jobs = groups.pop()
        jobs.reverse()
        is_over = is_full = False
        room = GROUP_CHARACTERS
        until, cpu_until = now + SLICE_SECONDS, time.process_time() + SLICE_SECONDS
        while jobs:
            number, packed = jobs.pop()
            if is_over:
                results.append("[7]" if is_full else "[5]")
                continue
            before = size
            if given.is_used:
                given = Given()
            whole = None
            result = "[1]"
            try:
                seen = marshal.loads(packed)  # noqa: S302  from the parent
                if len(packed) > HELD_BYTES:
                    packed = b""  # what is large is there once
                    open_texts(seen)
                    now = time.monotonic()  # opening it is not the job's time
                try:
                    clock.begin(now)
                    whole = held.render(number, seen, output_bytes, given)
                finally:
                    clock.end()
            except RenderError as error:
                tight = tight or error.out_of_memory
                result = json.dumps([2, error.code, error.message])
            except TimeIsUpError:
                is_over = True
                result = "[5]" if held.has_compiled() else "[4]"
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
            elif given.pieces:
                is_over = is_full = True
                wholes += [text for _, text in given.pieces]
                result = encode_json([6, given.rest, [[name, len(text)] for name, text in given.pieces]])
                size += sum([len(text) for _, text in given.pieces])
            elif given.texts:
                result = f"[0,{','.join(given.texts)}]"
            results.append(result)
            size += len(result)
            room -= size - before
            if room < 0:
                is_over = is_full = True
            now = time.monotonic()
            if size > FLUSH_CHARACTERS or now - flushed_at > FLUSH_SECONDS or is_careful:
                send_results(results, wholes)
                size = 0
                flushed_at = now
            # On a busy machine by CPU time, too.
            is_over = is_over or (now > until and time.process_time() > cpu_until)
    if results:
        send_results(results, wholes)
    return tight


def _warm_up(output_bytes: int) -> None:
    """Load every lazily imported module and codec while files can still be opened."""
    body = {"a": "{{ ('é' ~ input.x | upper).strip() | default(1) }} ", "b": "{{ [1] | map('string') | join(',') }}"}
    encode_result(Template(body, "{{ input.x is defined and 1 < 2 }}").evaluate({"input": {"x": "é"}}), output_bytes)
    json.loads(json.dumps({"a": [1.5, "é"]}))
    # A missing field, a name that Python has to normalize, a text that is no expression.
    for text in ("{{ input.nope }}", "{{ é }}", "{{ a b }}"):
        with contextlib.suppress(RenderError):
            Template(text, None).evaluate({"input": {}})


if __name__ == "__main__":
    main(sys.argv[1:])
