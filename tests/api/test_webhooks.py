"""Webhooks over HTTP: views, embedding, rotation and redelivery, by role."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.api import Api
from tests.support.database import Tenant


def test_views_tell_of_webhooks_and_deliveries(alice: Tenant, module_api: Api) -> None:
    api = module_api.as_key(alice.key)
    (webhook,) = api.get("/webhooks").json()
    assert webhook["path"].startswith("/webhooks/wh_")
    assert webhook["named_path"].endswith("/pipe")
    assert (webhook["scheme"], webhook["secret_name"], webhook["is_secret_stored"]) == ("token", "TOKEN", True)
    assert (webhook["is_active"], webhook["last_outcome"], webhook["rejected_last_day"]) == (True, "accepted", 0)

    (delivery,) = api.get(
        "/webhook_deliveries",
        params={"key": "eq.delivered", "select": "outcome,http_status,webhooks(workflow_name),executions(status)"},
    ).json()
    assert delivery == {
        "outcome": "accepted",
        "http_status": 202,
        "webhooks": {"workflow_name": "pipe"},
        "executions": {"status": "completed"},
    }


def test_member_rotates_and_delivers_once_more_and_viewer_does_neither(
    alice: Tenant, module_api: Api, make_key: Callable[..., str]
) -> None:
    viewer, member = (module_api.as_key(make_key(alice, role)) for role in ("viewer", "member"))
    (seen,) = viewer.get("/webhooks").json()
    (delivery,) = viewer.get("/webhook_deliveries", params={"key": "eq.delivered"}).json()
    assert (seen["path"], seen["scheme"]) == (None, "token")
    assert viewer.rpc("rotate_webhook", webhook="pipe", new_address=True).status_code == 403
    assert viewer.rpc("redeliver_webhook", delivery=delivery["id"]).status_code == 403

    (before,) = member.get("/webhooks").json()
    rotated = member.rpc("rotate_webhook", webhook="pipe", new_address=True)
    assert rotated.status_code == 200, rotated.text
    assert rotated.json()["path"] not in (None, before["path"])
    again = member.rpc("redeliver_webhook", delivery=delivery["id"])
    assert again.status_code == 201, again.text
    assert again.json()["execution_id"] != delivery["execution_id"]
    audit = (
        module_api.as_key(alice.key).get("/audit_log", params={"action": "like.webhook_*", "select": "action"}).json()
    )
    assert {row["action"] for row in audit} == {"webhook_rotated", "webhook_redelivered"}


def test_refusals_have_their_codes(alice: Tenant, module_api: Api) -> None:
    api = module_api.as_key(alice.key)
    nothing = api.rpc("rotate_webhook", webhook="pipe")
    assert (nothing.status_code, nothing.json()["code"]) == (400, "argument_invalid")
    missing = api.rpc("rotate_webhook", webhook="pipe", secret="NOT_STORED")
    assert (missing.status_code, missing.json()["code"]) == (404, "secret_not_found")
    unknown = api.rpc("redeliver_webhook", delivery="00000000-0000-7000-8000-000000000000")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "delivery_not_found")
