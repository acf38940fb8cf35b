"""Running cases: all at once, one real runner, and a clock that is moved when nothing else can happen.

A case is a tenant, so nothing of one is seen by another. When no step of any case is ready, and every attempt that is
under way waits for the clock, it is moved to what is due first, whosever that is. So it is one time for all of them,
and cases that begin at different moments go one group after the other.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from flowgres_cli.errors import CliError
from flowgres_cli.testing.cases import Case, Failure, Outcome, Result
from flowgres_cli.testing.clock import VirtualClock
from flowgres_cli.testing.engine import Engine, Look, RefusedError
from flowgres_cli.testing.expecting import judge
from flowgres_cli.testing.mocks import Answers
from flowgres_cli.testing.network import MockedTransport
from flowgres_cli.testing.steps import Stagehand
from flowgres_cli.testing.throwaway import ThrowAway
from flowgres_cli.testing.world import World
from flowgres_process.errors import ProcessError
from flowgres_process.logs import configure_logs
from flowgres_process.secret_keys import SecretKeys
from flowgres_runner.http import EgressPolicy
from flowgres_runner.runner import Runner
from flowgres_runner.settings import RunnerSettings
from flowgres_runner.surroundings import Surroundings

AT_ONCE = 100
"""Cases of a group that run together."""
_PAUSE_SECONDS = 0.003
_LONGEST_PAUSE_SECONDS = 0.025
"""Between looks; the longer nothing has changed, the longer."""
_START_SECONDS = 30.0
_STUCK_LOOKS = 3
"""So often nothing must be due before that is believed: what was about to be written is there by then."""


@dataclass(slots=True)
class _Running:
    case: Case
    tenant_id: str
    execution_id: str
    world: World
    began: float


class Harness:
    """Runs cases in a database; `on_result` hears of each that has ended, in the order in which they end.

    `timeout_seconds` is how long a case may take in real time. With `stops_at_failure` nothing goes on after the first.
    """

    def __init__(
        self,
        database: ThrowAway,
        *,
        run_types: Iterable[str],
        timeout_seconds: float,
        stops_at_failure: bool = False,
        on_result: Callable[[Result], None],
    ) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._stops_at_failure = stops_at_failure
        self._on_result = on_result
        self._secret_key = base64.b64encode(os.urandom(32)).decode()
        self._worlds: dict[str, World] = {}
        self._clock = VirtualClock(datetime.now(UTC))
        self._run_types = frozenset(run_types)
        self._is_over = False

    async def run(self, cases: Sequence[Case]) -> None:
        """Run them all. Raises CliError when the runner cannot work."""
        configure_logs(level="error", output_format="auto")
        runner = self._make_runner()
        working = asyncio.create_task(runner.run())
        keys = SecretKeys(self._secret_key)
        try:
            async with await psycopg.AsyncConnection.connect(self._database.owner_dsn, autocommit=True) as connection:
                going = asyncio.create_task(self._run_groups(Engine(connection, keys), runner, cases))
                try:
                    await asyncio.wait([working, going], return_when=asyncio.FIRST_COMPLETED)
                    if not going.done():
                        working.result()
                        raise CliError("the runner ended before the cases did")
                    going.result()
                finally:
                    going.cancel()
                    await asyncio.gather(going, return_exceptions=True)
        except ProcessError as error:
            raise CliError(error.message, code=error.code, hint=error.hint) from error
        finally:
            runner.request_stop()
            await asyncio.gather(working, return_exceptions=True)

    def _make_runner(self) -> Runner:
        stagehand = Stagehand(self._clock, self._worlds, self._run_types)
        settings = RunnerSettings(
            database_url=self._database.runner_dsn,
            direct_url=self._database.runner_dsn,
            name="flowgres-test",
            # Whatever waits for the clock has its slot until that is moved.
            concurrency=10_000,
            grace_seconds=0.0,
            secret_key=self._secret_key,
            # Sql steps are served, to be answered for: nothing is ever called there.
            sql_url=self._database.runner_dsn,
        )
        surroundings = Surroundings(
            transport=MockedTransport(self._clock),
            timing=self._clock,
            # What it said may be of before it was moved.
            database_now=lambda: self._clock.now,
            offered=stagehand.offered(),
            choose=stagehand.choose,
        )
        # Nothing is called, so there is nothing to guard.
        return Runner(settings, http_policy=EgressPolicy(allow_private_networks=True), surroundings=surroundings)

    async def _run_groups(self, engine: Engine, runner: Runner, cases: Sequence[Case]) -> None:
        async with asyncio.timeout(_START_SECONDS):
            while not await engine.runner_count():
                await asyncio.sleep(_PAUSE_SECONDS)
        groups: dict[datetime | None, list[Case]] = {}
        for case in cases:
            groups.setdefault(case.now, []).append(case)
        real = datetime.now(UTC)
        for now, group in groups.items():
            for first in range(0, len(group), AT_ONCE):
                await self._run_group(engine, runner, now or real, group[first : first + AT_ONCE])

    async def _run_group(self, engine: Engine, runner: Runner, now: datetime, cases: Sequence[Case]) -> None:
        if self._is_over:
            return
        await self._move(engine, now)
        running: dict[str, _Running] = {}
        for case in cases:
            one = await self._start(engine, case)
            if one is not None:
                running[one.tenant_id] = one
        # Until here the clock stood still for all of them.
        ends_at = time.monotonic() + self._timeout_seconds
        stuck, pause = 0, _PAUSE_SECONDS
        while running and not self._is_over:
            look = await engine.look(list(running))
            for tenant_id in running.keys() - look.open:
                await self._end(engine, running.pop(tenant_id))
                pause = _PAUSE_SECONDS
            if time.monotonic() > ends_at:
                await self._give_up_all(engine, running, f"{self._timeout_seconds:g} s of real time were not enough")
            elif look.has_expired or look.has_wakes or look.has_orphans:
                await engine.sweep()
                runner.look_for_work()
            elif self._is_quiet(look) and running:
                due_at = self._next(look)
                stuck = stuck + 1 if due_at is None else 0
                if due_at is not None:
                    await self._move(engine, due_at)
                    runner.look_for_work()
                    pause = _PAUSE_SECONDS
                elif stuck >= _STUCK_LOOKS:
                    await self._give_up_all(engine, running, "it cannot go on: nothing that it waits for is due")
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 1.3)

    def _is_quiet(self, look: Look) -> bool:
        """Whether nothing can happen but by the clock."""
        return not look.ready_count and look.leased <= frozenset(self._clock.sleeping)

    def _next(self, look: Look) -> datetime | None:
        timer = self._clock.next_timer(look.leased)
        times = [moment for moment in (look.due_at, timer) if moment is not None]
        return min(times, default=None)

    async def _move(self, engine: Engine, moment: datetime) -> None:
        # The database first: what is reported from here on happens then.
        await engine.set_clock(moment)
        self._clock.move_to(moment)

    async def _start(self, engine: Engine, case: Case) -> _Running | None:
        slug = f"case-{len(self._worlds) + 1}"
        world = self._worlds[slug] = World(Answers(case.mocks))
        began = time.monotonic()
        try:
            tenant_id = await engine.set_up(case, slug)
        except RefusedError as error:
            failure = Failure(case.source.workflow.file, f"the engine refuses the workflow: {error}")
            self._tell(Result(case, (failure,), time.monotonic() - began))
            return None
        try:
            execution_id = await engine.start(case, tenant_id)
        except RefusedError as error:
            outcome = Outcome(execution=None, refusal=error.refusal)
            self._tell(Result(case, judge(case, outcome), time.monotonic() - began, outcome=outcome))
            return None
        return _Running(case, tenant_id, execution_id, world, began)

    async def _end(self, engine: Engine, one: _Running) -> None:
        outcome = await self._outcome(engine, one)
        self._tell(
            Result(
                one.case,
                judge(one.case, outcome),
                time.monotonic() - one.began,
                virtual_seconds=outcome.virtual_seconds,
                notes=_notes(one),
                outcome=outcome,
            )
        )

    async def _outcome(self, engine: Engine, one: _Running) -> Outcome:
        execution = await engine.read(one.tenant_id, one.execution_id)
        created, finished = execution["created_at"], execution.get("finished_at")
        ended = self._clock.now if finished is None else datetime.fromisoformat(finished)
        return Outcome(
            execution=execution,
            items=await engine.read_items(one.tenant_id, one.execution_id),
            executions=await engine.read_executions(one.tenant_id),
            sent=tuple(one.world.sent),
            unanswered=tuple(one.world.unanswered),
            virtual_seconds=(ended - datetime.fromisoformat(created)).total_seconds(),
        )

    async def _give_up_all(self, engine: Engine, running: dict[str, _Running], why: str) -> None:
        while running:
            _, one = running.popitem()
            await self._give_up(engine, one, why)

    async def _give_up(self, engine: Engine, one: _Running, why: str) -> None:
        outcome = await self._outcome(engine, one)
        failure = Failure(one.case.source.place(one.case.path), f"{why}; {_describe(outcome)}")
        notes = tuple(Failure(one.case.source.place(one.case.path), note) for note in one.world.unanswered)
        with contextlib.suppress(RefusedError):  # when it has just ended
            await engine.cancel(one.tenant_id, one.execution_id)
        self._tell(
            Result(
                one.case,
                (failure, *notes),
                time.monotonic() - one.began,
                virtual_seconds=outcome.virtual_seconds,
                outcome=outcome,
                is_given_up=True,
            )
        )

    def _tell(self, result: Result) -> None:
        if self._is_over:
            return
        self._on_result(result)
        self._is_over = self._stops_at_failure and not result.is_passed


def _notes(one: _Running) -> tuple[str, ...]:
    """Mocks of the case itself that were for nothing; those of its file are for other cases, too."""
    return tuple(
        f"{one.case.source.place(mock.path)}: nobody asked this mock"
        for mock in one.world.answers.unasked
        if mock.path[0] == one.case.path[0]
    )


def _describe(outcome: Outcome) -> str:
    """Where an execution stands, in words."""
    execution: Any = outcome.execution
    named = [
        f"{step['step']} ({step['type']}) is {step['status']}"
        + (f" since {step['ready_at']}" if step["ready_at"] else "")
        for step in execution["steps"] or ()
        if step["status"] in ("ready", "running", "waiting", "retrying")
    ]
    return f"the execution is {execution['status']}" + (f": {', '.join(named)}" if named else "")
