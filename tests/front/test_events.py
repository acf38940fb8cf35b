"""POST /events: CloudEvents in all their forms, told once each, as the tenant of the credentials."""

from __future__ import annotations

from typing import Any

import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.definitions import log_step, workflow

EVENT = {"specversion": "1.0", "id": "a1", "source": "/shop", "type": "order.paid", "data": {"total": 12.50}}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
BINARY = {
    "Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "b1", "ce-source": "/shop",
    "ce-type": "order.paid", "ce-subject": "order%20b1",
}  # fmt: skip


@pytest.fixture
def client(front: Api, tenant: TenantKeys) -> Api:
    trigger = {"type": "event", "name": "order.paid", "input": {"total": "$.total"}}
    client = front.as_key(tenant.admin)
    answer = client.request("POST", "/workflows", json=workflow(log_step("a"), triggers=[trigger]))
    assert answer.status_code == 201, answer.text
    return client


def send(client: Api, headers: dict[str, str], **body: Any) -> Any:
    return client.request("POST", "/events", headers=headers, **body)


def test_structured_event_starts_and_is_told_once(client: Api, tenant: TenantKeys) -> None:
    first, again = (send(client, STRUCTURED, json=EVENT) for _ in range(2))
    assert (first.status_code, first.json()["started"], first.json()["created"]) == (202, 1, True)
    assert (again.json()["started"], again.json()["created"]) == (0, False)
    assert again.json()["executions"] == first.json()["executions"]
    row = tenant.db.one(
        "select input, trigger from flowgres.executions where tenant_id = %s and trigger_type = 'event'",
        tenant.tenant_id,
    )
    assert row["input"] == {"total": 12.5}
    assert row["trigger"]["attributes"] == {name: EVENT[name] for name in ("specversion", "id", "source", "type")}
    assert row["trigger"]["key"] == "/shop a1"


def test_binary_event_has_its_attributes_in_the_headers(client: Api, tenant: TenantKeys) -> None:
    answer = send(client, BINARY, content=b'{"total": 12345678901234567890.123}')
    assert (answer.status_code, answer.json()["started"]) == (202, 1)
    row = tenant.db.one(
        "select input::text, trigger -> 'attributes' ->> 'subject' as subject from flowgres.executions"
        " where tenant_id = %s and trigger ->> 'key' = '/shop b1'",
        tenant.tenant_id,
    )
    assert row == {"input": '{"total": 12345678901234567890.123}', "subject": "order b1"}


def test_binary_event_without_data_and_of_text(client: Api) -> None:
    assert send(client, BINARY, content=b"").json()["started"] == 1
    text = BINARY | {"Content-Type": "text/plain", "ce-id": "b2"}
    assert send(client, text, content="ä".encode()).json()["started"] == 1
    assert send(client, text | {"ce-id": "b3"}, content=b"\xff").status_code == 400


def test_batch_is_told_as_one(client: Api) -> None:
    many = [EVENT | {"id": f"c{n}", "type": kind} for n, kind in enumerate(["order.paid", "order.lost", "order.paid"])]
    answer = send(client, BATCH, json=many)
    assert (answer.status_code, answer.json()["started"]) == (202, 2)
    assert [one["started"] for one in answer.json()["events"]] == [1, 0, 1]
    # One that is refused refuses all.
    wrong = send(client, BATCH, json=[EVENT | {"id": "d1"}, EVENT | {"id": "d2", "type": "no name"}])
    assert (wrong.status_code, wrong.json()["code"]) == (422, "event_name_invalid")
    assert send(client, STRUCTURED, json=EVENT | {"id": "d1"}).json()["created"] is True


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Content-Type": "application/json"}, EVENT, 415, "unsupported_media_type"),
        (STRUCTURED, [EVENT], 400, "object_expected"),
        (STRUCTURED, EVENT | {"specversion": "0.3"}, 400, "event_version_unknown"),
        (STRUCTURED, {"specversion": "1.0", "id": "", "type": "a"}, 400, "event_attribute_missing"),
        (STRUCTURED, EVENT | {"id": 5}, 400, "event_attribute_missing"),
        (STRUCTURED, EVENT | {"data_base64": "YQ=="}, 415, "event_data_not_json"),
        (STRUCTURED, EVENT | {"type": "no name"}, 422, "event_name_invalid"),
        (STRUCTURED, EVENT | {"big": "x" * 20_000}, 413, "metadata_too_large"),
        (BATCH, EVENT, 400, "events_invalid"),
        (BATCH, [], 400, "events_invalid"),
        (BATCH, [EVENT] * 101, 400, "events_invalid"),
    ],
)
def test_what_is_no_event_is_refused(client: Api, headers: dict[str, str], body: Any, status: int, code: str) -> None:
    answer = send(client, headers, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_viewers_and_strangers_tell_of_nothing(front: Api, client: Api, tenant: TenantKeys) -> None:
    assert send(front.as_key(tenant.viewer), STRUCTURED, json=EVENT | {"id": "e1"}).status_code == 403
    assert send(front, STRUCTURED, json=EVENT | {"id": "e1"}).status_code == 401
    assert send(client, STRUCTURED, json=EVENT | {"id": "e1"}).json()["created"] is True


def test_long_source_and_id_are_a_key_too(client: Api) -> None:
    event = EVENT | {"id": "x" * 3000, "source": "/long"}
    assert send(client, STRUCTURED, json=event).json()["created"] is True
    assert send(client, STRUCTURED, json=event).json()["created"] is False
