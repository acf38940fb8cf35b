"""Delivering results: one bad one must not fail its batch, a short disturbance must not fail any."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from flowgres_process.logs import get_logger
from flowgres_runner.database.connection import Backoff
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.errors import (
    DatabaseContendedError,
    DatabaseExhaustedError,
    DatabaseRefusedError,
    DatabaseUnfitError,
)
from flowgres_runner.execution.chains import AnyResult
from flowgres_runner.execution.results import replacement

log = get_logger(__name__)

_MAX_CONTENTION_TRIES = 3
_MAX_UNFIT_TRIES = 3

Send = Callable[[list[AnyResult], int], Awaitable[list[ClaimedStep]]]
Park = Callable[[AnyResult], None]


class Delivery:
    """Sends a batch; halves it until the culprit is alone, which then fails in its own name.

    `send` is one call of complete_and_claim; DatabaseUnreachableError goes through, because then nobody knows whether
    the batch arrived, and it is sent again as it is. `park` gets results to be tried again later.
    """

    def __init__(self, send: Send, park: Park) -> None:
        self._send = send
        self._park = park

    async def deliver(self, batch: list[AnyResult], want: int) -> list[ClaimedStep]:
        """Send a batch and return what the call leases; every member is recorded, replaced, or parked."""
        contention_tries = unfit_tries = 0
        backoff = Backoff()
        while True:
            try:
                return await self._send(batch, want)
            except DatabaseExhaustedError as error:
                log.warning(error.code, sqlstate=error.sqlstate, error=error.message)
                await asyncio.sleep(backoff.next_seconds())
                continue
            except DatabaseContendedError as error:
                contention_tries += 1
                log.info("batch_contended", sqlstate=error.sqlstate, results=len(batch), tries=contention_tries)
                # As objects what is held is passed over; a chain would wait for its row again.
                batch = [result.unfolded() for result in batch]
                await asyncio.sleep(random.uniform(0.005, 0.05) * contention_tries)  # noqa: S311 - jitter
                if contention_tries < _MAX_CONTENTION_TRIES or not batch:
                    continue
                if len(batch) == 1:
                    self._park(batch[0])  # somebody holds its lock: the others go on
                    return []
            except DatabaseUnfitError as error:
                unfit_tries += 1
                log.error("batch_refused", sqlstate=error.sqlstate, error=error.message, results=len(batch))
                await asyncio.sleep(backoff.next_seconds())
                if unfit_tries < _MAX_UNFIT_TRIES or not batch:
                    continue
                if len(batch) == 1:
                    self._park(batch[0])
                    return []
            except DatabaseRefusedError as error:
                if not batch:
                    log.error("claim_refused", sqlstate=error.sqlstate, error=error.message)
                    await asyncio.sleep(backoff.next_seconds())
                    continue
                if len(batch) == 1:
                    simpler = batch[0].simpler()
                    if simpler is None:
                        return await self._replace(batch[0], error)
                    batch = [simpler]
                    continue
            return await self._deliver_halves(batch)

    async def _deliver_halves(self, batch: list[AnyResult]) -> list[ClaimedStep]:
        middle = len(batch) // 2
        rows = await self.deliver(batch[:middle], 0)
        return rows + await self.deliver(batch[middle:], 0)

    async def _replace(self, result: AnyResult, error: DatabaseRefusedError) -> list[ClaimedStep]:
        log.error(
            "result_refused",
            execution_id=result.claimed.execution_id,
            # The server's sentence quotes the data, which is not for the log.
            sqlstate=error.sqlstate,
        )
        if result.is_replaced or not result.is_final:
            # Not the result's own text then. A started message can be dropped, a failure is tried again later.
            if result.is_final:
                self._park(result)
            return []
        return await self.deliver([replacement(result.claimed)], 0)
