"""A tenant's webhooks at a front, and senders that sign as the documentation of each scheme says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import httpx

from flowgres_process.secret_keys import SecretKeys
from tests.support.api import Api
from tests.support.database import Db, Row
from tests.support.definitions import Definition, log_step, workflow
from tests.support.front import SECRET_KEY
from tests.support.runner import wait_for

SECRET = "It's a Secret to Everybody"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEYS = SecretKeys(SECRET_KEY)


def hook(**members: Any) -> Definition:
    """A webhook trigger, signed as GitHub signs unless told."""
    return {"type": "webhook", "secret": "HOOK", **members}


def hooked(*triggers: Definition, name: str = "w", **members: Any) -> Definition:
    """A workflow with these triggers and a step that logs."""
    return workflow(log_step("a"), name=name, triggers=list(triggers or [hook()]), **members)


def signed(scheme: str, body: bytes, *, secret: str = SECRET, key: str = "key-1", at: int = 0) -> dict[str, str]:
    """The headers that a sender signs a body with, at a time in seconds."""

    def digest(text: bytes, signing: bytes = secret.encode()) -> bytes:
        return hmac.new(signing, text, hashlib.sha256).digest()

    if scheme == "github":
        return {"X-Hub-Signature-256": f"sha256={digest(body).hex()}", "X-GitHub-Delivery": key}
    if scheme == "standard":
        signing = base64.b64decode(secret.removeprefix("whsec_"))
        signature = base64.b64encode(digest(f"{key}.{at}.".encode() + body, signing)).decode()
        return {"webhook-id": key, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}
    if scheme == "stripe":
        return {"Stripe-Signature": f"t={at},v1={digest(f'{at}.'.encode() + body).hex()}"}
    if scheme == "slack":
        signature = f"v0={digest(f'v0:{at}:'.encode() + body).hex()}"
        return {"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": signature}
    return {"Authorization": f"Bearer {secret}", "Idempotency-Key": key} if scheme == "token" else {}


def find_webhook(front: Db, path: str) -> Row:
    """What SQL tells the front's login of an address."""
    digest = hashlib.sha256(path.removeprefix("/webhooks/").encode()).digest()
    found: Row = front.value("select flowgres.find_webhook(%s, null, null)", digest)
    return found


def deliver(front: Db, webhook: Row, payload: Any = None, **arguments: Any) -> Row:
    """What the front's login asks of SQL once a signature was right."""
    given = {
        "p_tenant_id": webhook["tenant_id"],
        "p_webhook_id": webhook["id"],
        "p_stamp": webhook["stamp"],
        "p_signed_at": None,
        "p_key": None,
        "p_content_type": "application/json",
        "p_byte_count": 2,
        "p_trigger": {"payload": payload or {}, "headers": {}, "query": {}},
        "p_answer": None,
    } | {f"p_{name}": value for name, value in arguments.items()}
    names = ", ".join(f"{name} => %({name})s" for name in given)
    return front.one(f"select * from flowgres.receive_delivery({names})", **given)


class Hooks:
    """A tenant with a front. `import_` makes webhooks, `send` signs and sends to one."""

    def __init__(self, front: Api, db: Db, *, tenant_id: str, slug: str, key: str) -> None:
        self.front, self.db, self.tenant_id, self.slug, self.key = front, db, tenant_id, slug, key

    def store(self, value: str = SECRET, *, name: str = "HOOK") -> None:
        """Store a secret, as short as it may be."""
        answer = self.front.as_key(self.key).request(
            "PUT", f"/secrets/{name}", json={"value": value, "allow_short": True}
        )
        assert answer.is_success, answer.text

    def import_(self, *triggers: Definition, secret: str | None = SECRET, **members: Any) -> list[dict[str, Any]]:
        """Make a version with these triggers the active one; its webhooks."""
        if secret is not None:
            self.store(secret)
        answer = self.front.as_key(self.key).request("POST", "/workflows", json=hooked(*triggers, **members))
        assert answer.is_success, answer.text
        webhooks: list[dict[str, Any]] = answer.json()["webhooks"]
        return webhooks

    def send(
        self,
        path: str,
        body: bytes | str | Any,
        *,
        scheme: str = "github",
        content_type: str | None = "application/json",
        headers: dict[str, str] | None = None,
        **signing: Any,
    ) -> httpx.Response:
        """Sign a body and send it; what is no text is JSON."""
        raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        given = signed(scheme, raw, **({"at": self.now()} | signing)) | (headers or {})
        if content_type is not None:
            given["Content-Type"] = content_type
        return self.front.request("POST", path, content=raw, headers=given)

    def now(self) -> int:
        """The engine's time, in seconds."""
        return int(self.db.value("select extract(epoch from flowgres.now())::bigint"))

    def deliveries(self) -> list[Row]:
        """What is logged of the tenant, in order."""
        return self.db.all(
            "select * from flowgres.webhook_deliveries where tenant_id = %s order by received_at, id", self.tenant_id
        )

    def outcomes(self, count: int) -> list[tuple[str, int, str | None]]:
        """Outcome, status and reason of so many deliveries; rejected ones are logged beside their answer."""
        wait_for(lambda: len(self.deliveries()) >= count)
        return [(row["outcome"], row["http_status"], row["reason"]) for row in self.deliveries()]

    def executions(self) -> list[Row]:
        """What was started."""
        return self.db.all(
            "select * from flowgres.executions where tenant_id = %s order by created_at, id", self.tenant_id
        )
