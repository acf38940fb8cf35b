"""POST /webhooks/...: what is authentic starts an execution once, and all else one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.webhooks import SECRET, STANDARD_SECRET, Hooks, hook

EXAMPLE = json.loads((Path(__file__).parents[2] / "examples/order_pipeline/workflow.json").read_text())


def test_documented_document_starts_by_the_documented_call(front: Api, hooks: Hooks) -> None:
    imported = front.as_key(hooks.key).request("POST", "/workflows", json=EXAMPLE)
    (webhook,) = imported.json()["webhooks"]
    assert webhook["path"].startswith("/webhooks/wh_")
    assert imported.json()["warnings"] == []

    answer = hooks.send(webhook["path"], {"order_id": 7, "amount": 150}, secret=EXAMPLE["webhook_secret"])

    assert answer.status_code == 202, answer.text
    (execution,) = hooks.executions()
    assert answer.json() == {"execution_id": str(execution["id"])}
    assert execution["trigger_type"] == "webhook"
    assert execution["trigger"]["payload"] == {"order_id": 7, "amount": 150}
    assert execution["created_by"] == f"webhook:{webhook['id']}"
    assert hooks.outcomes(1) == [("accepted", 202, None)]


@pytest.mark.parametrize("scheme", ["github", "standard", "stripe", "slack", "token", "none"])
def test_each_scheme_takes_what_its_senders_sign(hooks: Hooks, scheme: str) -> None:
    secret = STANDARD_SECRET if scheme == "standard" else SECRET
    trigger = {"type": "webhook", "scheme": "none"} if scheme == "none" else hook(scheme=scheme)
    (webhook,) = hooks.import_(trigger, secret=secret)
    body = {"id": "evt_1", "event_id": "Ev1"}

    answers = [hooks.send(webhook["path"], body, scheme=scheme, secret=secret) for _ in range(2)]

    first, again = (answer.json() for answer in answers)
    assert [answer.status_code for answer in answers] == {
        "none": [202, 202],
        "slack": [200, 200],
    }.get(scheme, [202, 200])
    if scheme == "none":  # nobody has said that they are the same
        assert len(hooks.executions()) == 2
    else:
        assert again == {**first, "duplicate": True}
        assert len(hooks.executions()) == 1


@pytest.mark.parametrize("scheme", ["github", "standard", "stripe", "slack", "token"])
def test_what_is_not_authentic_has_one_answer_and_is_logged(hooks: Hooks, scheme: str) -> None:
    secret = STANDARD_SECRET if scheme == "standard" else SECRET
    (webhook,) = hooks.import_(hook(scheme=scheme), secret=secret)
    wrong = "whsec_bm90LXRoZS1zZWNyZXQ=" if scheme == "standard" else "not the secret"

    forged = hooks.send(webhook["path"], {}, scheme=scheme, secret=wrong)
    unsigned = hooks.send(webhook["path"], {}, scheme="none")
    nowhere = hooks.send("/webhooks/wh_" + "x" * 43, {}, scheme=scheme, secret=secret)
    neither = hooks.send("/webhooks/nobody/nothing", {}, scheme=scheme, secret=secret)

    answers = (forged, unsigned, nowhere, neither)
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert hooks.executions() == []
    logged = hooks.outcomes(2)
    assert [(outcome, status) for outcome, status, _ in logged] == [("rejected", 401)] * 2
    assert {reason for _, _, reason in logged} <= {
        "signature_wrong",
        "signature_missing",
        "token_wrong",
        "token_missing",
    }
    assert all(row["trigger"] is None for row in hooks.deliveries())


@pytest.mark.parametrize(("scheme", "offset", "reason"), [
    ("standard", -310, "timestamp_too_old"), ("standard", 310, "timestamp_too_new"),
    ("stripe", -310, "timestamp_too_old"), ("slack", -310, "timestamp_too_old"),
])  # fmt: skip
def test_what_was_signed_at_another_time_is_refused(hooks: Hooks, scheme: str, offset: int, reason: str) -> None:
    secret = STANDARD_SECRET if scheme == "standard" else SECRET
    (webhook,) = hooks.import_(hook(scheme=scheme), secret=secret)

    answer = hooks.send(webhook["path"], {}, scheme=scheme, secret=secret, at=hooks.now() + offset)

    assert (answer.status_code, answer.json()["code"]) == (401, "webhook_refused")
    assert hooks.outcomes(1) == [("rejected", 401, reason)]


def test_address_stays_over_versions_and_the_named_one_works(hooks: Hooks) -> None:
    (before,) = hooks.import_(hook(path="orders"))
    (after,) = hooks.import_(hook(path="orders", scheme="token"), title="Another version")

    assert (after["id"], after["path"]) == (before["id"], before["path"])
    assert after["named_path"] == f"/webhooks/{hooks.slug}/orders"
    assert hooks.send(after["named_path"], {}, scheme="token").status_code == 202
    assert hooks.send(after["path"], {}, scheme="github").status_code == 401


def test_secret_that_is_not_stored_is_warned_of_and_refuses(hooks: Hooks) -> None:
    answer = hooks.front.as_key(hooks.key).request(
        "POST",
        "/workflows",
        json={"name": "w", "triggers": [hook()], "steps": [{"id": "a", "type": "log", "config": {"message": "x"}}]},
    )
    assert [warning["code"] for warning in answer.json()["warnings"]] == ["secret_not_found"]
    (webhook,) = answer.json()["webhooks"]

    assert hooks.send(webhook["path"], {}).status_code == 401
    assert hooks.outcomes(1) == [("rejected", 401, "secret_missing")]
    hooks.store()
    assert hooks.send(webhook["path"], {}).status_code == 202


def test_inactive_workflow_asks_the_sender_to_come_again(hooks: Hooks, tenant: TenantKeys) -> None:
    (webhook,) = hooks.import_()
    tenant.db.run("update flowgres.workflows set status = 'inactive' where tenant_id = %s", tenant.tenant_id)

    answer = hooks.send(webhook["path"], {"a": 1})
    assert (answer.status_code, answer.json()["code"]) == (503, "workflow_not_active")
    assert answer.headers["Retry-After"] == "60"
    assert hooks.outcomes(1) == [("failed", 503, "workflow_not_active")]

    tenant.db.run("update flowgres.workflows set status = 'active' where tenant_id = %s", tenant.tenant_id)
    assert hooks.send(webhook["path"], {"a": 1}).status_code == 202  # the same key


INPUTS: list[tuple[dict[str, Any], Any, Any]] = [
    ({}, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
    ({}, [1], {}),
    ({"inputs": {"a": {"type": "integer"}}}, {"a": 1, "b": 2}, {"a": 1}),
    ({"inputs": {"a": {"type": "integer", "default": 5}}}, "text", {"a": 5}),
]


@pytest.mark.parametrize(("members", "payload", "expected"), INPUTS)
def test_input_is_what_the_payload_has_of_the_declared_ones(
    hooks: Hooks, members: dict[str, Any], payload: Any, expected: Any
) -> None:
    (webhook,) = hooks.import_(**members)
    assert hooks.send(webhook["path"], json.dumps(payload)).status_code == 202
    (execution,) = hooks.executions()
    assert (execution["input"], execution["trigger"]["payload"]) == (expected, payload)


def test_mapping_makes_the_input(hooks: Hooks) -> None:
    declared = {"id": {"type": "string", "required": True}, "kind": {"type": "string"}, "note": {"type": "string"}}
    (webhook,) = hooks.import_(hook(input={"id": "$.order.id", "kind": "new", "note": "$.order.note"}), inputs=declared)
    assert hooks.send(webhook["path"], {"order": {"id": "7"}}).status_code == 202
    assert hooks.executions()[0]["input"] == {"id": "7", "kind": "new"}

    refused = hooks.send(webhook["path"], {"order": {"id": 7}}, key="key-2")
    assert (refused.status_code, refused.json()["code"]) == (422, "input_invalid")
    assert "id must be of type string" in refused.json()["detail"]
    assert hooks.outcomes(2)[1] == ("failed", 422, "input_invalid")
