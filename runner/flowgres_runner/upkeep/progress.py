"""Telling the database how far attempts are. Nobody waits for it: what cannot be told now is told later, or never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.errors import DatabaseError
from flowgres_runner.execution.running import RunningSteps

log = get_logger(__name__)

LOOK_SECONDS = 0.5


async def tell_progress(link: Link, runner_id: Callable[[], str], running: RunningSteps) -> None:
    """Look at what runs now and then, until cancelled, and tell what is new of it."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        told = running.take_progress()
        if told:
            try:
                await queries.report_progress(link, runner_id=runner_id(), reports=told)
            except DatabaseError as error:
                log.info("progress_not_told", steps=len(told), error=error.message)
