"""What bodies say, by their content type, and what goes along with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.webhooks import SECRET, Hooks, hook

EVENT = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "order.placed", "subject": "o-7"}
BINARY = {f"ce-{name}": value for name, value in EVENT.items()}
TAKEN: list[tuple[str | None, str | bytes, Any]] = [
    ("application/json; charset=utf-8", '{"n": 9007199254740993, "f": 0.10}', {"n": 9007199254740993, "f": 0.10}),
    ("application/vnd.shop.v2+json", "[1]", [1]),
    (None, ' {"a": 1}', {"a": 1}),
    (None, "plain", "plain"),
    (None, "", None),
    ("application/x-www-form-urlencoded", "a=1&b=x+y&b=%C3%BC&c=", {"a": "1", "b": ["x y", "ü"], "c": ""}),
    ("application/x-www-form-urlencoded", "payload=%7B%22a%22%3A+1%7D", {"a": 1}),
    ("text/plain", "ü".encode(), "ü"),
    ("text/csv; charset=ISO-8859-1", "ü".encode("latin-1"), "ü"),
    ("text/xml", "<a/>", "<a/>"),
]
REFUSED: list[tuple[str, str | bytes, int, str]] = [
    ("application/json", "{", 400, "invalid_json"),
    ("application/json", '{"a": 1, "a": 2}', 400, "duplicate_key"),
    ("application/json; charset=utf-16", "{}", 415, "unsupported_charset"),
    ("application/x-www-form-urlencoded", "a=%ff", 400, "invalid_form"),
    ("application/x-www-form-urlencoded", "a=%00", 400, "invalid_text"),
    ("text/plain", b"\xff", 400, "invalid_text"),
    ("text/plain; charset=klingon", "x", 415, "unsupported_charset"),
    ("application/octet-stream", "x", 415, "unsupported_media_type"),
    ("multipart/form-data; boundary=x", "x", 415, "unsupported_media_type"),
    ("application/cloudevents-batch+json", "[]", 415, "unsupported_media_type"),
    ("application/cloudevents+json", '{"specversion": "1.0"}', 400, "invalid_cloud_event"),
]


@pytest.mark.parametrize(("content_type", "body", "payload"), TAKEN)
def test_body_is_read_by_what_it_says_that_it_is(
    hooks: Hooks, content_type: str | None, body: str | bytes, payload: Any
) -> None:
    (webhook,) = hooks.import_()
    answer = hooks.send(webhook["path"], body, content_type=content_type)
    assert answer.status_code == 202, answer.text
    assert hooks.executions()[0]["trigger"]["payload"] == payload


@pytest.mark.parametrize(("content_type", "body", "status", "code"), REFUSED)
def test_body_that_is_not_what_it_says_is_refused_and_logged(
    hooks: Hooks, content_type: str, body: str | bytes, status: int, code: str
) -> None:
    (webhook,) = hooks.import_()
    answer = hooks.send(webhook["path"], body, content_type=content_type)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert hooks.outcomes(1) == [("failed", status, code)]


def test_cloud_events_come_in_both_modes(hooks: Hooks) -> None:
    (webhook,) = hooks.import_(hook(scheme="token"))
    structured = {**EVENT, "data": {"order": 7}}
    bearer = {"Authorization": f"Bearer {SECRET}"}
    for body, headers in (
        (structured, bearer | {"Content-Type": "application/cloudevents+json"}),
        ({"order": 8}, bearer | BINARY | {"ce-id": "8", "Content-Type": "application/json"}),
    ):
        answer = hooks.front.request("POST", webhook["path"], content=json.dumps(body), headers=headers)
        assert answer.status_code == 202, answer.text

    first, second = (row["trigger"] for row in hooks.executions())
    assert (first["payload"], first["event"], first["id"]) == ({"order": 7}, EVENT, "/shop 7")
    assert second["payload"] == {"order": 8}
    assert second["event"] == {**EVENT, "id": "8", "datacontenttype": "application/json"}


def test_slack_is_answered_its_question(hooks: Hooks) -> None:
    (webhook,) = hooks.import_(hook(scheme="slack"))
    question = {"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"}
    answer = hooks.send(webhook["path"], question, scheme="slack")
    assert (answer.status_code, answer.json()) == (200, {"challenge": "3eZbrw1a"})
    assert hooks.send(webhook["path"], question, scheme="slack", secret="wrong").status_code == 401
    assert hooks.outcomes(2)[0] == ("answered", 200, "url_verification")
    assert hooks.executions() == []


def test_expressions_see_headers_and_parameters_without_secrets(hooks: Hooks) -> None:
    (webhook,) = hooks.import_(hook(path="orders"))
    headers = {
        "X-GitHub-Event": "push", "X-Shop-Topic": "orders/create", "X-Shop-Hmac-Sha256": "abc", "X-Api-Key": "abc",
        "Cookie": "abc", "Authorization": "Bearer abc", "X-Forwarded-For": "192.0.2.1", "X-Note": f"it is {SECRET}",
    }  # fmt: skip
    answer = hooks.send(webhook["named_path"] + "?shop=a&shop=b&access_token=abc", {}, headers=headers)
    assert answer.status_code == 202

    (trigger,) = (row["trigger"] for row in hooks.executions())
    kept = trigger["headers"]
    assert (kept["x-github-event"], kept["x-shop-topic"]) == ("push", "orders/create")
    assert kept.keys() <= {"content-type", "user-agent", "x-github-event", "x-shop-topic", "x-github-delivery"}
    assert (trigger["query"], trigger["path"], trigger["id"]) == ({"shop": "b"}, "orders", "key-1")


def test_large_body_is_refused_by_the_limit_of_the_tenant(hooks: Hooks) -> None:
    (webhook,) = hooks.import_()
    hooks.db.run(
        "insert into flowgres.settings (tenant_id, name, value) values (%s, 'max_payload_bytes', '2000')",
        hooks.tenant_id,
    )
    answer = hooks.send(webhook["path"], {"a": "x" * 3000})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert hooks.outcomes(1) == [("rejected", 413, "body_too_large")]


def test_body_of_a_megabyte_is_taken(hooks: Hooks) -> None:
    (webhook,) = hooks.import_()
    answer = hooks.send(webhook["path"], {"items": ["x" * 100] * 9000})
    assert answer.status_code == 202, answer.text
    assert len(hooks.executions()[0]["trigger"]["payload"]["items"]) == 9000
