"""The reading processes: what strangers wrote is taken apart in them, and not in the loop that serves everybody.

Threads would not do: they share one interpreter lock with the loop. A process is started when it is needed, under
limits of its own (`reading.py`), killed when a job takes too long, and ended when nothing has come for a while; one
stays.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from collections.abc import Mapping
from typing import Any

from flowgres_front.problems import Problem
from flowgres_process.logs import get_logger

log = get_logger(__name__)

HEADER = struct.Struct("!II")
"""Bytes of JSON, and bytes that follow it as they are: before every job, and before every answer."""

JOB_CPU_SECONDS = 10.0
"""What one job may use; a reading process sees to it itself."""

_JOB_SECONDS = 60.0
_IDLE_SECONDS = 60.0
_INHERITED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV")


class Readers:
    """At most `count` processes; whoever calls sees to it that no more jobs are under way (`Front.reading`)."""

    def __init__(self, count: int) -> None:
        self._slots = asyncio.Semaphore(count)
        self._idle: list[asyncio.subprocess.Process] = []
        self._timer: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        """Start the first process, so that nobody has to wait for it."""
        self._starting = asyncio.create_task(self._prepare())

    async def _prepare(self) -> None:
        process = await _start()
        try:
            await _exchange(process, json.dumps(["nothing", {}]).encode(), b"")
        except (OSError, asyncio.IncompleteReadError) as error:
            await _kill(process)
            log.warning("reader_not_started", error=type(error).__name__)
        else:
            self._idle.append(process)
        self._starting = None

    async def run(self, job: str, body: bytes, arguments: Mapping[str, Any]) -> tuple[Any, bytes]:
        """The answer of one job: JSON, and bytes beside it.

        Raises Problem: what the job refused, or 422 when it took too much time or memory.
        """
        async with self._slots:
            if self._starting is not None:
                # The first one, which is on its way: two at once would only be later.
                await asyncio.wait([self._starting])
            process = self._idle.pop() if self._idle else await _start()
            try:
                async with asyncio.timeout(_JOB_SECONDS):
                    answer, rest = await _exchange(process, json.dumps([job, arguments]).encode(), body)
            except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
                await _kill(process)
                log.warning("reading_failed", job=job, bytes=len(body), error=type(error).__name__)
                raise too_much() from error
            except BaseException:
                await _kill(process)
                raise
            self._idle.append(process)
            self._end_later()
        if "problem" in answer:
            status, code, detail, hint = answer["problem"]
            raise Problem(status, code, detail, hint=hint)
        return answer["result"], rest

    async def close(self) -> None:
        """End all processes."""
        if self._timer is not None:
            self._timer.cancel()
        if self._starting is not None:
            await asyncio.wait([self._starting])
        await self._end(keep=0)

    async def _end(self, *, keep: int) -> None:
        while len(self._idle) > keep:
            await _kill(self._idle.pop())

    def _end_later(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(_IDLE_SECONDS, lambda: loop.create_task(self._end(keep=1)))


def too_much() -> Problem:
    """A body that costs more than one may."""
    return Problem(
        422,
        "check_limit",
        "reading this takes more time or memory than one may have",
        hint="Make it smaller: fewer steps, fewer or shorter expressions.",
    )


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "flowgres_front.reading",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Nothing of the front's environment: it holds keys.
        env={name: os.environ[name] for name in _INHERITED if name in os.environ},
        # Ctrl-C is for the front, which ends them.
        start_new_session=True,
    )


async def _exchange(process: asyncio.subprocess.Process, head: bytes, body: bytes) -> tuple[Any, bytes]:
    assert process.stdin is not None  # noqa: S101 - it was started with pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(HEADER.pack(len(head), len(body)) + head)
    process.stdin.write(body)
    await process.stdin.drain()
    first, second = HEADER.unpack(await process.stdout.readexactly(HEADER.size))
    answer = json.loads(await process.stdout.readexactly(first))
    return answer, await process.stdout.readexactly(second)


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    # Reading to the end closes the pipes.
    await process.communicate()
