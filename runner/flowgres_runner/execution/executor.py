"""Running claimed steps: contexts, one batch of renders, pure steps at once, the others as tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

from flowgres_process.logs import get_logger
from flowgres_runner.database.connection import Link
from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.evaluator import EvaluatorError, EvaluatorPool, RenderJob
from flowgres_runner.evaluator.jobs import (
    Rendered,
    RenderedLarge,
    RenderedWhole,
    RenderFailed,
    Unfinished,
)
from flowgres_runner.evaluator.pool import AnyAnswer
from flowgres_runner.execution.batches import Batch, divide
from flowgres_runner.execution.chains import AnyResult, ChainResult, as_chain, is_as_shown, may_be_plain
from flowgres_runner.execution.compiled import NO_LIMITS
from flowgres_runner.execution.contexts import ContextCache
from flowgres_runner.execution.opening import (
    Opener,
    TextReader,
    config_of,
    field_at_once,
    is_for_the_reader,
    unread_field,
)
from flowgres_runner.execution.prepared import Prepared
from flowgres_runner.execution.preparing import Preparer
from flowgres_runner.execution.reshaping import Reshaper
from flowgres_runner.execution.results import Ended, Result, encode_outcome, render_failure, replacement, within
from flowgres_runner.execution.rounds import Rounds
from flowgres_runner.execution.slow import SlowSteps
from flowgres_runner.execution.versions import VersionCache
from flowgres_runner.json_values import LARGE_BYTES, weight_of
from flowgres_runner.payloads.masks import masker
from flowgres_runner.secrets import Placeholders
from flowgres_runner.steps.base import Completed, Json, Outcome, Skipped
from flowgres_runner.steps.failures import internal_failure

log = get_logger(__name__)

_SKIPPED = Skipped()

Put = Callable[[Sequence[AnyResult]], None]
StartTask = Callable[[Prepared, Json], None]
GiveBack = Callable[[Sequence[ClaimedStep]], Awaitable[None]]
WaitForRoom = Callable[[str], Awaitable[bool]]
"""Waits until there may be more results of a tenant; False when it holds nothing any more."""
_PAUSE_SECONDS = 1.0
_AHEAD_CHARACTERS = LARGE_BYTES // 4
"""Of results under one lease, after which nothing is run ahead: hundreds of leases are here at once."""


class Executor:
    """Turns claimed steps into results, which it hands to `put`; `start_task` takes over those that have to wait."""

    def __init__(
        self,
        *,
        link: Link,
        versions: VersionCache,
        contexts: ContextCache,
        pool: EvaluatorPool,
        placeholders: Placeholders,
        put: Put,
        runner_id: Callable[[], str],
        start_task: StartTask,
        give_back: GiveBack,
        reader: TextReader,
        on_room: Callable[[], None] = lambda: None,
        wait_for_room: WaitForRoom | None = None,
    ) -> None:
        self._versions = versions
        self._contexts = contexts
        self._pool = pool
        self._placeholders = placeholders
        self._put = put
        self._start_task = start_task
        self._give_back = give_back
        self._wait_for_room = wait_for_room
        self._opener = Opener(reader)
        self._preparer = Preparer(
            link=link,
            versions=versions,
            contexts=contexts,
            opener=self._opener,
            runner_id=runner_id,
            refuse=lambda claimed, outcome: self.report(claimed, None, outcome, milliseconds=0.0),
        )
        self.reshaper = Reshaper(pool=pool, opener=self._opener, preparer=self._preparer)
        self._parted: set[asyncio.Task[None]] = set()
        self.slow = SlowSteps(
            at_once=pool.processes,
            run=self._execute_alone,
            give_back=give_back,
            on_room=on_room,
        )
        self._rounds = Rounds(reshaper=self.reshaper, report=self.report, give_back=self._return)
        self.completed_count = 0

    async def execute(self, claimed: Sequence[ClaimedStep]) -> None:
        """Run what one round trip brought."""
        lines, heavy = divide(claimed, size_of=self._contexts.size_of, is_known=self._versions.has)
        await asyncio.gather(*(self._execute_line(line) for line in lines), *(self.slow.put(rows) for rows in heavy))

    async def _execute_line(self, batches: Sequence[Sequence[ClaimedStep]]) -> None:
        for claimed in batches:
            await self._execute_batch(Batch(claimed))

    async def _execute_alone(self, claimed: ClaimedStep) -> None:
        await self._execute_batch(Batch([claimed], is_alone=True))

    async def _execute_batch(self, batch: Batch, prepared: list[Prepared] | None = None) -> None:
        """Run steps as one batch; should the batch as such fail, each step alone.

        Those that have begun as tasks go on whatever becomes of the others: they may have sent something.
        """
        try:
            tenants = {step.tenant_id for step in batch.claimed}
            # What is still of several tenants are small beginnings: much of any comes back as a part of its own.
            if self._wait_for_room is not None and len(tenants) == 1 and not await self._wait_for_room(tenants.pop()):
                return
            if prepared is None:
                prepared = await self._preparer.prepare(batch.claimed)
            await self._execute(batch, prepared)
        except EvaluatorError as error:
            await self._return(batch.rest(), error)
        except Exception:
            log.exception("batch_failed", steps=len(batch.claimed))
            if len(batch.claimed) == 1:
                for step in batch.rest():
                    self.report(step, None, internal_failure(), milliseconds=0.0)
                return
            for step in batch.rest():
                await self._execute_batch(Batch([step]))

    async def _execute(self, batch: Batch, prepared: list[Prepared]) -> None:
        first = prepared
        began = time.monotonic()
        has_turn = batch.is_alone
        while prepared:
            prepared = await self._run(prepared, began, batch)
            batch.is_alone = False
            if batch.slow or batch.again:
                await self._part(batch, has_turn=has_turn)
            began = time.monotonic()
        self._put(_shortest(first, batch.results))

    async def _part(self, batch: Batch, *, has_turn: bool) -> None:
        """Let those go on by themselves that the others are not to wait for; but within the turn that one has."""
        partings = [self.slow.put(claimed) for claimed in batch.take_slow()]
        partings += [self._execute_batch(part, items) for part, items in batch.take_again()]
        if has_turn:
            await asyncio.gather(*partings)
            return
        for parting in partings:
            self._keep(parting)

    async def _run(self, prepared: Sequence[Prepared], began: float, batch: Batch) -> list[Prepared]:
        """Render and finish pure steps as one batch; those that wait for something begin as tasks, without a result.

        Returns the steps to run ahead after them: one that only computes, and hangs on the one just completed alone,
        need not wait for the database.
        """
        following: list[Prepared | None] = []
        jobs: list[RenderJob] = []
        rendered_steps: list[Prepared] = []
        reshaped: list[tuple[Prepared, Completed]] = []
        render = self._render_alone if batch.is_alone else self._pool.render_together
        for item in prepared:
            pure = item.step.pure
            if item.given is not None:
                following.append(self._finish(item, await self._run_apart(item), began, batch))
            elif (
                item.resume is not None and pure is not None and pure.resumes_unrendered and not item.is_timeout_handled
            ):
                following.append(self._settle(item, self._outcome_of_pure(item, None), began, batch, reshaped))
            else:
                jobs.append(item.config_job(self._placeholders))
                rendered_steps.append(item)
        if jobs:
            answers = await render(jobs)
            for item, job, answer in zip(rendered_steps, jobs, answers, strict=True):
                following.append(self._take(item, job, answer, began, batch, reshaped))
        if reshaped:
            answers = await render([item.output_job(outcome) for item, outcome in reshaped])
            for (item, completed), answer in zip(reshaped, answers, strict=True):
                if isinstance(answer, Unfinished):
                    batch.set_aside(item, is_slow=answer.is_slow)
                elif isinstance(answer, RenderedLarge) and not batch.is_alone and not item.place:
                    # The others are not to wait until it is written.
                    batch.set_aside(item, is_slow=True)
                else:
                    outcome = await self.reshaper.take(item, completed, answer)
                    following.append(self._finish(item, outcome, began, batch))
        return [after for after in following if after is not None]

    async def _render_alone(self, jobs: Sequence[RenderJob]) -> list[AnyAnswer]:
        return list(await asyncio.gather(*(self._pool.render_alone(job) for job in jobs)))

    def _take(
        self,
        item: Prepared,
        job: RenderJob,
        answer: AnyAnswer,
        began: float,
        batch: Batch,
        reshaped: list[tuple[Prepared, Completed]],
    ) -> Prepared | None:
        """Finish a rendered step, and those rendered along with it while each of them gives what the next was shown.

        Returns the step to run ahead after them.
        """
        if isinstance(answer, RenderedWhole):
            self._take_whole(item, answer.text, batch.results)
            return None
        if isinstance(answer, Unfinished):
            batch.set_aside(item, is_slow=answer.is_slow)
            return None
        if not isinstance(answer, (Rendered, RenderedLarge)):
            other = render_failure(answer) if isinstance(answer, RenderFailed) else _SKIPPED
            return self._finish(item, other, began, batch)
        if is_for_the_reader(item, answer):
            batch.set_apart(item, answer)
            return None
        if item.step.pure is None:
            config = config_of(item.step.handler, answer)
            batch.begun.add(item.claimed.queue_id)
            item.let_context_go()
            self._start_task(item, config)
            return None
        assert isinstance(answer, Rendered)  # noqa: S101 - what is large is for the reader
        values: list[Json] = [answer.value, *answer.then[: len(job.then)]]
        for taken, value in enumerate(values, 1):
            if unread_field(item, value) is not None:
                item.goes_alone = True
                return item
            outcome = self._outcome_of_rendered(item, value)
            after = self._settle(item, outcome, began, batch, reshaped)
            if after is None or taken == len(values) or not is_as_shown(item.step, value, outcome):
                break
            item, began = after, time.monotonic()
        if after is not None and taken <= len(job.then):
            after.goes_alone = True
        return after

    def _settle(
        self,
        item: Prepared,
        outcome: Outcome,
        began: float,
        batch: Batch,
        reshaped: list[tuple[Prepared, Completed]],
    ) -> Prepared | None:
        """Finish a step that was run, unless there is more to be rendered; the step to run ahead after it."""
        if not isinstance(outcome, Completed):
            return self._finish(item, outcome, began, batch)
        if item.step.until is not None:
            batch.begun.add(item.claimed.queue_id)
            self._keep(self._rounds.end(item, outcome, began))
            return None
        if item.reshapes(outcome):
            reshaped.append((item, outcome))
            return None
        return self._finish(item, outcome, began, batch)

    async def _return(self, claimed: Sequence[ClaimedStep], error: EvaluatorError) -> None:
        """Give steps back: the trouble is this machine's, not theirs. Another may do better, or this one soon."""
        log.error("evaluator_unavailable", steps=len(claimed), error=str(error))
        await asyncio.sleep(_PAUSE_SECONDS)
        await self._give_back(claimed)

    def _keep(self, running: Coroutine[Any, Any, None]) -> None:
        """Let something go on by itself."""
        task = asyncio.create_task(running)
        self._parted.add(task)
        task.add_done_callback(self._parted.discard)

    def _take_whole(self, item: Prepared, text: str, results: dict[int, AnyResult]) -> None:
        """Take all outputs of a plain chain as they are."""
        claimed, plain = item.claimed, item.step.plain
        assert plain is not None  # noqa: S101 - nothing else was asked for as a whole
        result = ChainResult(claimed, plain, text)
        results[claimed.queue_id] = result
        self.completed_count += len(plain.indexes)
        if plain.is_whole:
            # Nothing comes after it. Other branches, if there are any, ask again for what they see.
            self._contexts.forget(claimed.execution_id)
        elif plain.wanted and len(text) > LARGE_BYTES:
            self._contexts.forget(claimed.execution_id)
        elif plain.wanted:
            outputs = result.outputs()
            if outputs is None:
                results[claimed.queue_id] = replacement(claimed)
                return
            for place, step_id in plain.wanted:
                self._contexts.record(
                    claimed.execution_id,
                    claimed.generation,
                    step_id,
                    output=outputs[place],
                    status="completed",
                    attempts=1,
                    weight=weight_of(text),
                )

    def _finish(self, item: Prepared, outcome: Ended, began: float, batch: Batch) -> Prepared | None:
        """Add the result of a step to those of its lease; the step to run ahead after it, if there is one."""
        results = batch.results
        result = self._encode(item.claimed, item, outcome, began)
        before = results.get(item.claimed.queue_id) if item.place else None
        if isinstance(before, Result):
            before.add(result)
            result = before
        else:
            results[item.claimed.queue_id] = result
        return item.following() if result.is_completed and result.size < _AHEAD_CHARACTERS else None

    def _outcome_of_rendered(self, item: Prepared, config: Json) -> Outcome:
        step = item.step
        if step.looks_up and step.pure is not None:
            config = step.pure.with_found(config, field_at_once(item, config))
        if step.secret_names:
            # Nothing is sent from here, so no value is put in, and the stand-in is nobody's business.
            tokens = self._placeholders.tokens(item.claimed.tenant_id, step.secret_names)
            config = cast("Json", masker(tuple(tokens.values())).json(config))
        return self._outcome_of_pure(item, config)

    def _outcome_of_pure(self, item: Prepared, config: Json) -> Outcome:
        pure = item.step.pure
        assert pure is not None  # noqa: S101 - the caller has looked
        try:
            return pure.run_now(item.task(config))
        except Exception:
            log.exception(
                "handler_failed", execution_id=item.claimed.execution_id, step=item.step.id, type=item.step.type
            )
            return internal_failure()

    async def _run_apart(self, item: Prepared) -> Ended:
        """Run a step that only computes where large values are read."""
        assert item.given is not None  # noqa: S101 - the caller has looked
        # Nothing is sent from here: as in `_outcome_of_rendered`.
        tokens = self._placeholders.tokens(item.claimed.tenant_id, item.step.secret_names)
        return await self.reshaper.reshape(item, await self._opener.run(item, item.given, tuple(tokens.values())))

    def report(self, claimed: ClaimedStep, item: Prepared | None, outcome: Ended, *, milliseconds: float) -> None:
        """Hand over the result of one step; without `item` it is one that could not be prepared."""
        self._put([self._encode(claimed, item, outcome, time.monotonic() - milliseconds / 1000)])

    def _encode(self, claimed: ClaimedStep, item: Prepared | None, outcome: Ended, began: float) -> Result:
        milliseconds = (time.monotonic() - began) * 1000
        limits = item.version.limits if item is not None else NO_LIMITS
        try:
            encoded = encode_outcome(
                claimed,
                within(outcome, limits),
                milliseconds=milliseconds,
                max_bytes=limits.max_output_bytes,
                max_depth=limits.max_json_depth,
            )
        except Exception:
            log.exception(
                "outcome_invalid", execution_id=claimed.execution_id, step=item.step.id if item is not None else None
            )
            encoded = encode_outcome(claimed, internal_failure(), milliseconds=milliseconds)
        # Of a step with iterations the database makes the output.
        if encoded.status is not None and item is not None and claimed.iteration < 0:
            self._contexts.record(
                claimed.execution_id,
                claimed.generation,
                item.step.id,
                output=encoded.output,
                status=encoded.status,
                attempts=claimed.attempt,
                weight=encoded.weight,
            )
        self.completed_count += 1
        return encoded.result


def _shortest(prepared: Sequence[Prepared], results: dict[int, AnyResult]) -> list[AnyResult]:
    """The results of a batch, those of whole chains as such."""
    for item in prepared:
        result, plain = results.get(item.claimed.queue_id), item.step.plain
        if isinstance(result, Result) and plain is not None and not item.place and may_be_plain(item.claimed):
            results[item.claimed.queue_id] = as_chain(result, plain)
    return list(results.values())
