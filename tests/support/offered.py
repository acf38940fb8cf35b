"""Step types as packages bring them, run one attempt at a time without a runner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from flowgres_runner.http import Client
from flowgres_runner.steps import StepTask, StepType
from flowgres_runner.steps.offered import OfferedHandler
from flowgres_runner.steps.tools import make_tools
from flowgres_runner.trace_context import TraceContext

TRACE = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "01", "vendor=x")


def make_task(client: Client, *, seconds: float = 5, secrets: tuple[str, ...] = (), **config: Any) -> StepTask:
    """An attempt, with the tools that a type is given."""
    return StepTask(
        tenant_id="t",
        execution_id="x",
        step_id="s",
        iteration=None,
        attempt=1,
        config=config,
        timeout_seconds=seconds,
        resume=None,
        tools=make_tools(client, timeout_seconds=seconds, secret_values=secrets, trace=TRACE),
    )


@asynccontextmanager
async def served(offered: Any) -> AsyncIterator[OfferedHandler]:
    """The type, started, and stopped at the end."""
    handler = OfferedHandler(offered)
    await handler.start()
    try:
        yield handler
    finally:
        await handler.stop()


def typed(run: Any) -> Any:
    """A type that is no more than this function."""
    return type("Subject", (StepType,), {"type": "subject", "run": staticmethod(run)})()
