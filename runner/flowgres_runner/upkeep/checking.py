"""Checking the expressions of versions that came in by SQL alone: one runner each, in a process of its own.

A definition is written by a stranger, and parsing a large one takes seconds. Here it delays nobody's steps, timers or
rescues, and what is too much for the process's limits is refused.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.errors import DatabaseError
from flowgres_runner.evaluator.process import ChildDiedError, EvaluatorProcess
from flowgres_runner.steps.base import Json

log = get_logger(__name__)

LOOK_SECONDS = 1.0
LEASE_SECONDS = 30.0
"""For one check; nobody else takes the version meanwhile."""
CPU_SECONDS = 5.0
MEMORY_BYTES = 256 << 20
OUTPUT_BYTES = 1 << 20
NICENESS = 5
"""On a busy machine steps go first."""
IDLE_LOOKS = 60
"""After so many looks that found nothing the process ends: most runners never need it."""

_TOO_MUCH: list[Json] = [
    {"path": "", "code": "check_limit", "message": "checking its expressions ended the process that did it"}
]


class VersionChecker:
    """Looks for unchecked versions about once a second, and says of each what is wrong with it."""

    def __init__(self, link: Link, *, on_work: Callable[[], None], cpu_seconds: float = CPU_SECONDS) -> None:
        self._link = link
        self._on_work = on_work
        self._process = EvaluatorProcess(
            program="flowgres_runner.evaluator.checker",
            cpu_seconds=cpu_seconds,
            memory_bytes=MEMORY_BYTES,
            output_bytes=OUTPUT_BYTES,
            niceness=NICENESS,
        )
        self._is_failing = False

    async def run(self) -> None:
        """Check until cancelled."""
        looks = 0
        while True:
            if await self._attempt():
                looks = 0
                continue
            looks += 1
            if looks == IDLE_LOOKS:
                await self._process.kill()
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def close(self) -> None:
        """End the process."""
        await self._process.kill()

    async def check_next(self) -> bool:
        """Check one version. False when there is none. Raises DatabaseError, OSError."""
        taken = await queries.unchecked_version(self._link, lease_seconds=LEASE_SECONDS)
        if taken is None:
            return False
        version_id, definition = taken
        types = await queries.custom_step_types(self._link)
        errors = await self._errors_of(f'{{"definition":{definition},"step_types":{json.dumps(types)}}}')
        await queries.confirm_version(self._link, version_id=version_id, errors=errors)
        log.info("version_checked", version_id=version_id, errors=len(errors))
        if not errors:
            self._on_work()
        return True

    async def _attempt(self) -> bool:
        try:
            found = await self.check_next()
        except DatabaseError as error:
            self._complain(error.message, error.sqlstate)
        except OSError as error:
            self._complain(str(error), None)
        except Exception:
            log.exception("check_failed")
        else:
            self._is_failing = False
            return found
        return False

    async def _errors_of(self, question: str) -> list[Json]:
        await self._start()
        try:
            (answer,) = await self._process.run(question.encode(), 1)
        except ChildDiedError:
            return _TOO_MUCH
        return answer if isinstance(answer, list) else _TOO_MUCH

    async def _start(self) -> None:
        try:
            await self._process.ensure_alive()
        except ChildDiedError as error:
            # This machine's trouble, not the definition's.
            raise OSError("no process for checks can be started") from error

    def _complain(self, message: str, sqlstate: str | None) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.warning("check_postponed", error=message, sqlstate=sqlstate)
