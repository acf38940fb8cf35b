"""The work loop without a runner around it, on a test's database."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from flowgres_process.secret_keys import SecretKeys
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.errors import DatabaseUnreachableError
from flowgres_runner.execution.chains import AnyResult
from flowgres_runner.execution.results import Result, encode_outcome
from flowgres_runner.execution.running import RunningSteps
from flowgres_runner.execution.secret_store import SecretStore
from flowgres_runner.execution.slow import SlowSteps
from flowgres_runner.http import Client
from flowgres_runner.secrets import Placeholders
from flowgres_runner.steps.base import Completed, Outcome
from flowgres_runner.work.leases import Leases
from flowgres_runner.work.loop import WorkLoop
from flowgres_runner.work.outbox import Outbox
from tests.support.database import Database

LONG = 60.0
"""No test lasts as long: what is set to it does not happen."""


class WatchedLink(Link):
    """Notes the calls, as `claim:1` for one that brought a step, `complete+claim:0`, `complete`, `declare_idle`."""

    calls: list[str]
    before_answer: Callable[[str], None] | None = None
    breaks_off: asyncio.Event | None = None
    """Set it, and the next report does not get through."""

    async def call(self, query: str, parameters: Sequence[Any] = (), **named: Any) -> list[Any]:
        name = query.partition("flowgres.")[2].partition("(")[0]
        want_at = {"complete_and_claim": 2, "complete_chains": 10}.get(name)
        if want_at is not None and self.breaks_off is not None and self.breaks_off.is_set():
            self.breaks_off.clear()
            raise DatabaseUnreachableError("broken off", hint="")
        rows = await super().call(query, parameters, **named)
        if want_at is not None:
            name = f"complete+claim:{len(rows)}" if parameters[want_at] else "complete"
        elif name == "claim":
            name = f"claim:{len(rows)}"
        self.calls.append(name)
        if self.before_answer is not None:
            self.before_answer(name)
        return rows


class Loop:
    """A real work loop on the test's database, whose steps wait until the test reports them. Nobody listens."""

    def __init__(self, database: Database) -> None:
        self.calls: list[str] = []
        self.batches: list[int] = []
        self.breaks_off = asyncio.Event()
        self.leases = Leases()
        self.claimed: asyncio.Queue[ClaimedStep] = asyncio.Queue()
        self.outbox = Outbox()
        self.runner_id = str(uuid.uuid4())
        self.links = [WatchedLink(database.dsn("runner"), application_name="test") for _ in range(2)]
        for link in self.links:
            link.calls = self.calls
            link.breaks_off = self.breaks_off
        placeholders = Placeholders()
        self.loop = WorkLoop(
            links=self.links,
            outbox=self.outbox,
            leases=self.leases,
            running=RunningSteps(
                concurrency=10,
                placeholders=placeholders,
                secret_store=SecretStore(self.links[0], SecretKeys("")),
                client=Client(),
            ),
            slow=SlowSteps(at_once=1, run=self._hold, give_back=self._hold, on_room=lambda: self.loop.look_for_work()),
            execute=self._execute,
            runner_id=lambda: self.runner_id,
            poll_seconds=LONG,
        )

    async def _execute(self, claimed: Sequence[ClaimedStep]) -> None:
        self.batches.append(len(claimed))
        for step in claimed:
            self.claimed.put_nowait(step)

    async def _hold(self, _claimed: object) -> None:
        await asyncio.sleep(LONG)

    async def take(self) -> ClaimedStep:
        """The next step that was claimed."""
        return await asyncio.wait_for(self.claimed.get(), 30)

    def report(self, *steps: ClaimedStep, outcome: Outcome | None = None) -> None:
        """Hand over results, as those of one batch."""
        self.outbox.put([result(step, outcome or Completed(1)) for step in steps])

    def put(self, results: Iterable[AnyResult]) -> None:
        """Hand over results as they are."""
        self.outbox.put(results)

    async def holds_nothing(self) -> None:
        """Wait until all that was put is recorded."""
        async with asyncio.timeout(30):
            while len(self.leases) or len(self.outbox):
                await asyncio.sleep(0.005)

    async def sleeps(self) -> list[str]:
        """Wait until it has declared itself idle and looked once more (and no second time): the calls until then."""
        async with asyncio.timeout(30):
            while self.calls[-2:] != ["declare_idle", "claim:0"]:
                await asyncio.sleep(0.005)
        calls = self.calls.copy()
        self.calls.clear()
        return calls


def result(step: ClaimedStep, outcome: Outcome) -> Result:
    return encode_outcome(step, outcome, milliseconds=1, max_bytes=1000).result


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[Loop]:
    lane = Loop(database)
    info = {"name": "x", "version": "0", "protocol": 2, "environment": "development"}
    await queries.register_runner(lane.links[0], runner_id=lane.runner_id, info=info)
    lane.calls.clear()
    task = asyncio.create_task(lane.loop.run())
    try:
        yield lane
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for link in lane.links:
            await link.close()
