"""The webhook cases, and the JSON cases of bodies, as senders meet them at a real front."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cases import Case, load_cases
from tests.front.conftest import TenantKeys
from tests.support.database import Clock
from tests.support.definitions import log_step, workflow
from tests.support.webhooks import Hooks, hook

CASES = load_cases("webhook")
BODIES = [case for case in load_cases("json") if "webhook.body" in case.input.get("where", ())]


@pytest.fixture
def clock(tenant: TenantKeys) -> Iterator[Clock]:
    """The clock of this database, put right again afterwards."""
    yield Clock(tenant.db)
    tenant.db.call("flowgres.set_clock", p_shift="0")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case_of_a_webhook(hooks: Hooks, clock: Clock, case: Case) -> None:
    given, outcomes = case.input, case.outcomes
    trigger = hook(scheme=given["scheme"]) if given["secrets"] else {"type": "webhook"}
    if "reject_config" in outcomes:
        assert is_refused_at_configuration(hooks, trigger, given["secrets"])
        return
    (webhook,) = hooks.import_(trigger, secret=given["secrets"][0])
    if len(given["secrets"]) > 1:
        hooks.store(given["secrets"][1], name="PREVIOUS")
        rotate(hooks, webhook["id"], "PREVIOUS")
        rotate(hooks, webhook["id"], "HOOK")
    clock.set(dt.datetime.fromtimestamp(given["now"], dt.UTC))
    if len(given["secrets"]) > 1:
        hooks.db.run(
            "update flowgres.webhooks set previous_until = flowgres.now() + interval '1 day' where tenant_id = %s",
            hooks.tenant_id,
        )

    count = 2 if "replay" in (given.get("note") or "") else 1
    answers = [
        hooks.front.request(
            "POST", webhook["path"], content=base64.b64decode(given["body_b64"]), headers=given["headers"]
        )
        for _ in range(count)
    ]

    if "reject_431" in outcomes:
        assert [answer.status_code for answer in answers] == [431]
        assert hooks.executions() == []
    elif "reject_401" in outcomes:
        assert [answer.status_code for answer in answers] == [401]
        assert {answer.json()["code"] for answer in answers} == {"webhook_refused"}
        assert hooks.executions() == []
        assert hooks.outcomes(1)[0][:2] == ("rejected", 401)
    else:
        assert [answer.status_code for answer in answers] == [202, 200][:count], answers[0].text
        assert len(hooks.executions()) == 1


def is_refused_at_configuration(hooks: Hooks, trigger: dict[str, Any], secrets: list[str]) -> bool:
    """Whether the trigger cannot be imported, or its secret not be stored."""
    as_admin = hooks.front.as_key(hooks.key)
    for secret in secrets:
        if as_admin.request("PUT", "/secrets/HOOK", json={"value": secret}).status_code == 422:
            return True
    definition = workflow(log_step("a"), triggers=[trigger])
    return as_admin.request("POST", "/workflows", json=definition).status_code == 422


def rotate(hooks: Hooks, webhook: str, secret: str) -> None:
    """Rotate a webhook as the tenant does."""
    with hooks.db.connection.transaction():
        hooks.db.run("select set_config('flowgres.tenant_id', %s, true)", hooks.tenant_id)
        hooks.db.call(
            "flowgres.rotate_webhook",
            p_webhook=webhook,
            p_secret=secret,
            p_keep_previous_seconds=86400,
            p_new_address=False,
        )


@pytest.mark.parametrize("case", BODIES, ids=str)
def test_case_of_a_body(hooks: Hooks, case: Case) -> None:
    given, outcomes = case.input, case.outcomes
    text = given.get("json_text", "").encode("utf-8", "surrogatepass")
    raw = base64.b64decode(given["bytes_b64"]) if "bytes_b64" in given else text
    (webhook,) = hooks.import_()

    answer = hooks.send(webhook["path"], raw)

    if "preserved" in outcomes:
        assert answer.status_code == 202, answer.text
        stored = hooks.db.value(
            "select (trigger -> 'payload')::text from flowgres.executions where tenant_id = %s", hooks.tenant_id
        )
        assert json.loads(stored) == json.loads(raw)
    else:
        assert 400 <= answer.status_code < 500, answer.text
        assert hooks.executions() == []
        ((outcome, status, _),) = hooks.outcomes(1)
        assert (outcome in ("failed", "rejected"), status) == (True, answer.status_code)
