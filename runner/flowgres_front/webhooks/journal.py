"""Rejections on their way to the log of their tenant.

The answer to a rejected delivery does not wait for its log, so that it takes as long whether there is somebody to log
it for or not. Few are under way at a time: of a flood the first ones are logged and the others counted, here as in SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from psycopg import Error as DatabaseError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from flowgres_front.problems import Problem
from flowgres_process.logs import get_logger

log = get_logger(__name__)

_MOST_OF_ONE: Final = 20
_MOST_WEBHOOKS: Final = 1_000


@dataclass(slots=True)
class Rejection:
    """One delivery that was rejected, or several (`count`) of which this is the first."""

    tenant_id: str
    webhook_id: str
    status: int
    reason: str
    content_type: str
    bytes: int
    count: int = 1


class Journal:
    """Writes what is noted, soon. Nothing of it is kept when the front is killed: it has started nothing."""

    def __init__(self, write: Callable[[list[dict[str, Any]]], Awaitable[None]]) -> None:
        """`write` is reject_deliveries of SQL."""
        self._write = write
        self._noted: dict[str, list[Rejection]] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, rejection: Rejection) -> None:
        """Have a rejection written."""
        noted = self._noted.get(rejection.webhook_id)
        if noted is None and len(self._noted) < _MOST_WEBHOOKS:
            noted = self._noted[rejection.webhook_id] = []
        if noted is None:
            return
        if len(noted) < _MOST_OF_ONE:
            noted.append(rejection)
        else:
            noted[-1].count += 1
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())

    async def close(self) -> None:
        """Write what is left."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=2)

    async def _write_all(self) -> None:
        try:
            while self._noted:
                rejections = [asdict(one) for noted in self._noted.values() for one in noted]
                self._noted = {}
                try:
                    await self._write(rejections)
                except (DatabaseError, PoolTimeout, PoolClosed, TooManyRequests, Problem) as error:
                    log.warning("rejections_not_logged", count=len(rejections), error=type(error).__name__)
        finally:
            self._writing = None
