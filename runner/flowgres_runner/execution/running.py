"""Steps that wait for something (HTTP, custom types): a task each, bounded, timed, abortable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from structlog.contextvars import bind_contextvars

from flowgres_process.errors import SecretError
from flowgres_process.logs import get_logger
from flowgres_runner.database.belief import Belief
from flowgres_runner.database.connection import retry_until_answered
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.execution.executor import Executor
from flowgres_runner.execution.handling import run_handler
from flowgres_runner.execution.prepared import Prepared
from flowgres_runner.execution.results import Ended, Result, RoundEnded, encode_started
from flowgres_runner.execution.secret_store import SecretStore
from flowgres_runner.failpoints import pass_failpoint
from flowgres_runner.http import Client
from flowgres_runner.http.budget import ByteBudget, current_room
from flowgres_runner.http.recording import Recorder, current_recorder
from flowgres_runner.payloads.masks import masker
from flowgres_runner.providers import NO_PROVIDERS, NOTHING_SHARED, SharedProviders
from flowgres_runner.secrets import Placeholders, put_values
from flowgres_runner.steps.base import (
    ChildStarted,
    Completed,
    Expanded,
    Failed,
    Json,
    JsonText,
    Outcome,
    Parked,
    Skipped,
    StepError,
    StepTools,
    Suspended,
    TransitionAsked,
)
from flowgres_runner.steps.failures import internal_failure
from flowgres_runner.steps.tools import make_tools
from flowgres_runner.timing import REAL_TIME, Timing
from flowgres_runner.turns import Turns

log = get_logger(__name__)

ANNOUNCE_AFTER_SECONDS = 0.25
REPORT_AFTER_SECONDS = 1.0
RESERVE_PART = 4
"""A quarter more than `concurrency` may run, for tenants that would find all of it taken by another one."""
_TICK_SECONDS = 0.1


class RunningStep:
    """A step whose task exists; `began` is None while it waits for a free slot.

    `began_at` is the same by the time that attempts are measured by.
    """

    __slots__ = ("began", "began_at", "is_announced", "prepared", "taken_at", "task", "tools")

    def __init__(self, prepared: Prepared, now: float) -> None:
        self.prepared = prepared
        self.taken_at = now
        self.began: float | None = None
        self.began_at = 0.0
        self.is_announced = False
        self.task: asyncio.Task[None] | None = None
        self.tools: StepTools | None = None


class RunningSteps:
    """All such steps of this runner, by queue id.

    `report` gets each outcome with its milliseconds, `reshape` applies a step's `output`, `announce` sends the message
    that a step runs. Aborted steps report nothing. With `logs_traces` what is logged meanwhile
    names the span. `providers` are the operator's.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        placeholders: Placeholders,
        secret_store: SecretStore,
        client: Client,
        belief: Belief | None = None,
        budget: ByteBudget | None = None,
        timing: Timing = REAL_TIME,
        logs_traces: bool = False,
        providers: SharedProviders = NOTHING_SHARED,
    ) -> None:
        self._logs_traces = logs_traces
        self._turns = Turns(concurrency, reserve=concurrency // RESERVE_PART)
        self._by_tenant: dict[str, int] = {}
        self._placeholders = placeholders
        self._secret_store = secret_store
        self._client = client
        self._belief = belief or Belief()
        self._budget = budget or ByteBudget()
        self._timing = timing
        self._providers = providers
        self._steps: dict[int, RunningStep] = {}
        self._executor: Executor | None = None
        self._send: Callable[[Result], None] | None = None

    def attach(self, executor: Executor, send: Callable[[Result], None]) -> None:
        """Say who takes outcomes, and who raw results: these need the running steps themselves to be made."""
        self._executor = executor
        self._send = send

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def free_slots(self) -> int:
        """How many more could run at once, whosever they are."""
        return max(0, self._turns.count - len(self._steps))

    @property
    def free_reserve(self) -> int:
        """How many more could run beyond that, of tenants that have next to nothing; however many of others wait."""
        return self._turns.free_count

    def rooms(self) -> dict[str, int]:
        """How many more of each tenant may come when only the reserve is left, and under "*" of any other."""
        if self.free_slots:
            return {}
        share = self._turns.guest_share
        rooms = {tenant_id: max(0, share - count) for tenant_id, count in self._by_tenant.items()}
        return {"*": share, **rooms}

    def start(self, prepared: Prepared, config: Json) -> None:
        """Run a step in a task of its own."""
        queue_id, tenant_id = prepared.claimed.queue_id, prepared.claimed.tenant_id
        self.abort([queue_id], reason="claimed_again")
        running = RunningStep(prepared, time.monotonic())
        self._steps[queue_id] = running
        self._by_tenant[tenant_id] = self._by_tenant.get(tenant_id, 0) + 1
        running.task = asyncio.create_task(self._run(running, config))

    def leases_running_longer(self, seconds: float) -> list[list[Any]]:
        """Leases of steps that have been here for some time: those whose loss is worth asking about."""
        before = time.monotonic() - seconds
        return [step.prepared.claimed.lease for step in self._steps.values() if step.taken_at <= before]

    def abort(self, queue_ids: list[int], *, reason: str) -> None:
        """Cancel steps whose lease is gone; their results are nobody's."""
        for queue_id in queue_ids:
            running = self._remove(queue_id)
            if running is None or running.task is None:
                continue
            claimed = running.prepared.claimed
            log.info(
                "result_discarded",
                execution_id=claimed.execution_id,
                step=running.prepared.step.id,
                reason=reason,
                **self._span_of(running.prepared),
            )
            running.task.cancel()

    def abort_lost(self, leases: list[list[Any]]) -> list[ClaimedStep]:
        """Cancel steps by lease, as a queue id alone may meanwhile be a newer lease of ours; returns their claims."""
        aborted: list[ClaimedStep] = []
        for lease in leases:
            running = self._steps.get(lease[2])
            if running is not None and running.prepared.claimed.token == lease[3]:
                aborted.append(running.prepared.claimed)
                self.abort([lease[2]], reason="lease_lost")
        return aborted

    def abort_all(self, *, reason: str) -> None:
        """Cancel everything."""
        self.abort(list(self._steps), reason=reason)

    def take_waiting(self) -> list[Any]:
        """Cancel those that have not begun; returns their claims, to be released."""
        waiting = [queue_id for queue_id, running in self._steps.items() if running.began is None]
        claims = [self._steps[queue_id].prepared.claimed for queue_id in waiting]
        self.abort(waiting, reason="released")
        return claims

    def _span_of(self, prepared: Prepared) -> dict[str, str]:
        """What a line of the log says of the trace of a step."""
        if not self._logs_traces:
            return {}
        trace = prepared.trace
        return {"trace_id": trace.trace_id, "span_id": trace.span_id}

    def _remove(self, queue_id: int) -> RunningStep | None:
        running = self._steps.pop(queue_id, None)
        if running is not None:
            tenant_id = running.prepared.claimed.tenant_id
            self._by_tenant[tenant_id] -= 1
            if not self._by_tenant[tenant_id]:
                del self._by_tenant[tenant_id]
        return running

    async def announce_forever(self) -> None:
        """Tell the database about steps that have been running for a while. One look at all beats a timer for each."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            before = time.monotonic() - ANNOUNCE_AFTER_SECONDS
            for running in self._steps.values():
                if not running.is_announced and running.began is not None and running.began <= before:
                    running.is_announced = True
                    if self._send is not None:
                        elapsed = (self._timing.monotonic() - running.began_at) * 1000
                        self._send(encode_started(running.prepared.claimed, milliseconds=elapsed))

    def take_progress(self) -> list[dict[str, Any]]:
        """What attempts say of how far they are, as far as it is to be told now: of those that are known to run."""
        told: list[dict[str, Any]] = []
        for running in self._steps.values():
            tools = running.tools
            last = tools.progress.take() if tools is not None and running.is_announced else None
            if tools is not None and last is not None:
                tenant_id, execution_id, queue_id, token = running.prepared.claimed.lease
                message = masker(tools.secret_values).text(last[1])
                told.append({"t": tenant_id, "x": execution_id, "q": queue_id, "k": token, "p": last[0], "m": message})
        return told

    async def _run(self, running: RunningStep, config: Json) -> None:
        prepared, executor = running.prepared, self._executor
        assert executor is not None  # noqa: S101 - nothing starts before `attach`
        claimed = prepared.claimed
        # The room lasts until the result is there: an answer is in memory for as long.
        await self._turns.take(claimed.tenant_id)
        try:
            await self._belief.restored()
            running.began, running.began_at = time.monotonic(), self._timing.monotonic()
            if self._logs_traces:
                # Of this task alone: each has a context of its own.
                bind_contextvars(**self._span_of(prepared))
            with self._budget.room(claimed.tenant_id) as room:
                current_room.set(room)
                try:
                    outcome = await self._outcome(running, config)
                    ended = await executor.reshaper.reshape(prepared, outcome, room)
                    ended = recorded(ended, current_recorder.get(), keeps_all=prepared.step.record == "all")
                except Exception:
                    log.exception("handler_failed", execution_id=claimed.execution_id, step=prepared.step.id)
                    ended = internal_failure()
        finally:
            self._turns.give_back(claimed.tenant_id)
        if self._steps.get(claimed.queue_id) is not running:
            return  # aborted, and the handler did not mind
        self._remove(claimed.queue_id)
        elapsed = (self._timing.monotonic() - running.began_at) * 1000
        executor.report(claimed, prepared, ended, milliseconds=elapsed)

    async def _outcome(self, running: RunningStep, config: Json) -> Outcome:
        prepared, step = running.prepared, running.prepared.step
        handler = step.handler
        assert handler is not None  # noqa: S101 - only such steps come here
        values: dict[str, str] = {}
        providers = NO_PROVIDERS
        sought = handler.provider_names(config)
        if step.secret_names or sought:
            try:
                config, values = await self._with_secrets(prepared, config, handler.secret_places, sought)
            except SecretError as error:
                return Failed(StepError(code=error.code, message=error.message, error_class="definition"))
        secret_values = tuple(values.values())
        if handler.has_stub:
            providers = self._providers.of(
                own={name: values[name] for name in sought if name in values},
                names=sought,
                settings=prepared.version.limits.provider_settings,
            )
            secret_values = (*secret_values, *providers.shared.values())
        if step.record != "none":
            current_recorder.set(Recorder((*secret_values, *prepared.own_secrets)))
        tools = None
        if handler.uses_tools:
            tools = make_tools(
                self._client,
                timeout_seconds=prepared.timeout_seconds,
                secret_values=secret_values,
                trace=prepared.trace,
                providers=providers,
            )
            running.tools = tools
        pass_failpoint("before_http")
        outcome = await run_handler(handler, prepared.task(config, tools), self._timing)
        if tools is not None:
            outcome = _with_logs(outcome, tools.log.lines)
        pass_failpoint("after_http")
        # The request carries its address to wherever it is sent; only what is told of it afterwards must not.
        secret_values = (*secret_values, *prepared.own_secrets)
        return masked_outcome(outcome, secret_values) if secret_values else outcome

    async def _with_secrets(
        self, prepared: Prepared, config: Json, places: Sequence[str], sought: Sequence[str]
    ) -> tuple[Json, dict[str, str]]:
        tenant_id = prepared.claimed.tenant_id
        names = prepared.step.secret_names
        values = await retry_until_answered(
            lambda: self._secret_store.values(tenant_id, names, if_stored=sought), purpose="get_secrets"
        )
        tokens = {self._placeholders.token(tenant_id, name): values[name] for name in names}
        if not isinstance(config, dict):
            return config, values
        return put_values(config, tokens=tokens, places=places), values


def masked_outcome(outcome: Outcome, secret_values: tuple[str, ...]) -> Outcome:
    """The outcome without any secret that was put into the configuration."""
    mask_of = masker(secret_values)

    def mask(value: Json) -> Json:
        return mask_of.json(value)  # type: ignore[return-value]  # JSON in, JSON out

    if isinstance(outcome, ChildStarted):
        return outcome if isinstance(outcome.input, JsonText) else replace(outcome, input=mask(outcome.input))
    if isinstance(outcome, TransitionAsked):
        return outcome if isinstance(outcome.wanted, JsonText) else replace(outcome, wanted=mask(outcome.wanted))
    if isinstance(outcome, Parked):
        # A text was masked by whoever made it.
        wanted = outcome.wanted if isinstance(outcome.wanted, JsonText) else mask(outcome.wanted)
        return replace(outcome, wanted=wanted, kept=mask(outcome.kept))
    if isinstance(outcome, Skipped | Expanded):
        return outcome
    logs = tuple((level, mask_of.text(line)) for level, line in outcome.logs)
    if isinstance(outcome, Completed):
        # A text was masked by whoever made it.
        output = outcome.output if isinstance(outcome.output, JsonText) else mask(outcome.output)
        return replace(outcome, output=output, logs=logs, detail=mask(outcome.detail))
    if isinstance(outcome, Suspended):
        return replace(outcome, logs=logs)
    error = outcome.error
    clean = StepError(
        code=error.code,
        message=mask_of.text(error.message),
        error_class=error.error_class,
        retry_after_seconds=error.retry_after_seconds,
        details=mask(error.details),
        retryable=error.retryable,
    )
    return Failed(clean, detail=mask(outcome.detail), logs=logs)


def recorded(ended: Ended, recorder: Recorder | None, *, keeps_all: bool) -> Ended:
    """The outcome with what was sent and what came back, if this attempt is one that keeps it."""
    if recorder is None:
        return ended
    if isinstance(ended, Failed):
        return replace(ended, detail=_with_record(ended.detail, recorder, keeps_all=keeps_all))
    if not keeps_all:
        return ended
    if isinstance(ended, Completed):
        return replace(ended, detail=_with_record(ended.detail, recorder, keeps_all=True))
    if isinstance(ended, RoundEnded):
        completed = replace(ended.completed, detail=_with_record(ended.completed.detail, recorder, keeps_all=True))
        return replace(ended, completed=completed)
    if isinstance(ended, Parked) and isinstance(ended.kept, dict):
        # Its attempt ends when it goes on: until then this lies with what is kept for that.
        return replace(ended, kept={**ended.kept, "record": _with_record(None, recorder, keeps_all=True)})
    return ended


def _with_record(own: Json, recorder: Recorder, *, keeps_all: bool) -> Json:
    told = recorder.told()
    if not told:
        return own
    if keeps_all:
        told["record"] = "all"
    return {**(own if isinstance(own, dict) else {"detail": own} if own else {}), **told}


def _with_logs(outcome: Outcome, lines: tuple[tuple[str, str], ...]) -> Outcome:
    """The outcome with what was logged on the way to it."""
    if not lines or isinstance(outcome, ChildStarted | TransitionAsked | Parked | Skipped | Expanded):
        return outcome
    return replace(outcome, logs=(*outcome.logs, *lines))
