"""The example that asks people, with the commands of its README: who starts it may not decide, a manager may."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.runner import wait_for
from tests.support.stack import Stack

FOLDER = Path(__file__).parents[2] / "examples/expense_approval"
README = (FOLDER / "README.md").read_text()
COMMANDS = re.findall(r"^flowgres .*$", README, re.MULTILINE)
GIVEN = json.loads(re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[1])


def test_the_commands_for_approvals_work(stack: Stack) -> None:
    examples = FOLDER.parents[1]
    imports, run, listed, create, mine, approve = COMMANDS
    stack.flowgres(imports, folder=examples)
    execution = json.loads(stack.flowgres(run, folder=examples))["execution_id"]
    wait_for(lambda: json.loads(stack.flowgres(listed, folder=examples)), what="the approval")
    (asked,) = json.loads(stack.flowgres(listed, folder=examples))
    assert (asked["execution_id"], asked["title"], asked["may_decide"]) == (
        execution, "Pay 450 EUR for a desk?", False,
    )  # fmt: skip
    assert stack.get(execution)["status"] == "waiting"
    refused = stack.api.rpc("decide_approval", execution_id=execution, step="approve", decision="approved")
    assert (refused.status_code, refused.json()["code"]) == (403, "not_an_approver")

    key = json.loads(stack.flowgres(create, folder=examples))["api_key"]
    manager = replace(stack, api=stack.api.as_key(key))
    assert [row["id"] for row in json.loads(manager.flowgres(mine, folder=examples))] == [asked["id"]]
    decided = json.loads(manager.flowgres(approve.replace("EXECUTION", execution), folder=examples))

    assert (decided["status"], decided["decided_by"]) == ("approved", f"key:{key.split('_')[-1][:8]}")
    assert stack.wait(execution)["output"] == {**GIVEN, "decided_by": decided["decided_by"]}


@pytest.mark.parametrize("starter", ["manager", "clerk"])
def test_rejection_pays_nothing_and_the_starter_has_no_say(starter: str, stack: Stack) -> None:
    stack.import_file(FOLDER / "workflow.yaml")
    keys: dict[str, Any] = {
        name: stack.api.rpc("create_api_key", name=name, role="member", roles=["manager"]).json()["api_key"]
        for name in ("manager", "clerk")
    }
    own, other = (stack.api.as_key(keys[name]) for name in (starter, {"manager": "clerk"}.get(starter, "manager")))
    started = own.rpc("start_execution", workflow="expense_approval", input={"purpose": "x", "amount": 500}).json()
    asked = {"execution_id": started["execution_id"], "step": "approve", "decision": "rejected"}
    form: dict[str, Any] = {"data": {"cost_center": "4711"}}
    query = {"execution_id": f"eq.{asked['execution_id']}"}
    wait_for(lambda: own.get("/approvals", params=query).json(), what="the approval")
    refused = own.rpc("decide_approval", **asked, **form)
    assert (refused.status_code, refused.json()["code"]) == (403, "starter_may_not_decide")
    invalid = other.rpc("decide_approval", **asked, data={"cost_center": 7})
    assert (invalid.status_code, invalid.json()["code"]) == (422, "form_invalid")
    assert other.rpc("decide_approval", **asked, **form).status_code == 200
    execution = stack.wait(asked["execution_id"])
    assert (execution["status"], execution["output"]["paid"]) == ("completed", None)
    row = other.get("/executions", params={"id": f"eq.{execution['id']}", "select": "approvals(status,decided_by)"})
    assert [one["status"] for one in row.json()[0]["approvals"]] == ["rejected"]
