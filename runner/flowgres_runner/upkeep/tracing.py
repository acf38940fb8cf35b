"""Telling a collector of executions that have ended (OpenTelemetry): one trace for each, made from history.

No step waits for it, and nothing is kept in memory but what is being sent. A runner takes some ends for a time, sends
their spans and forgets them; what it could not send is taken again when that time is over, by itself or another one.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowgres_process.errors import SettingsError
from flowgres_process.logs import get_logger
from flowgres_runner.database import ends
from flowgres_runner.database.connection import Link
from flowgres_runner.errors import DatabaseError

if TYPE_CHECKING:
    from flowgres_runner.database.ends import EndedExecution
    from flowgres_runner.upkeep.telemetry import Telemetry

log = get_logger(__name__)

PACKAGES = "'opentelemetry-sdk>=1.27,<2' 'opentelemetry-exporter-otlp-proto-http>=1.27,<2'"
"""What the extra `otel` brings, as pip takes it."""
LOOK_SECONDS = 1.0
TAKE_LIMIT = 200
"""Executions that are taken at once."""
SEND_SPANS = 2_000
"""About how many are in memory; a single execution may have more, up to ATTEMPTS_LIMIT."""
ATTEMPTS_LIMIT = 10_000
LEASE_SECONDS = 60.0
"""For telling of what was taken, beside the time that the collector has."""
MOST_PAUSE_SECONDS = 30.0
"""Between two attempts to reach a collector that is away."""


def make_telemetry() -> Telemetry:
    """The way to the collector. Raises SettingsError where the extra is not installed."""
    try:
        from flowgres_runner.upkeep.telemetry import Telemetry
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise SettingsError(
            "traces are asked for (OTEL_EXPORTER_OTLP_ENDPOINT), and OpenTelemetry is not installed here",
            hint="It is the extra `otel` of flowgres; or no traces at all: OTEL_SDK_DISABLED=true. "
            f"{sys.executable} -m pip install {PACKAGES}",
            code="extra_missing",
        ) from error
    return Telemetry()


class Tracer:
    """Tells of what has ended until cancelled; the collector has so many `seconds` for a request."""

    def __init__(self, link: Link, telemetry: Telemetry, *, seconds: float) -> None:
        self._link = link
        self._telemetry = telemetry
        self._lease_seconds = LEASE_SECONDS + 2 * seconds
        self._failures = 0
        self.told_count = 0

    async def run(self) -> None:
        """Look about once a second, and more seldom while the collector takes nothing."""
        while True:
            found = await self._attempt()
            if found < TAKE_LIMIT:
                pause = min(LOOK_SECONDS * 2**self._failures, MOST_PAUSE_SECONDS)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def close(self) -> None:
        """Give up what is being sent: others tell of it."""
        await asyncio.to_thread(self._telemetry.close)
        await self._link.close()

    async def tell(self) -> int:
        """Tell of some executions; returns how many were taken. Raises DatabaseError, CollectorError."""
        taken = await ends.take_ends(self._link, limit=TAKE_LIMIT, lease_seconds=self._lease_seconds)
        wanted = [ended for ended in taken if ended.trace_id and self._telemetry.wants(ended)]
        await self._forget([ended for ended in taken if ended not in wanted])
        # Never in one order: one that the collector never takes would keep those behind it from being told of.
        random.shuffle(wanted)
        for some in _portions(wanted):
            rows = await ends.get_spans(
                self._link,
                tenant_ids=[ended.tenant_id for ended in some],
                execution_ids=[ended.execution_id for ended in some],
                most=ATTEMPTS_LIMIT,
            )
            trace_ids = {ended.execution_id: ended.trace_id for ended in some}
            if rows and not await asyncio.to_thread(self._telemetry.export, rows, trace_ids):
                raise CollectorError(self._telemetry.trouble)
            await self._forget(some)
            self.told_count += len(some)
        return len(taken)

    async def _forget(self, some: list[EndedExecution]) -> None:
        if some:
            await ends.forget_ends(
                self._link,
                tenant_ids=[ended.tenant_id for ended in some],
                execution_ids=[ended.execution_id for ended in some],
            )

    async def _attempt(self) -> int:
        try:
            found = await self.tell()
        except CollectorError as error:
            self._complain(str(error))
        except DatabaseError as error:
            self._complain(error.message)
        except Exception:
            log.exception("traces_failed")
            self._failures += 1
        else:
            self._failures = 0
            return found
        return 0

    def _complain(self, message: str) -> None:
        if not self._failures:
            log.warning("traces_postponed", error=message)
        self._failures = min(self._failures + 1, 10)


class CollectorError(Exception):
    """The collector did not take what was sent."""


def _portions(ended: list[EndedExecution]) -> Iterator[list[EndedExecution]]:
    """Some at a time, by how many spans they have."""
    some: list[EndedExecution] = []
    count = 0
    for one in ended:
        if some and count + one.span_count > SEND_SPANS:
            yield some
            some, count = [], 0
        some.append(one)
        count += one.span_count
    if some:
        yield some
