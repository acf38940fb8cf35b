"""State machines of the examples that start executions, run from end to end on PostgreSQL, PostgREST and a runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Stack

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("income", "state", "reason"),
    [(2000, "granted", None), (0, "refused", None), (500, "checking", "transition_guard_refused")],
    ids=["success", "failure", "not enough"],
)
def test_the_end_of_a_check_moves_the_loan(stack: Stack, income: int, state: str, reason: str | None) -> None:
    for file in ("workflow.yaml", "machine.yaml"):
        stack.import_file(EXAMPLES / "loan_check" / file)
    loan: dict[str, Any] = {"entity_table": "loans", "entity_id": str(income), "metadata": {"amount": 5000}}
    instance = stack.api.rpc("start_workflow", workflow_name="loan", **loan).json()

    moved = stack.api.rpc("execute_transition", instance_id=instance, to_state="checking", metadata={"income": income})

    assert moved.json() is True
    query = {"instance_id": f"eq.{instance}", "select": "execution_id,finished_at,moved_to,reason"}
    (link,) = stack.api.get("/instance_executions", params=query).json()
    stack.wait(link["execution_id"])
    (link,) = stack.api.get("/instance_executions", params=query).json()
    assert (link["moved_to"], link["reason"]) == (None if reason else state, reason)
    (row,) = stack.api.get("/entity_workflows", params={"id": f"eq.{instance}"}).json()
    assert row["current_state"] == state
