"""Replaying and comparing executions over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Tenant

from .test_executions import UNKNOWN


@pytest.fixture
def alice_api(alice: Tenant, module_api: Api) -> Api:
    return module_api.as_key(alice.key)


@pytest.fixture
def original(alice_api: Api) -> str:
    return str(alice_api.rpc("start_execution", workflow="pipe", input={"order": 3}).json()["execution_id"])


def test_replay_answers_201_and_is_found_by_its_original(alice_api: Api, original: str) -> None:
    answer = alice_api.rpc("replay_execution", execution_id=original, input={"order": 4}, reason="again")
    assert answer.status_code == 201
    again = answer.json()
    assert again.keys() == {"execution_id", "status", "created", "replayed_from", "version"}
    select = {"replayed_from": f"eq.{original}", "select": "id,input,trigger_type,original(id)"}
    (row,) = alice_api.get("/executions", params=select).json()
    assert row == {
        "id": again["execution_id"], "input": {"order": 4}, "trigger_type": "replay", "original": {"id": original},
    }  # fmt: skip
    (row,) = alice_api.get("/executions", params={"id": f"eq.{original}", "select": "replays(id)"}).json()
    assert row == {"replays": [{"id": again["execution_id"]}]}


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        ({"execution_id": UNKNOWN}, 404, "execution_not_found"),
        ({"version": 99}, 404, "version_not_found"),
        ({"input": {"order": "seven"}}, 422, "input_invalid"),
        ({"from_step": "nowhere"}, 404, "step_not_found"),
        ({"overrides": {"first": 1}}, 422, "from_step_missing"),
        ({"from_step": "first", "overrides": {"first": 1}}, 422, "override_not_kept"),
        ({"from_step": "first", "overrides": "x"}, 422, "overrides_invalid"),
        ({"input": {"x": "y" * (1 << 21)}}, 413, "payload_too_large"),
        ({"reason": "x" * 1001}, 422, "argument_too_long"),
    ],
)
def test_bad_replay_is_refused_with_its_code(
    arguments: dict[str, Any], status: int, code: str, alice_api: Api, original: str
) -> None:
    answer = alice_api.rpc("replay_execution", **{"execution_id": original, **arguments})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["hint"]


def test_viewer_compares_and_does_not_replay(alice_api: Api) -> None:
    started = [alice_api.rpc("start_execution", workflow="pipe", input={"order": n}).json() for n in (1, 2)]
    a, b = (one["execution_id"] for one in started)
    key = alice_api.rpc("create_api_key", name="looks", role="viewer").json()["api_key"]
    viewer = alice_api.as_key(key)
    compared = viewer.rpc("compare_executions", a=a, b=b)
    assert compared.status_code == 200
    assert compared.json()["input"]["differences"] == [{"path": "$.order", "a": 1, "b": 2}]
    assert viewer.rpc("replay_execution", execution_id=a).status_code == 403
    assert viewer.rpc("compare_executions", a=a, b=UNKNOWN).json()["code"] == "execution_not_found"
