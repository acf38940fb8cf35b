"""The trace of a request is that of what it starts, at every door."""

from __future__ import annotations

from typing import Any

import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Tenant
from tests.support.definitions import log_step, workflow
from tests.support.engine import dag, import_workflow
from tests.support.webhooks import Hooks, hook

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADERS = {"traceparent": GIVEN, "tracestate": "vendor=x"}
FOUND = {"traceparent": GIVEN, "tracestate": "vendor=x"}
NONSENSE = ["00-nothing", "ff-" + GIVEN[3:], "ä", "x" * 5000]


def trace_of(keys: TenantKeys, execution_id: str) -> dict[str, Any]:
    trigger = keys.db.value("select trigger from flowgres.executions where id = %s", execution_id) or {}
    return {name: trigger[name] for name in FOUND if name in trigger}


@pytest.fixture
def flow(tenant: TenantKeys) -> str:
    return import_workflow(tenant.db, Tenant(tenant.tenant_id, "", tenant.admin), dag("flow", [{"id": "a"}]))


def run(front: Api, tenant: TenantKeys, headers: dict[str, str] | dict[str, bytes]) -> dict[str, Any]:
    answer = front.as_key(tenant.member).request("POST", "/run/flow?wait=0", json={}, headers=headers)
    assert answer.status_code == 202, answer.text
    return trace_of(tenant, answer.json()["execution_id"])


def test_call_that_waits_goes_on_with_the_callers_trace(front: Api, tenant: TenantKeys, flow: str) -> None:
    assert run(front, tenant, HEADERS) == FOUND
    # Nothing of it is left on the connection.
    assert run(front, tenant, {}) == {}


@pytest.mark.parametrize("traceparent", NONSENSE)
def test_what_is_no_trace_is_no_error(front: Api, tenant: TenantKeys, flow: str, traceparent: str) -> None:
    assert run(front, tenant, {"traceparent": traceparent.encode("latin-1")}) == {}


def test_events_start_what_subscribes_in_the_trace_of_who_tells(front: Api, tenant: TenantKeys) -> None:
    client = front.as_key(tenant.admin)
    trigger = {"type": "event", "name": "order.paid"}
    assert client.request("POST", "/workflows", json=workflow(log_step("a"), triggers=[trigger])).status_code == 201
    event = {"specversion": "1.0", "id": "t1", "source": "/shop", "type": "order.paid", "data": {}}
    headers = {"Content-Type": "application/cloudevents+json", **HEADERS}
    (execution_id,) = client.request("POST", "/events", json=event, headers=headers).json()["executions"]
    assert trace_of(tenant, execution_id) == FOUND


def test_webhook_goes_on_with_the_senders_trace(hooks: Hooks) -> None:
    (webhook,) = hooks.import_(hook())
    answer = hooks.send(webhook["path"], {"n": 1}, headers=HEADERS)
    assert answer.status_code == 202, answer.text
    (execution,) = hooks.executions()
    assert {name: execution["trigger"][name] for name in FOUND} == FOUND
