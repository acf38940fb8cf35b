"""One look at the database for all who scrape at the same time, and not again for a second."""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg import Error as DatabaseError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from flowgres_front.database import Database
from flowgres_front.looks import Look
from flowgres_front.problems import Problem
from flowgres_process.logs import get_logger

log = get_logger(__name__)
SCRAPE_SECONDS = 5.0


class Scrapes:
    """What the installation says of itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._look = Look(self._ask)

    async def close(self) -> None:
        """End a look that is under way."""
        self._look.close()

    async def answer(self) -> dict[str, Any] | None:
        """Of flowgres.installation_metrics(), or None while the database cannot be asked."""
        return await self._look.result()

    async def _ask(self) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                row = await self._database.own("select flowgres.installation_metrics() as found")
        except (Problem, DatabaseError, PoolTimeout, PoolClosed, TooManyRequests, TimeoutError) as error:
            log.warning("scrape_failed", error=str(error))
            return None
        return row["found"] if row else None
