"""Those who are no senders: they learn nothing, take nothing away from those who are, and fill no disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database
from tests.support.webhooks import SECRET, Hooks, hook, signed


def test_path_of_another_tenant_is_not_ones_own(
    front: Api, hooks: Hooks, module_database: Database, tenant: TenantKeys
) -> None:
    (webhook,) = hooks.import_(hook(path="orders"))
    with module_database.connect() as db:
        keys = TenantKeys(db)
        slug = db.value("select slug from flowgres.tenants where tenant_id = %s", keys.tenant_id)
        other = Hooks(front, db, tenant_id=keys.tenant_id, slug=slug, key=keys.admin)
        (theirs,) = other.import_(hook(path="orders"), secret="another tenant's secret")
        assert theirs["named_path"] != webhook["named_path"]

        assert other.send(webhook["named_path"], {}, secret="another tenant's secret").status_code == 401
        assert other.send(theirs["named_path"], {}, secret="another tenant's secret").status_code == 202
        assert len(other.executions()) == 1
    assert hooks.executions() == []
    assert tenant.tenant_id == hooks.tenant_id


def test_no_secret_and_no_address_is_in_logs_deliveries_or_answers(
    start_front: Callable[..., Api], module_database: Database, tenant: TenantKeys, tmp_path: Path
) -> None:
    log_path = tmp_path / "front.log"
    front = start_front(module_database.url("front"), log_path=log_path)
    hooks = Hooks(front, tenant.db, tenant_id=tenant.tenant_id, slug="x", key=tenant.admin)
    answers = []
    for name, scheme in (("a", "github"), ("b", "token"), ("c", "stripe")):
        (webhook,) = hooks.import_(hook(scheme=scheme), name=name)
        for secret in (SECRET, "a-wrong-secret"):
            for body in (b"{}", b"{"):
                answers.append(
                    hooks.send(webhook["path"], body, scheme=scheme, secret=secret, key=f"{secret[:1]}{body!r}")
                )
    hooks.outcomes(12)

    tokens = tenant.db.column("select token from flowgres.webhooks where tenant_id = %s", tenant.tenant_id)
    signatures = [
        value for scheme in ("github", "stripe") for value in signed(scheme, b"{}").values() if value.startswith("sha")
    ]
    stored = json.dumps([dict(row) for row in hooks.deliveries()], default=str)
    stored += json.dumps([row["trigger"] for row in hooks.executions()])
    logged = log_path.read_text()
    assert "/webhooks/wh_..." in logged
    texts = [logged, stored, *(answer.text for answer in answers)]
    for text in texts:
        for private in (SECRET, "a-wrong-secret", *tokens, *signatures):
            assert private not in text


@pytest.mark.slow
@pytest.mark.alone
def test_flood_of_forgeries_leaves_a_good_sender_alone(hooks: Hooks) -> None:
    (webhook,) = hooks.import_(hook(path="orders"))
    assert hooks.send(webhook["path"], {}).status_code == 202
    url = hooks.front.url + webhook["named_path"]
    is_over = False

    def forge(number: int) -> int:
        count = 0
        with httpx.Client(timeout=60) as client:
            while not is_over:
                client.post(url, content=b"{}" * 500, headers={"X-Hub-Signature-256": f"sha256={number:064x}"})
                count += 1
        return count

    with ThreadPoolExecutor(16) as pool:
        forgers = [pool.submit(forge, number) for number in range(16)]
        try:
            statuses = [hooks.send(webhook["path"], {}, key=f"good-{number}").status_code for number in range(100)]
        finally:
            is_over = True
        forged = sum(forger.result() for forger in forgers)

    assert statuses == [202] * 100
    assert forged > 20
    assert len(hooks.executions()) == 101
    rejected = [row for row in hooks.deliveries() if row["outcome"] == "rejected"]
    minutes = hooks.db.value("select count(*) from flowgres.webhook_rejections where tenant_id = %s", hooks.tenant_id)
    assert 0 < len(rejected) <= 20 * minutes
    counted = hooks.db.value("select sum(count) from flowgres.webhook_rejections where tenant_id = %s", hooks.tenant_id)
    assert counted <= forged
