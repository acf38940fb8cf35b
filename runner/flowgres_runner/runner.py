"""A runner process: its parts, put together, started, and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flowgres_process.callbacks import Callbacks
from flowgres_process.logs import get_logger
from flowgres_process.secret_keys import SecretKeys
from flowgres_runner.database import queries
from flowgres_runner.database.belief import Belief
from flowgres_runner.database.calls import SqlCalls
from flowgres_runner.database.connection import Link, require_direct, retry_until_answered
from flowgres_runner.database.listening import Listener
from flowgres_runner.database.refusals import refusal_of
from flowgres_runner.errors import DatabaseError, DatabaseRefusedError, DatabaseUnfitError
from flowgres_runner.evaluator import EvaluatorPool
from flowgres_runner.execution.contexts import ContextCache
from flowgres_runner.execution.executor import Executor
from flowgres_runner.execution.running import RESERVE_PART, RunningSteps
from flowgres_runner.execution.secret_store import SecretStore
from flowgres_runner.execution.versions import VersionCache
from flowgres_runner.http import Client, EgressPolicy
from flowgres_runner.mail import Mailer
from flowgres_runner.memory import calm_collector, return_memory
from flowgres_runner.reading.reader import Reader
from flowgres_runner.secrets import Placeholders
from flowgres_runner.settings import RunnerSettings
from flowgres_runner.steps.base import Handler
from flowgres_runner.steps.http import HttpStep
from flowgres_runner.steps.llm import LlmHandler
from flowgres_runner.steps.notify import NotifyHandler
from flowgres_runner.steps.registry import (
    core_handlers,
    custom_handlers,
    keep_served,
    look_after_handlers,
    published_types,
    start_handlers,
)
from flowgres_runner.steps.sql import SqlStep
from flowgres_runner.surroundings import Surroundings
from flowgres_runner.upkeep.checking import VersionChecker
from flowgres_runner.upkeep.progress import tell_progress
from flowgres_runner.upkeep.scheduling import Scheduler
from flowgres_runner.upkeep.timekeeper import Timekeeper
from flowgres_runner.upkeep.tracing import Tracer, make_telemetry
from flowgres_runner.work.heartbeat import DatabaseClock, Heartbeat
from flowgres_runner.work.leases import Leases
from flowgres_runner.work.loop import WorkLoop
from flowgres_runner.work.outbox import Outbox
from flowgres_runner.work.tallies import Tallies

log = get_logger(__name__)

PROTOCOL = 2
"""Version of the contract with the database's functions; must equal the setting `protocol`."""

LOOKUP_SECONDS = 8.0
"""For one look-up: a backend that stands still is left within ten seconds."""
WORK_SECONDS = 20.0
"""For one batch of reports, which may wait for a slow disk."""
SWEEP_SECONDS = 60.0
"""For one sweep: retiring history moves much."""

_DRAIN_LOOK_SECONDS = 0.02
_LAST_CALL_SECONDS = 5.0
"""For calls that are under way when the grace is over."""


class Runner:
    """One runner: `run` works until `request_stop`, then finishes within the grace, and returns.

    A runner that was given up by the database (it was stopped, or cut off, for longer than the lease) forgets all it
    held and goes on under a new id.
    """

    def __init__(
        self,
        settings: RunnerSettings,
        *,
        http_policy: EgressPolicy | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        around = surroundings or Surroundings()
        self._settings = settings
        self._id = str(uuid.uuid4())
        self._stop = asyncio.Event()
        prepare = not settings.through_pooler

        def link(purpose: str, seconds: float) -> Link:
            name = f"flowgres-runner {purpose}"
            return Link(settings.database_url, application_name=name, prepare=prepare, seconds=seconds)

        self._work_links = [link("work", WORK_SECONDS) for _ in range(settings.lanes)]
        self._lookup_link = link("lookup", LOOKUP_SECONDS)
        self._heartbeat_link = link("heartbeat", LOOKUP_SECONDS)
        self._timekeeper_link = link("timekeeper", SWEEP_SECONDS)
        self._schedule_link = link("schedules", WORK_SECONDS)
        self._tracer: Tracer | None = None
        if settings.trace_seconds is not None:
            self._tracer = Tracer(link("traces", WORK_SECONDS), make_telemetry(), seconds=settings.trace_seconds)

        self._clock = DatabaseClock()
        self._reader = Reader()
        connections = settings.concurrency + settings.concurrency // RESERVE_PART
        self._http = Client(
            policy=http_policy or EgressPolicy(),
            concurrency=connections,
            transport=around.transport,
            reader=self._reader,
            timing=around.timing,
        )
        secret_keys = SecretKeys(settings.secret_key, settings.previous_secret_key)
        self._callbacks = Callbacks(secret_keys, settings.public_url)
        self._mailer = Mailer(policy=http_policy or EgressPolicy())
        self._calls = SqlCalls(settings.sql_url, runner_id=self._runner_id, connections=settings.sql_connections)
        self._core = core_handlers(
            http=HttpStep(self._http, has_callbacks=self._callbacks.is_ready),
            now=around.database_now or self._clock.now,
            reaching=(
                NotifyHandler(self._mailer),
                LlmHandler(self._reader),
                *([SqlStep(self._calls)] if settings.sql_url else []),
            ),
        )
        self._custom = custom_handlers(frozenset(self._core)) if around.offered is None else dict(around.offered)
        self._serves_core = keep_served(settings.types, self._core, self._custom)
        self._handlers: dict[str, Handler] = dict(self._core)

        self._outbox = Outbox()
        self._belief = Belief()
        self._leases = Leases(self._belief)
        self._contexts = ContextCache()
        self._pool = EvaluatorPool(processes=settings.evaluators)
        placeholders = Placeholders()
        self._running = RunningSteps(
            concurrency=settings.concurrency,
            placeholders=placeholders,
            secret_store=SecretStore(self._lookup_link, secret_keys),
            client=self._http,
            belief=self._belief,
            timing=around.timing,
            logs_traces=settings.trace_seconds is not None,
            providers=settings.providers,
        )
        self._executor = Executor(
            link=self._lookup_link,
            versions=VersionCache(
                self._lookup_link,
                self._handlers,
                max_output_bytes=settings.max_output_bytes,
                step_timeout_seconds=settings.http_step_seconds,
                choose=around.choose,
                callbacks=self._callbacks,
            ),
            contexts=self._contexts,
            pool=self._pool,
            placeholders=placeholders,
            put=self._outbox.put,
            runner_id=self._runner_id,
            start_task=self._running.start,
            give_back=self._release,
            reader=self._reader,
            on_room=lambda: self._loop.look_for_work(),
            wait_for_room=self._outbox.wait_for_room,
        )
        self._running.attach(self._executor, lambda result: self._outbox.put([result]))
        self._loop = WorkLoop(
            links=self._work_links,
            outbox=self._outbox,
            leases=self._leases,
            running=self._running,
            slow=self._executor.slow,
            execute=self._executor.execute,
            runner_id=self._runner_id,
            poll_seconds=settings.poll_seconds or 1.0,
        )
        self._timekeeper = Timekeeper(self._timekeeper_link, on_work=self._loop.look_for_work)
        self._tallies = Tallies(
            lambda: {
                "steps_reported": self._executor.completed_count,
                "round_trips": self._loop.round_trips,
                "leases_rescued": self._timekeeper.rescued_count,
                "executions_forgotten": self._timekeeper.forgotten_count,
                "evaluator_kills": self._pool.died_count,
            }
        )
        self._scheduler = Scheduler(self._schedule_link, on_work=self._loop.look_for_work)
        self._listener = Listener(settings.direct_url, self._take_notice)
        self._checker = VersionChecker(self._timekeeper_link, on_work=self._loop.look_for_work)
        self._started_at = time.monotonic()

    def _runner_id(self) -> str:
        return self._id

    def request_stop(self) -> None:
        """Finish what runs, give the rest back, and end."""
        self._stop.set()

    def look_for_work(self) -> None:
        """Look at once instead of in its turn: something may have become ready."""
        self._loop.look_for_work()

    def _take_notice(self) -> None:
        self._loop.look_for_work()
        self._scheduler.look()

    async def run(self) -> None:
        """Work until asked to stop. Raises RegistrationError when the database does not want this runner."""
        await start_handlers(self._custom)
        self._handlers |= self._custom
        try:
            await self._work()
        finally:
            await asyncio.gather(*(handler.stop() for handler in self._custom.values()))

    async def _work(self) -> None:
        # What is not installed will not be so in a moment, either.
        answer = await self._register(raising=(DatabaseRefusedError, DatabaseUnfitError))
        if self._stop.is_set():
            return
        await self._pool.start()
        calm_collector()
        return_memory()
        heartbeat = Heartbeat(
            link=self._heartbeat_link,
            runner_id=self._runner_id,
            running=self._running,
            clock=self._clock,
            belief=self._belief,
            stats=self._stats,
            interval_seconds=float(answer.get("heartbeat_seconds") or 2),
            lease_seconds=float(answer.get("lease_seconds") or 10),
            on_dead=self._begin_anew,
            on_lost=self._let_go,
            # Others may have continued these executions while this process stood still.
            on_silence=self._contexts.clear,
            on_drain=self.request_stop,
        )
        services = [
            self._loop.run(),
            heartbeat.run(),
            self._timekeeper.run(),
            self._scheduler.run(),
            self._checker.run(),
            self._listener.run(),
            self._running.announce_forever(),
            tell_progress(self._lookup_link, self._runner_id, self._running),
            look_after_handlers(self._custom),
            self._leases.reconcile_forever(self._lookup_link, self._runner_id),
        ]
        if self._tracer is not None:
            services.append(self._tracer.run())
        tasks = [asyncio.create_task(service) for service in services]
        stopping: asyncio.Task[Any] = asyncio.create_task(self._stop.wait())
        log.info("runner_started", runner_id=self._id, concurrency=self._settings.concurrency)
        try:
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    # A service ends only by a bug: better a restart than half a runner.
                    task.result()
            await self._finish()
        finally:
            for task in [*tasks, stopping]:
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            await self._close()

    async def _register(self, *, raising: tuple[type[DatabaseError], ...] = (DatabaseRefusedError,)) -> dict[str, Any]:
        settings = self._settings
        info = {
            "name": settings.name,
            "version": _package_version(),
            "protocol": PROTOCOL,
            "environment": settings.environment,
            "step_types": published_types(self._handlers),
            "serves_core": self._serves_core,
            "labels": list(settings.labels),
            "concurrency": settings.concurrency,
            "pid": os.getpid(),
        }
        register = asyncio.create_task(
            retry_until_answered(
                lambda: self._announce(info),
                purpose="register",
                raising=raising,
            )
        )
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([register, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not register.done():
            register.cancel()
            return {}
        try:
            answer = register.result()
        except DatabaseError as error:
            raise refusal_of(error) from error
        self._apply(answer)
        return answer

    async def _announce(self, info: dict[str, Any]) -> dict[str, Any]:
        await require_direct(self._settings.direct_url)
        return await queries.register_runner(self._lookup_link, runner_id=self._id, info=info)

    def _apply(self, answer: dict[str, Any]) -> None:
        """The database's settings, where the environment says nothing."""
        if self._settings.poll_seconds is None and answer.get("poll_seconds"):
            self._loop.poll_seconds = float(answer["poll_seconds"])
        lease_seconds = self._settings.lease_seconds
        if lease_seconds is not None and lease_seconds != float(answer.get("lease_seconds") or 0):
            log.warning("setting_notice", notice="RUNNER_LEASE_SECONDS is ignored: the setting lease_seconds decides")
        if answer.get("now"):
            self._clock.observe(answer["now"], round_trip_seconds=0.0)

    def _let_go(self, claims: Sequence[queries.ClaimedStep]) -> None:
        self._leases.drop(claims)
        # They report nothing, so nothing else would tell the lanes that there is room again.
        self._loop.look_for_work()

    async def _begin_anew(self) -> None:
        log.warning("runner_given_up", runner_id=self._id, steps=len(self._leases))
        self._running.abort_all(reason="runner_given_up")
        dropped = self._outbox.clear()
        if dropped:
            log.warning("results_discarded", results=dropped, reason="runner_given_up")
        self._executor.slow.take_waiting()
        self._leases.clear()
        self._contexts.clear()
        self._id = str(uuid.uuid4())
        self._tallies.begin_anew()
        await self._register()
        log.info("runner_started", runner_id=self._id, concurrency=self._settings.concurrency)
        self._loop.look_for_work()

    def _stats(self) -> dict[str, Any]:
        return {
            "counters": self._tallies.tell(),
            "is_blocked": self._loop.is_blocked,
            "deaf_seconds": round(self._listener.deaf_seconds, 1),
            "evaluators_died_lately": self._pool.died_lately_count,
            "is_without_evaluators": self._pool.is_failing,
            "running": len(self._running),
            "leased": len(self._leases),
            "cached_executions": len(self._contexts),
            "uptime_seconds": round(time.monotonic() - self._started_at, 1),
        }

    async def _finish(self) -> None:
        """Take no more, give back what has not begun, let the rest end within the grace, give back what is left."""
        log.info("runner_stopping", runner_id=self._id, running=len(self._running), leased=len(self._leases))
        self._loop.stop_claiming()
        await self._release([*self._running.take_waiting(), *self._executor.slow.take_waiting()])
        deadline = time.monotonic() + self._settings.grace_seconds
        while not self._loop.is_done and time.monotonic() < deadline:
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)
        self._running.abort_all(reason="grace_over")
        self._outbox.close()
        # What is on its way may be recorded any moment: given back, it would be run again. What takes too long for us
        # is rescued by others, who wait for it.
        deadline = time.monotonic() + _LAST_CALL_SECONDS
        if self._leases.is_calling:
            log.info("calls_awaited", seconds=_LAST_CALL_SECONDS)
        while self._leases.is_calling and time.monotonic() < deadline:
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)
        left = [claimed for claimed in self._leases.all() if not self._outbox.is_sending(claimed.execution_id)]
        if left:
            log.warning("steps_released", steps=len(left), reason="grace_over")
            await self._release(left)
        with contextlib.suppress(DatabaseError):
            await queries.stop_runner(self._lookup_link, runner_id=self._id)
        log.info("runner_stopped", runner_id=self._id, steps=self._executor.completed_count)

    async def _release(self, claims: Sequence[queries.ClaimedStep]) -> None:
        try:
            await self._loop.release(self._lookup_link, claims)
        except DatabaseError as error:
            # The lease runs out by itself; it only takes longer.
            log.warning("release_failed", steps=len(claims), error=error.message)

    async def _close(self) -> None:
        await self._pool.close()
        await self._checker.close()
        await self._http.close()
        await self._mailer.close()
        await self._reader.close()
        if self._tracer is not None:
            await self._tracer.close()
        await self._calls.close()
        single = [self._lookup_link, self._heartbeat_link, self._timekeeper_link, self._schedule_link]
        links = [*self._work_links, *single]
        await asyncio.gather(*(link.close() for link in links))


def _package_version() -> str:
    try:
        return version("flowgres")
    except PackageNotFoundError:
        return "0"
