"""One child process, seen from the parent: start, one batch at a time, deadline, kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

import flowgres_definitions
from flowgres_runner.errors import RunnerError

from .frames import READY, Frame
from .jobs import RenderedLarge, RenderedWhole
from .large import Piece
from .templates import SentTemplates

Json = Any
START_SECONDS = 30.0
GRACE_SECONDS = 0.1
"""Beyond the CPU limit: the child normally reports its own time-out first."""

STOPPED_SECONDS = 5.0
"""A child that gives no answer for so long is stopped, and not only on a busy machine."""

MAX_FRAME_BYTES = 8 << 20
MAX_FRAME_RESULTS = 32
"""What a child may send at once: what it gathers before it sends, and the results of one job after that."""

_PIECE = 256 << 10
_MAPPED_BYTES = 128 << 10
_LENGTH = struct.Struct(">I")
_BOOT = "import sys; sys.path[:0] = sys.argv[6:]; from {} import main; main(sys.argv[1:5])"


class ChildDiedError(RunnerError):
    """The child ended, was killed at its deadline, or answered nonsense. `results` are those that arrived before."""

    code = "evaluator_died"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.results: list[Json] = []


def _import_roots() -> list[str]:
    """Folders from which the child imports: only these, because it starts without site-packages of its own."""
    own = Path(__file__).resolve().parents[2]
    others = (Path(str(module.__file__)).resolve().parents[1] for module in (flowgres_definitions, jinja2, markupsafe))
    return list(dict.fromkeys(str(path) for path in (own, *others)))


class EvaluatorProcess:
    """A persistent child, which runs `main` of the module `program`. Not shared: one batch at a time."""

    def __init__(
        self,
        *,
        cpu_seconds: float,
        memory_bytes: int,
        output_bytes: int,
        cached_templates: int = 0,
        program: str = "flowgres_runner.evaluator.child",
        niceness: int = 0,
    ) -> None:
        self._program = program
        self._cpu_seconds = cpu_seconds
        self._memory_bytes = memory_bytes
        self._output_bytes = output_bytes
        self._cached_templates = cached_templates
        self._niceness = niceness
        self.spent_seconds = 0.0
        """CPU time of the last batch, as far as it is known: that of a child that ended by itself is not."""
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.templates = SentTemplates(cached_templates)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the child and wait until it is ready. Raises ChildDiedError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # In a thread: starting a program blocks for milliseconds. It is an exec, so threads do no harm.
                spawning = asyncio.ensure_future(asyncio.to_thread(self._spawn, theirs))
                try:
                    self._process = await asyncio.shield(spawning)
                except asyncio.CancelledError:
                    self._process = await spawning  # it is being started all the same
                    raise
                ours.setblocking(False)
                self._reader, self._writer = await asyncio.open_connection(sock=ours)
            except BaseException:
                ours.close()
                await self.kill()
                raise
        self.templates = SentTemplates(self._cached_templates)
        theirs.close()
        try:
            async with asyncio.timeout(START_SECONDS):
                frame = await self._receive()
        except TimeoutError:
            frame = b""
        except asyncio.CancelledError:
            await self.kill()  # its word that it is ready would be taken for the answer to what comes next
            raise
        if frame != READY:
            await self.kill()
            raise ChildDiedError("the evaluator process did not start")

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        limits = [str(self._cpu_seconds), str(self._memory_bytes), str(self._output_bytes), str(self._niceness)]
        return subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                "-B",
                "-c",
                _BOOT.format(self._program),
                *limits,
                "flowgres-evaluator",
                *_import_roots(),
            ],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Large blocks go back to the system when they are free, and not to a heap that keeps them.
            env={"MALLOC_MMAP_THRESHOLD_": str(_MAPPED_BYTES), "MALLOC_TRIM_THRESHOLD_": str(_MAPPED_BYTES)},
            cwd="/",
            close_fds=True,
        )

    async def ensure_alive(self) -> None:
        """Start anew when the child has ended between two batches."""
        alive = self._process is not None and self._process.poll() is None
        if not alive or self._reader is None or self._reader.at_eof():
            await self.kill()
            await self.start()

    async def run(self, frame: bytes, count: int) -> list[Json]:
        """Send a batch and collect its `count` results. Raises ChildDiedError with those that came."""
        results: list[Json] = []
        self.spent_seconds = 0.0
        try:
            assert self._writer is not None, "start() comes first"  # noqa: S101
            if len(frame) > _PIECE:
                await self._send(frame)
            else:
                # In one piece: the child would otherwise wake for the length, and wait again for the rest.
                self._writer.write(_LENGTH.pack(len(frame)) + frame)
            began = cpu_before = self._cpu_used()
            while len(results) < count:
                part = _read_results(await self._receive_in_time(cpu_before, len(frame)))
                if not part or len(results) + len(part) > count:
                    raise ChildDiedError("the evaluator answered nonsense")
                results.extend(part)
                if len(results) < count:
                    cpu_before = self._cpu_used()
        except (ValueError, RecursionError, ConnectionError, asyncio.IncompleteReadError, ChildDiedError) as error:
            await self.kill()
            died = error if isinstance(error, ChildDiedError) else ChildDiedError("the evaluator process ended")
            died.results = results
            raise died from None
        except asyncio.CancelledError:
            await self.kill()  # the rest of its answers would be taken for those of the next batch
            raise
        self.spent_seconds = self._cpu_used() - began
        return results

    async def exchange(self, head: bytes, given: list[Frame]) -> tuple[Frame, Frame]:
        """Send two frames and give the two that answer them; the second is taken out of its list, so that it can go.

        Raises ChildDiedError.
        """
        try:
            assert self._writer is not None, "start() comes first"  # noqa: S101
            cpu_before = self._cpu_used()
            size = len(given[0])
            await self._send(head)
            await self._send(given.pop())
            return (await self._receive_in_time(cpu_before, size), await self._receive_in_time(cpu_before, size))
        except (ConnectionError, ChildDiedError) as error:
            await self.kill()
            raise ChildDiedError("the process ended") from error
        except asyncio.CancelledError:
            await self.kill()
            raise

    async def _send(self, frame: Frame) -> None:
        """Send a frame piece by piece: it is large, and in one piece it would be copied twice."""
        assert self._writer is not None, "start() comes first"  # noqa: S101
        self._writer.write(_LENGTH.pack(len(frame)))
        for start in range(0, len(frame), _PIECE):
            self._writer.write(frame[start : start + _PIECE])
            await self._writer.drain()

    async def _receive_in_time(self, cpu_before: float, frame_bytes: int) -> Frame:
        """The next frame, or ChildDiedError when the child spent more CPU time than one job may.

        CPU time decides, so that a busy machine fails no innocent job; wall time is bounded far above, for a child
        that is stopped. Reading a large batch takes time too: a second for 20 MB.
        """
        limit = self._cpu_seconds + GRACE_SECONDS + frame_bytes / 20e6
        started = time.monotonic()
        receiving = asyncio.ensure_future(self._receive())
        try:
            wait = limit
            while True:
                done, _ = await asyncio.wait((receiving,), timeout=wait)
                if done:
                    return receiving.result()
                used = self._cpu_used() - cpu_before
                self.spent_seconds = used
                if used >= limit or time.monotonic() - started > max(20 * limit, STOPPED_SECONDS):
                    raise ChildDiedError("the evaluator was too slow")
                wait = max(limit - used, 0.02)
        finally:
            if not receiving.done():
                receiving.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await receiving

    async def _receive(self) -> Frame:
        assert self._reader is not None, "start() comes first"  # noqa: S101
        try:
            head = await self._reader.readexactly(_LENGTH.size)
            size = _LENGTH.unpack(head)[0]
            if size > MAX_FRAME_BYTES + MAX_FRAME_RESULTS * self._output_bytes:
                raise ChildDiedError("the evaluator answered nonsense")
            if size <= _PIECE:
                return await self._reader.readexactly(size)
            frame = bytearray()
            while len(frame) < size:
                frame += await self._reader.readexactly(min(_PIECE, size - len(frame)))
            return frame
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ChildDiedError("the evaluator process ended") from None

    def _cpu_used(self) -> float:
        """CPU seconds of the child so far; where the platform has no such clock, wall time."""
        if self._process is None:
            return 0.0
        try:
            return time.clock_gettime((~self._process.pid << 3) | 2)  # the kernel's clock id of another process
        except OSError:
            return time.monotonic()

    async def kill(self) -> None:
        """End the child at once and collect it. Harmless when it has ended."""
        writer, self._writer, self._reader = self._writer, None, None
        process, self._process = self._process, None
        if process is not None:
            process.kill()
        if writer is not None:
            writer.close()
            with contextlib.suppress(ConnectionError, OSError):
                await writer.wait_closed()
        if process is not None:
            await asyncio.to_thread(process.wait)


def _read_results(body: Frame) -> list[Any]:
    """The results of a frame; raises ValueError, and ChildDiedError, for what is none.

    The texts of whole chains and of large results are not parsed here. They are characters without NUL, so that they
    can be sent on.
    """
    if len(body) < _LENGTH.size:
        raise ChildDiedError("the evaluator answered nonsense")
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    results = json.loads(body[_LENGTH.size : end])
    if not isinstance(results, list) or end > len(body):
        raise ChildDiedError("the evaluator answered nonsense")
    texts = body[end:].decode()
    if "\0" in texts:
        raise ChildDiedError("the evaluator answered nonsense")
    at = 0

    def take(length: Any) -> str:
        nonlocal at
        if type(length) is not int or not 0 < length <= len(texts) - at:
            raise ChildDiedError("the evaluator answered nonsense")
        at += length
        return texts[at - length : at]

    for index, result in enumerate(results):
        if type(result) is not list or not result or result[0] not in (3, 6):
            continue
        if len(result) == 2 and result[0] == 3:
            results[index] = RenderedWhole(take(result[1]))
            continue
        match result:
            case [6, rest, [*pieces]]:
                taken: list[Piece] = []
                for piece in pieces:
                    match piece:
                        case [str() | None as name, length] if name is None or type(rest) is dict:
                            taken.append((name, take(length)))
                        case _:
                            raise ChildDiedError("the evaluator answered nonsense")
                results[index] = RenderedLarge(rest, taken)
    if at != len(texts):
        raise ChildDiedError("the evaluator answered nonsense")
    return results
