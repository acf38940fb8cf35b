"""Attempts of steps that reach a provider, with whatever accounts a test gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_runner.execution.running import masked_outcome
from flowgres_runner.http import Client, EgressPolicy
from flowgres_runner.mail import Mailer
from flowgres_runner.providers import Providers, SharedProviders
from flowgres_runner.reading.reader import Reader
from flowgres_runner.steps.base import Completed, Failed, Handler, Json, Outcome, StepError, StepTask
from flowgres_runner.steps.llm import LlmHandler
from flowgres_runner.steps.notify import NotifyHandler
from flowgres_runner.steps.tools import make_tools
from tests.support.functions import unused_sql_step


def reaching() -> tuple[Handler, ...]:
    """Handlers of the types that reach a provider or the user's database, for tests that let none of them run."""
    return NotifyHandler(Mailer(policy=EgressPolicy())), LlmHandler(Reader()), unused_sql_step()


async def attempt(
    handler: Handler,
    client: Client,
    config: dict[str, Any],
    *,
    own: Mapping[str, str] | None = None,
    shared: Mapping[str, str] | None = None,
    settings: Mapping[str, Json] | None = None,
    is_development: bool = False,
    seconds: float = 5,
) -> Outcome:
    """One attempt, masked as the engine masks it."""
    names = handler.provider_names(config)
    given: Providers = SharedProviders(shared or {}, is_development).of(
        own={name: value for name, value in (own or {}).items() if name in names}, names=names, settings=settings or {}
    )
    secrets = (*given.own.values(), *given.shared.values())
    tools = make_tools(client, timeout_seconds=seconds, secret_values=secrets, providers=given)
    task = StepTask(
        tenant_id="t1", execution_id="e1", step_id="tell", iteration=None, attempt=1, config=config,
        timeout_seconds=seconds, resume=None, tools=tools,
    )  # fmt: skip
    return masked_outcome(await handler.run(task), secrets)


def output_of(outcome: Outcome) -> dict[str, Any]:
    """The output of an attempt that completed."""
    assert isinstance(outcome, Completed), outcome
    assert isinstance(outcome.output, dict)
    return outcome.output


def error_of(outcome: Outcome) -> StepError:
    """The error of one that failed."""
    assert isinstance(outcome, Failed), outcome
    return outcome.error
