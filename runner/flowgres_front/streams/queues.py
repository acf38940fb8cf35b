"""Those who wait for tasks: in a line for each queue of each tenant, and as many are let go as there are tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from psycopg import AsyncConnection
from psycopg.rows import DictRow

Key = tuple[str, str]


class TaskLines:
    """Lines of waiting calls, by tenant and queue. Whoever is let go claims as itself, and comes back for nothing."""

    def __init__(self) -> None:
        self._lines: dict[Key, dict[asyncio.Future[None], None]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    @contextlib.contextmanager
    def enter(self, tenant_id: str, queue: str) -> Iterator[asyncio.Future[None]]:
        """Stand at the end of a line; the future is done when it may be one's turn."""
        key = tenant_id, queue
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(key, {})[future] = None
        try:
            yield future
        finally:
            line = self._lines.get(key, {})
            line.pop(future, None)
            if not line:
                self._lines.pop(key, None)

    def end(self) -> None:
        """Let all go."""
        for line in self._lines.values():
            for future in line:
                if not future.done():
                    future.set_result(None)

    async def look(self, connection: AsyncConnection[DictRow]) -> bool:
        """Let those go for whom there is a task; says whether anybody was."""
        waiting = {key: sum(not future.done() for future in line) for key, line in self._lines.items()}
        keys = [key for key, count in waiting.items() if count]
        if not keys:
            return False
        cursor = await connection.execute(
            "select * from flowgres.look_at_queues(p_tenant_ids => %s::uuid[], p_queues => %s::text[],"
            " p_limits => %s::integer[])",
            ([key[0] for key in keys], [key[1] for key in keys], [waiting[key] for key in keys]),
        )
        rows = await cursor.fetchall()
        for row in rows:
            line = self._lines.get((str(row["tenant_id"]), row["queue"]), {})
            for future in [one for one in line if not one.done()][: row["waiting"]]:
                future.set_result(None)
        return bool(rows)
