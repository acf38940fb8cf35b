"""Running one attempt of a step type alone: no database, no runner, the very checks, masks and tools that a runner has.

    from flowgres_runner.testing import run_step

    def test_it_shouts() -> None:
        assert run_step(Shout, {"text": "hi"}).output == "HI!"

What `run` sends with `task.http` goes out for real, to local servers as well; start one in the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flowgres_definitions.schema import check_value
from flowgres_runner.execution.handling import run_handler
from flowgres_runner.execution.running import masked_outcome
from flowgres_runner.http import Client, EgressPolicy
from flowgres_runner.secrets import Placeholders, put_values
from flowgres_runner.steps.base import Completed, Failed, Json, JsonText, Outcome, StepError, StepProgress, StepTask
from flowgres_runner.steps.offered import OfferedHandler
from flowgres_runner.steps.tools import make_tools

_SECRET = re.compile(r"\{\{\s*secrets\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_TENANT = "00000000-0000-0000-0000-000000000001"
_EXECUTION = "00000000-0000-7000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class StepRun:
    """What came of an attempt: `outcome`, None when it was cancelled, what it logged, as (level, message),
    and what it said of its progress, as (fraction, message).
    """

    outcome: Outcome | None
    log: tuple[tuple[str, str], ...]
    progress: tuple[tuple[float, str], ...] = ()

    @property
    def output(self) -> Json:
        """What the step gave. Raises the StepError of one that failed."""
        if isinstance(self.outcome, Failed):
            raise self.outcome.error
        assert isinstance(self.outcome, Completed), f"it did not complete: {self.outcome}"  # noqa: S101 - for tests
        output = self.outcome.output
        return json.loads(bytes(output.data)) if isinstance(output, JsonText) else output

    @property
    def error(self) -> StepError:
        """Why it failed. Raises AssertionError of one that did not."""
        assert isinstance(self.outcome, Failed), f"it did not fail: {self.outcome}"  # noqa: S101 - for tests
        return self.outcome.error


class _Recorded(StepProgress):
    """All that was said, however fast."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[float, str]] = []

    def say(self, fraction: float, message: str = "") -> None:
        super().say(fraction, message)
        if self.last is not None:
            self.said.append(self.last)


def run_step(
    step_type: Any,
    config: Mapping[str, Json] | None = None,
    *,
    secrets: Mapping[str, str] | None = None,
    attempt: int = 1,
    item: Json = None,
    resume: Json = None,
    timeout_seconds: float = 30.0,
    cancel_after_seconds: float | None = None,
    allow_private_networks: bool = True,
) -> StepRun:
    """Run one attempt of a step type, a class or an object of it, with `start` before and `stop` after.

    `config` is as rendered; only `{{ secrets.NAME }}` may stand in it, for the values of `secrets`, which are masked in
    what comes out as they are by a runner. `cancel_after_seconds` cancels it as the cancel of an execution does; a
    plain `def run` goes on then until it looks at `task.is_cancelled`, and nobody waits for it.
    """
    run = _run(
        OfferedHandler(step_type() if isinstance(step_type, type) else step_type),
        dict(config or {}),
        dict(secrets or {}),
        StepTask(
            tenant_id=_TENANT,
            execution_id=_EXECUTION,
            step_id="step",
            iteration=None,
            attempt=attempt,
            config=None,
            timeout_seconds=timeout_seconds,
            resume=resume,
            item=item,
        ),
        cancel_after_seconds,
        EgressPolicy(allow_private_networks=allow_private_networks),
    )
    return asyncio.run(run)


def config_problems(step_type: Any, config: Mapping[str, Json]) -> list[str]:
    """What an import would say of a configuration: `path: sentence` each, and nothing of one that is sound."""
    schema = dict(step_type.config_schema)
    found = check_value(dict(config), schema, schema, is_open=True)
    return [f"{'.'.join(str(part) for part in path)}: {problem.message}" for path, problem in found]


async def _run(
    handler: OfferedHandler,
    config: dict[str, Json],
    secrets: dict[str, str],
    task: StepTask,
    cancel_after_seconds: float | None,
    policy: EgressPolicy,
) -> StepRun:
    placeholders = Placeholders()
    tokens = {placeholders.token(_TENANT, name): value for name, value in secrets.items()}
    task.config = put_values(_with_tokens(config, placeholders, secrets), tokens=tokens, places=handler.secret_places)
    client = Client(policy=policy)
    values = tuple(secrets.values())
    await handler.start()
    try:
        progress = _Recorded()
        tools = make_tools(client, timeout_seconds=task.timeout_seconds, secret_values=values)
        task.tools = replace(tools, progress=progress)
        running = asyncio.create_task(run_handler(handler, task))
        if cancel_after_seconds is not None:
            asyncio.get_running_loop().call_later(cancel_after_seconds, running.cancel)
        outcome: Outcome | None = None
        with contextlib.suppress(asyncio.CancelledError):
            outcome = masked_outcome(await running, values)
        return StepRun(outcome, task.tools.log.lines, tuple(progress.said))
    finally:
        await handler.stop()
        await client.close()


def _with_tokens(value: Any, placeholders: Placeholders, secrets: Mapping[str, str]) -> Any:
    """The configuration with what a runner puts in the place of secrets while it renders."""
    if isinstance(value, str):

        def token(found: re.Match[str]) -> str:
            if found[1] not in secrets:
                raise KeyError(f"no value is given for the secret {found[1]}")
            return placeholders.token(_TENANT, found[1])

        return _SECRET.sub(token, value)
    if isinstance(value, dict):
        return {key: _with_tokens(item, placeholders, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_tokens(item, placeholders, secrets) for item in value]
    return value
