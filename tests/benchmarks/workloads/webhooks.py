"""W13: how long a sender waits for the 202 of a delivery, at a steady rate and with a runner at work."""

from __future__ import annotations

import hashlib
import hmac
import json

import httpx

from tests.benchmarks.definitions import single
from tests.benchmarks.figures import percentile
from tests.benchmarks.parts import Context
from tests.benchmarks.steady import post_steadily
from tests.support.front import Front

PER_SECOND = 200
CONNECTIONS = 16
SECRET = "the secret of the measurement"


def measure(context: Context) -> None:
    """Milliseconds from when a delivery was due until its answer, signed as GitHub signs."""
    body = json.dumps({"v": 1, "order": {"id": "o-1", "lines": ["x" * 100] * 10}}).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()

    def headers(number: int) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": signature,
            "X-GitHub-Delivery": f"delivery-{number}",
        }

    with context.site() as site:
        with Front(
            site.database.url("front"), log_path=context.lab.directory / f"{site.database.name}-front.log",
            environment={"LOG_LEVEL": "warning"},
        ) as front, site.runners(1):  # fmt: skip
            stored = httpx.put(
                f"{front.url}/secrets/HOOK", json={"value": SECRET}, headers={"X-API-Key": site.tenant.key}, timeout=30
            )
            stored.raise_for_status()
            site.import_workflow({**single(), "triggers": [{"type": "webhook", "secret": "HOOK"}]})
            path = site.service.call(
                "flowgres.webhook_path", p_webhook_id=site.admin.value("select id from flowgres.webhooks")
            )
            post_steadily(
                front.url + path, body, lambda number: headers(-1 - number), per_second=PER_SECOND, seconds=2,
                connections=CONNECTIONS,
            )  # fmt: skip
            load = post_steadily(
                front.url + path,
                body,
                headers,
                per_second=PER_SECOND,
                seconds=context.scale.webhook_seconds,
                connections=CONNECTIONS,
            )
            site.wait_until("not exists (select from flowgres.work_queue)", timeout_seconds=60)
        context.record("w13.p50", percentile(load.milliseconds, 0.5))
        context.record("w13.p99", percentile(load.milliseconds, 0.99))
        context.record("w13.rate", load.per_second)
