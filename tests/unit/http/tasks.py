"""Tasks and outcomes of http steps, with only what a test cares about."""

from __future__ import annotations

import math
import threading
from typing import cast

from flowgres_runner.steps.base import (
    Completed,
    Failed,
    Json,
    Outcome,
    StepError,
    StepHttp,
    StepLog,
    StepTask,
    StepTools,
)
from flowgres_runner.steps.http import HttpStep
from flowgres_runner.trace_context import TraceContext

_NO_HTTP = cast("StepHttp", None)
RETRIED = frozenset(("timeout", "connect", "429", "5xx"))


def make_task(
    *,
    execution_id: str = "e1",
    iteration: int | None = None,
    attempt: int = 1,
    timeout_seconds: float = 5,
    secret_values: tuple[str, ...] = (),
    **config: Json,
) -> StepTask:
    """A task of the step `call` with this configuration, whose `secret_values` are to be masked."""
    tools = StepTools(
        http=_NO_HTTP, log=StepLog(), deadline=math.inf, cancelled=threading.Event(), secret_values=secret_values
    )
    return StepTask(
        tenant_id="t1",
        execution_id=execution_id,
        step_id="call",
        iteration=iteration,
        attempt=1,
        config=dict(config),
        timeout_seconds=timeout_seconds,
        resume=None,
        trace=TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"),
        tools=tools,
    )


def output_of(outcome: Outcome) -> dict[str, Json]:
    """The output of a completed step."""
    assert isinstance(outcome, Completed), outcome
    assert isinstance(outcome.output, dict)
    return outcome.output


def error_of(outcome: Outcome) -> StepError:
    """The error of a failed step."""
    assert isinstance(outcome, Failed), outcome
    return outcome.error


async def run_attempts(step: HttpStep, task: StepTask, *, attempts: int = 3) -> tuple[Outcome, int]:
    """Run a task as the engine would, without its pauses: again while the error is worth it."""
    outcome: Outcome = await step.run(task)
    count = 1
    while count < attempts and isinstance(outcome, Failed) and outcome.error.error_class in RETRIED:
        outcome = await step.run(task)
        count += 1
    return outcome, count


def word_for(outcome: Outcome) -> str:
    """An outcome in the words of the case files."""
    if isinstance(outcome, Completed):
        return "completes"
    error = error_of(outcome)
    if error.code == "ssrf_blocked":
        return "blocked"
    return "retry_then_fail" if error.error_class in RETRIED else "step_failed_permanent"
