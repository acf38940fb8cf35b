"""A tenant's notifications, what executions make of them, and receivers that listen."""

from __future__ import annotations

import base64
import json
from typing import Any

from standardwebhooks.webhooks import Webhook

from flowgres_process.secret_keys import SecretKeys
from tests.support.behaviours import Received
from tests.support.database import Database, Db, Row, Tenant
from tests.support.front import SECRET_KEY

KEYS = SecretKeys(SECRET_KEY)
SIGNING_SECRET = "whsec_" + base64.b64encode(b"a key that both sides have").decode()
DELIVERIES = "select * from flowgres_api.notification_deliveries where tenant_id = %s order by id"


def verify(received: Received) -> dict[str, Any]:
    """The message of a request, by the reference library; a wrong signature is an error of the test."""
    Webhook(SIGNING_SECRET).verify(received.body, dict(received.headers))
    message: dict[str, Any] = json.loads(received.body)
    return message


class Notifications:
    """The calls of a tenant's administrator; the secret HOOK is stored."""

    def __init__(self, database: Database, db: Db, tenant: Tenant) -> None:
        self.database, self.db, self.tenant = database, db, tenant
        self.tenant_id = str(tenant.tenant_id)
        sealed = KEYS.seal(SIGNING_SECRET, tenant_id=self.tenant_id, name="HOOK")
        with database.as_role("admin", tenant_id=self.tenant_id) as api:
            api.run(
                "select flowgres.put_secret(%s, %s, %s, %s)", "HOOK", sealed.key_id, sealed.nonce, sealed.ciphertext
            )

    def call(self, function: str, **arguments: Any) -> Any:
        """`set`, `delete` or `redeliver`."""
        with self.database.as_role("admin", tenant_id=self.tenant_id) as api:
            return api.call(f"flowgres_api.{function}_notification", **arguments)

    def set(self, name: str = "ops", url: str = "https://ops.example/hook", **arguments: Any) -> Any:
        """Make one, of completed and failed executions unless told."""
        return self.call("set", name=name, url=url, secret="HOOK", **arguments)

    def rows(self) -> list[Row]:
        """Those that there are, as clients see them."""
        with self.database.as_role("viewer", tenant_id=self.tenant_id) as api:
            return api.all("select * from flowgres_api.notifications order by name")

    def deliveries(self) -> list[Row]:
        """What was told, as clients see it, the oldest first."""
        with self.database.as_role("viewer", tenant_id=self.tenant_id) as api:
            return api.all(DELIVERIES, self.tenant_id)
