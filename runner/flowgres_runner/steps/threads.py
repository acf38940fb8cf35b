"""Where the code of packages runs: beside the runner's loop, never in it.

The runner's loop sends heartbeats, claims and reports. What blocks it for a lease loses everything that the runner
holds, so nothing that somebody else wrote runs there: an `async def run` has a loop of its type's own, in a thread; a
plain `def run` has a thread for each attempt. What blocks then delays its own type alone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flowgres_process.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

OVERRUN_SECONDS = 5.0
"""How long a thread may go on after its attempt is over before that is worth a warning."""
_JOIN_SECONDS = 1.0
_SHOWN_FRAMES = 3


class OwnLoop:
    """An event loop in a daemon thread, for one step type."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self._serve, name=f"step-type-{name}", daemon=True)
        self._is_stopping = False
        self._asked_at: float | None = None

    def start(self) -> None:
        """Begin to serve; nothing can be called before."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    async def call(self, coroutine: Coroutine[Any, Any, T], *, on_cancel: Callable[[], None] = lambda: None) -> T:
        """Run a coroutine there and wait for it here; `on_cancel` is called before it is told of a cancel."""
        there: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return await asyncio.shield(asyncio.wrap_future(there))
        except asyncio.CancelledError:
            on_cancel()
            there.cancel()
            raise

    def silent_seconds(self) -> float:
        """Ask whether it answers; how long the oldest question has been waiting."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._loop.call_soon_threadsafe(self._answer)
            return 0.0
        return time.monotonic() - self._asked_at

    def describe(self) -> list[str]:
        """Where its thread is, the innermost frame last: `file:line function`."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = traceback.extract_stack(frame)[-_SHOWN_FRAMES:] if frame is not None else []
        return [f"{entry.filename}:{entry.lineno} {entry.name}" for entry in stack]

    def stop(self) -> None:
        """Cancel what runs and end the thread; one that blocks dies with the process."""
        self._is_stopping = True
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(_JOIN_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _answer(self) -> None:
        self._asked_at = None

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        # Once more round: tasks see that they were cancelled.
        self._loop.call_soon(self._loop.call_soon, self._loop.stop)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._is_stopping:
            try:
                self._loop.run_forever()
            except BaseException as error:
                # SystemExit in a callback of theirs ends neither this thread nor the runner.
                log.error("step_type_loop_broken", thread=self._thread.name, error=type(error).__name__)


class Threads:
    """A daemon thread for each call, at most `limit` at once; one that does not end keeps its place."""

    def __init__(self, name: str, *, limit: int) -> None:
        self._name = name
        self._free = asyncio.Semaphore(limit)

    async def call(self, function: Callable[[], T], *, on_cancel: Callable[[], None] = lambda: None) -> T:
        """Call a function that raises nothing in a thread and wait for it; after a cancel it goes on unheard.

        It has the context of the caller, as with asyncio.to_thread.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def finish(result: T) -> None:
            self._free.release()
            if not done.done():
                done.set_result(result)

        def work() -> None:
            result = context.run(function)
            # The runner may have ended meanwhile, and its loop with it.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(finish, result)

        thread = threading.Thread(target=work, name=f"step-type-{self._name}", daemon=True)
        thread.start()
        try:
            return await done
        except asyncio.CancelledError:
            on_cancel()
            loop.call_later(OVERRUN_SECONDS, self._look_after, thread)
            raise

    def _look_after(self, thread: threading.Thread) -> None:
        if thread.is_alive():
            log.warning("step_type_overran", type=self._name, seconds=OVERRUN_SECONDS)
