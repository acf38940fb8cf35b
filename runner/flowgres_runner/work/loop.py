"""The work loop: lanes that carry results to the database and bring steps back.

Each lane is a connection. What has arrived in the outbox during one round trip leaves with the next (group commit); a
lone result leaves at once. Asking for steps rides along. A claim that brought less than was asked for has emptied the
queue: the next one goes with the results of that work, or comes a few milliseconds later, out of its way. When there is
nothing to claim, the runner says that it is idle, claims once more (a start may have come in between and not have seen
anybody idle) and again a moment later (it may have been about to commit), and sleeps until NOTIFY, the next due step
or the poll, whichever comes first; only the poll is a guarantee.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Backoff, Link
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.errors import DatabaseError, DatabaseRefusedError, DatabaseUnfitError, DatabaseUnreachableError
from flowgres_runner.execution.chains import AnyResult, ChainResult, chain_arrays
from flowgres_runner.execution.results import Result, results_text
from flowgres_runner.execution.running import RunningSteps
from flowgres_runner.execution.slow import SlowSteps
from flowgres_runner.failpoints import pass_failpoint
from flowgres_runner.work.delivery import Delivery
from flowgres_runner.work.leases import Leases
from flowgres_runner.work.outbox import Outbox

log = get_logger(__name__)

MAX_BATCH = 500
MAX_PURE_IN_FLIGHT = 1500
"""Enough for a batch on the way in, one being rendered and one on the way out."""
SMALL_BATCH = 16
PAUSE_SECONDS = 0.005
"""From a claim that emptied the queue to the next that no result takes along: nobody notifies a runner that works."""
LATE_LOOK_SECONDS = 0.01
"""From lying down to one more look: a start may have seen nobody asleep just before, and commit just after."""
TENANTS_PER_CLAIM = 16
"""How many a claim serves at most, as SQL has it: one that served so many may have left others out."""
PARK_SECONDS = 5.0

Execute = Callable[[Sequence[ClaimedStep]], Coroutine[Any, Any, None]]


class WorkLoop:
    """Lanes, leases and the decision when to claim."""

    def __init__(
        self,
        *,
        links: Sequence[Link],
        outbox: Outbox,
        leases: Leases,
        running: RunningSteps,
        slow: SlowSteps,
        execute: Execute,
        runner_id: Callable[[], str],
        poll_seconds: float,
    ) -> None:
        self._links = links
        self._outbox = outbox
        self._leases = leases
        self._running = running
        self._slow = slow
        self._execute = execute
        self._runner_id = runner_id
        self.poll_seconds = poll_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._may_find_work = True
        self._has_hint = False
        self._is_claiming = False
        self._is_idle = False
        self._is_stopping = False
        self._waiting_lanes = 0
        self._last_tenant_id: str | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._pause_timer: asyncio.TimerHandle | None = None
        self.round_trips = 0
        self.is_blocked = False

    # --- what others tell the loop

    def look_for_work(self) -> None:
        """There may be something to claim: a notification, a due step, a free slot."""
        self._may_find_work = self._has_hint = True
        self._end_pause()
        self._outbox.arrived.set()

    def stop_claiming(self) -> None:
        """Take no more; finish what is here."""
        self._is_stopping = True
        self._outbox.arrived.set()

    @property
    def is_done(self) -> bool:
        """Whether nothing is claimed, being claimed, running or waiting to be sent."""
        is_holding = bool(self._tasks) or bool(len(self._leases)) or bool(len(self._running))
        return not is_holding and not len(self._outbox) and not self._leases.is_calling

    # --- lanes

    async def run(self) -> None:
        """Run all lanes until cancelled; an error in one ends all."""
        async with asyncio.TaskGroup() as group:
            for link in self._links:
                group.create_task(self._lane(link))

    async def _lane(self, link: Link) -> None:
        backoff = Backoff()
        delivery = Delivery(send=lambda batch, want: self._send(link, batch, want), park=self._park)
        was_lost = False
        while True:
            await self._leases.settled()
            batch = self._outbox.take(MAX_BATCH, MAX_PURE_IN_FLIGHT - self._busy_count)
            want = self._want(len(batch))
            if not batch and not want:
                self._outbox.arrived.clear()
                # Between the look and the clearing nothing can have come: there was no await.
                self._waiting_lanes += 1
                try:
                    await self._outbox.arrived.wait()
                finally:
                    self._waiting_lanes -= 1
                continue
            if want:
                self._is_claiming = True
                self._has_hint = False
            try:
                with self._leases.call():
                    try:
                        answer = await delivery.deliver(batch, want)
                    finally:
                        # Before anything else is waited for: another lane may go on with these executions.
                        self._outbox.settle(batch)
                    rows, batch = self._pass_over(answer, batch)
                    self._leases.settle(batch, rows)
                if len(rows) < len(batch):
                    # Something ended without a successor for us: it may have made a timer, a child or a parent ready.
                    self._is_idle = False
                    self._may_find_work = True
                    self._end_pause()
                if want:
                    await self._after_claim(link, rows, want)
            except DatabaseUnreachableError as error:
                # Fenced, so sending them again is safe, whether or not they arrived.
                self._outbox.put_back([result for result in batch if self._leases.holds(result.claimed)])
                self._leases.need_reconciling()
                if not was_lost:
                    log.warning("database_unreachable", purpose="work", error=error.message, hint=error.hint)
                was_lost = True
                self.look_for_work()
                await asyncio.sleep(backoff.next_seconds())
                continue
            finally:
                if want:
                    self._is_claiming = False
            if was_lost:
                log.info("database_reached", purpose="work")
                was_lost = False
                self._is_idle = False
            backoff.reset()
            if batch:
                pass_failpoint("after_commit")
            if rows:
                await self._take(link, rows)

    def _pass_over(
        self, answer: list[ClaimedStep], batch: list[AnyResult]
    ) -> tuple[list[ClaimedStep], list[AnyResult]]:
        """The leases of an answer and the results that were recorded; the others wait, and keep their leases."""
        passed_over = {(row.queue_id, row.token) for row in answer if row.is_passed_over}
        if not passed_over:
            return answer, batch
        held: list[AnyResult] = []
        recorded: list[AnyResult] = []
        for result in batch:
            (held if (result.claimed.queue_id, result.claimed.token) in passed_over else recorded).append(result)
        log.info("results_passed_over", results=len(held))
        self._outbox.hold(held)
        return [row for row in answer if not row.is_passed_over], recorded

    async def _send(self, link: Link, batch: list[AnyResult], want: int) -> list[ClaimedStep]:
        self.round_trips += 1
        if not batch:
            return await self._claim(link, want)
        pass_failpoint("before_commit")
        chains = [result for result in batch if isinstance(result, ChainResult)]
        others = [result for result in batch if isinstance(result, Result)]
        if not chains:
            return await queries.complete_and_claim(
                link,
                runner_id=self._runner_id(),
                results=results_text(others),
                want=want,
                after_tenant_id=self._last_tenant_id,
                room=self._room(len(batch)),
                caps=self._caps(),
            )
        return await queries.complete_chains(
            link,
            runner_id=self._runner_id(),
            chains=chain_arrays(chains),
            results=results_text(others) if others else None,
            want=want,
            after_tenant_id=self._last_tenant_id,
            room=self._room(len(batch)),
            caps=self._caps(),
        )

    async def _claim(self, link: Link, want: int) -> list[ClaimedStep]:
        try:
            rows = await queries.claim(
                link, runner_id=self._runner_id(), want=want, after_tenant_id=self._last_tenant_id, caps=self._caps()
            )
        except (DatabaseUnfitError, DatabaseRefusedError):
            # It has nothing to do with any data, so nothing is done here: the heartbeat says so.
            self.is_blocked = True
            raise
        self.is_blocked = False
        return rows

    def _room(self, leaving: int) -> int:
        """How many of the steps that results make ready may be handed over to this runner."""
        if self._is_stopping:
            return 0
        room = MAX_PURE_IN_FLIGHT - self._busy_count + leaving
        if len(self._running):
            # As for what is asked for: some of these may have to wait for something as well.
            room = min(room, self._running.free_slots + leaving)
        return max(0, room)

    @property
    def _busy_count(self) -> int:
        """Steps that are being rendered, or whose results are on their way; not those that wait for something."""
        return len(self._leases) - len(self._outbox) - len(self._running) - len(self._slow)

    def _caps(self) -> str | None:
        """How many steps at most to take of some tenants, so that these leave room for others; mostly of none."""
        caps = self._running.rooms() if len(self._running) else {}
        for tenant_id, room in self._slow.rooms().items():
            caps[tenant_id] = min(room, caps.get(tenant_id, caps.get("*", room)))
        return json.dumps(caps) if caps else None

    def _want(self, leaving: int) -> int:
        """How many steps to ask for; one lane asks at a time."""
        if self._is_stopping or self._is_claiming or not self._may_find_work:
            return 0
        if self._pause_timer is not None:
            # When the last of what was held is leaving, it is not to wait for a look either: that comes after it.
            if not leaving or (leaving < SMALL_BATCH and len(self._leases) <= leaving):
                return 0
        elif 0 < leaving < SMALL_BATCH and self._waiting_lanes:
            # A few results are somebody's latency: let another lane ask, beside them.
            self._outbox.arrived.set()
            return 0
        if len(self._running):
            # Something that waits has been claimed here: what comes next may be more of it, and has to have a slot.
            return min(MAX_BATCH, self._running.free_slots or self._running.free_reserve)
        return max(0, min(MAX_PURE_IN_FLIGHT - len(self._leases) + len(self._slow) + leaving, MAX_BATCH + leaving))

    async def _after_claim(self, link: Link, rows: list[ClaimedStep], want: int) -> None:
        claimed = [row for row in rows if not row.handed]
        if claimed:
            self._last_tenant_id = claimed[-1].tenant_id
            # The claim that found something has also taken the declaration back.
            self._is_idle = False
        if rows:
            # Handed steps may have used up the wish; ask again with the next results.
            is_all = len(rows) < want and len({row.tenant_id for row in rows}) < TENANTS_PER_CLAIM
            if is_all and not self._has_hint:
                self._begin_pause()
            return
        if self._is_idle:
            # A hint that came during the claim may be of what the claim could not see yet.
            self._may_find_work = self._has_hint
            self._sleep_until(self.poll_seconds)
            return
        # Another lane takes it back when what it reported may have parked a step: nobody knows whether the answer tells
        # of that one.
        self._is_idle = True
        try:
            due_seconds = await queries.declare_idle(link, runner_id=self._runner_id(), idle=True)
        except DatabaseUnreachableError:
            self._is_idle = False
            raise
        except DatabaseError as error:
            # Nobody notifies us then; the poll finds what comes, and declares anew.
            log.warning("idle_not_declared", sqlstate=error.sqlstate, error=error.message)
            self._is_idle = False
            self._may_find_work = self._has_hint
            self._sleep_until(self.poll_seconds)
            return
        if not self._is_idle:
            return
        asyncio.get_running_loop().call_later(LATE_LOOK_SECONDS, self._look_again)
        self._sleep_until(self.poll_seconds if due_seconds is None else min(due_seconds, self.poll_seconds))

    def _look_again(self) -> None:
        if self._is_idle:
            self.look_for_work()

    def _begin_pause(self) -> None:
        """For a moment ask together with results only."""
        self._end_pause()
        self._pause_timer = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self.look_for_work)

    def _end_pause(self) -> None:
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None

    def _sleep_until(self, seconds: float) -> None:
        """Look again after so long, or sooner if an earlier moment is set."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._poll_timer is not None and not self._poll_timer.cancelled():
            if loop.time() < self._poll_timer.when() <= at:
                return
            self._poll_timer.cancel()
        self._poll_timer = loop.call_at(at, self._poll)

    def _poll(self) -> None:
        self._poll_timer = None
        # Declared anew, which tells the next due step.
        self._is_idle = False
        self.look_for_work()

    async def _take(self, link: Link, rows: list[ClaimedStep]) -> None:
        pass_failpoint("after_claim")
        if self._is_stopping:
            try:
                await self.release(link, rows)
            except DatabaseError as error:
                # They stay ours until the runner has signed off; then others rescue them.
                log.warning("release_failed", steps=len(rows), error=error.message)
            return
        # Tasks for batches, not for the steps: this lane is free for other results meanwhile. A fan-out can bring
        # thousands of steps at once; the first are to be on their way back while the last are still being rendered.
        for first in range(0, len(rows), MAX_BATCH):
            task = asyncio.create_task(self._execute(rows[first : first + MAX_BATCH]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def release(self, link: Link, rows: Sequence[ClaimedStep]) -> None:
        """Give steps back that were not begun."""
        if rows:
            count = await queries.release(link, runner_id=self._runner_id(), leases=[row.lease for row in rows])
            self._leases.drop(rows)
            if count < len(rows):
                # Some are still ours, as long as somebody holds their rows.
                self._leases.need_reconciling()
            # There is room for what waits in the outbox.
            self._outbox.arrived.set()

    def _park(self, result: AnyResult) -> None:
        log.warning("result_parked", execution_id=result.claimed.execution_id, seconds=PARK_SECONDS)
        self._leases.park(result.claimed)
        asyncio.get_running_loop().call_later(PARK_SECONDS, self._unpark, result)

    def _unpark(self, result: AnyResult) -> None:
        self._leases.unpark(result.claimed)
        if self._leases.holds(result.claimed):
            self._outbox.put([result])
