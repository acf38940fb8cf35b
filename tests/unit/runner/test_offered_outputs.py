"""What step types of packages give: a large output is text before the runner's loop sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowgres_runner.http import Client
from flowgres_runner.steps import Completed, Failed, Outcome, StepTask, StepType
from flowgres_runner.steps.base import JsonText
from tests.support.offered import make_task, served


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
async def test_large_outputs_are_written_beside_the_loop(client: Client, is_async: bool) -> None:
    rows: Any = [{"b": 1, "a": "password-1", "password-1": number} for number in range(3_000)]

    class Plain(StepType):
        type = "rows"

        def run(self, task: StepTask) -> Outcome:
            return Completed({"rows": rows}, detail=["x"] * 100_000)

    class Waiting(StepType):
        type = "rows"

        async def run(self, task: StepTask) -> Outcome:
            return Completed({"rows": rows}, detail=["x"] * 100_000)

    async with served(Waiting() if is_async else Plain()) as handler:
        outcome = await handler.run(make_task(client, secrets=("password-1",)))

    assert isinstance(outcome, Completed)
    assert isinstance(outcome.output, JsonText)
    assert json.loads(outcome.output.data)["rows"][7] == {"a": "***", "b": 1, "password-1": 7}
    assert outcome.output.depth == 3
    assert outcome.detail == {"dropped": "too large"}
    assert rows[0]["a"] == "password-1"


async def test_large_outputs_that_cannot_be_stored_fail_as_small_ones_do(client: Client) -> None:
    class Broken(StepType):
        type = "broken"

        def run(self, task: StepTask) -> Outcome:
            return Completed(["\0", *["x"] * 100_000])

    async with served(Broken()) as handler:
        outcome = await handler.run(make_task(client))

    assert isinstance(outcome, Failed)
    assert (outcome.error.code, outcome.error.error_class) == ("output_not_storable", "validation")
