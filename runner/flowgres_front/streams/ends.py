"""Calls that wait for the end of an execution, and what tells them.

Two things do: a look for all of them, which is certain; and a notification, which says that some execution has ended
that somebody waits for. Where few wait it is most likely theirs, and to read the result at once costs no more than to
look whether there is one. A call does so once: what is notified may be others' ends, as many as there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

_FEW = 2

Key = tuple[str, str]
"""Tenant and execution."""


class Ends:
    """Who waits for which end."""

    def __init__(self) -> None:
        self._waiting: dict[Key, set[asyncio.Future[None]]] = {}
        self._hinted: set[asyncio.Future[None]] = set()
        self.heard = 0
        """Notifications that have come so far."""

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def keys(self) -> list[Key]:
        """What is waited for."""
        return list(self._waiting)

    @contextmanager
    def wait_for(self, key: Key) -> Iterator[asyncio.Future[None]]:
        """A future that is done when a look has found the end, or the front is about to stop."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(future)
        try:
            yield future
        finally:
            waiting = self._waiting[key]
            waiting.discard(future)
            if not waiting:
                del self._waiting[key]

    @contextmanager
    def hint(self, since: int) -> Iterator[asyncio.Future[None]]:
        """A future that is done when something was notified after the first `since`; never where many wait."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(self._waiting) <= _FEW:
            if self.heard != since:
                future.set_result(None)
            else:
                self._hinted.add(future)
        try:
            yield future
        finally:
            self._hinted.discard(future)

    def tell(self, key: Key) -> None:
        """The end was found. Of one that nobody waits for nothing is to be done."""
        for future in self._waiting.get(key, ()):
            if not future.done():
                future.set_result(None)

    def notify(self) -> bool:
        """A notification has come: those that go by hints read now. Says whether the others have to be looked for."""
        self.heard += 1
        hinted = [future for future in self._hinted if not future.done()]
        self._hinted.clear()
        for future in hinted:
            future.set_result(None)
        return len(hinted) < sum(map(len, self._waiting.values()))

    def end(self) -> None:
        """Let all of them go: the front is about to stop."""
        for key in self._waiting:
            self.tell(key)
