"""PUT and DELETE /secrets/{name}: stored encrypted, read by nobody, within one tenant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowgres_process.errors import SecretError
from flowgres_process.secret_keys import SealedSecret, SecretKeys
from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database
from tests.support.front import SECRET_KEY

KEYS = SecretKeys(SECRET_KEY)


def put(front: Api, key: str, name: str, value: str) -> int:
    return front.as_key(key).request("PUT", f"/secrets/{name}", json={"value": value}).status_code


def stored(tenant: TenantKeys, name: str) -> SealedSecret:
    row = tenant.db.one(
        "select key_id, nonce, ciphertext from flowgres.secrets where tenant_id = %s and name = %s",
        tenant.tenant_id,
        name,
    )
    return SealedSecret(row["key_id"], bytes(row["nonce"]), bytes(row["ciphertext"]))


def test_a_secret_is_stored_encrypted_and_opens_for_its_tenant_and_name_alone(front: Api, tenant: TenantKeys) -> None:
    assert put(front, tenant.admin, "STRIPE_KEY", "sk-live-Ünïcödé") == 201

    sealed = stored(tenant, "STRIPE_KEY")
    assert b"sk-live" not in sealed.ciphertext
    assert KEYS.open(sealed, tenant_id=tenant.tenant_id, name="STRIPE_KEY") == "sk-live-Ünïcödé"
    with pytest.raises(SecretError):
        KEYS.open(sealed, tenant_id=tenant.tenant_id, name="OTHER")
    with pytest.raises(SecretError):
        KEYS.open(sealed, tenant_id="00000000-0000-0000-0000-000000000001", name="STRIPE_KEY")


def test_storing_again_replaces_and_says_so(front: Api, tenant: TenantKeys) -> None:
    assert put(front, tenant.admin, "NAME", "the old one") == 201
    assert put(front, tenant.admin, "NAME", "the new one") == 200
    assert KEYS.open(stored(tenant, "NAME"), tenant_id=tenant.tenant_id, name="NAME") == "the new one"


def test_the_answer_never_holds_the_value(front: Api, tenant: TenantKeys) -> None:
    answer = front.as_key(tenant.admin).request("PUT", "/secrets/NAME", json={"value": "very-secret-value"})

    assert answer.json()["name"] == "NAME"
    assert "very-secret-value" not in answer.text


def test_a_deleted_secret_is_gone(front: Api, tenant: TenantKeys) -> None:
    put(front, tenant.admin, "NAME", "a-secret")

    assert front.as_key(tenant.admin).request("DELETE", "/secrets/NAME").status_code == 204
    again = front.as_key(tenant.admin).request("DELETE", "/secrets/NAME")
    assert again.status_code == 404
    assert again.json()["code"] == "secret_not_found"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("role", ["member", "viewer"])
def test_only_administrators_touch_secrets(front: Api, tenant: TenantKeys, method: str, role: str) -> None:
    answer = front.as_key(getattr(tenant, role)).request(method, "/secrets/NAME", json={"value": "a-secret"})

    assert answer.status_code == 403
    assert answer.json()["code"] == "insufficient_role"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_nobody_touches_secrets(front: Api, method: str) -> None:
    assert front.request(method, "/secrets/NAME", json={"value": "a-secret"}).status_code == 401


def test_a_tenant_neither_replaces_nor_deletes_another_ones_secret(
    front: Api, tenant: TenantKeys, module_database: Database
) -> None:
    put(front, tenant.admin, "SHARED", "mine alone")
    with module_database.connect() as db:
        other = TenantKeys(db)

        assert put(front, other.admin, "SHARED", "theirs alone") == 201
        assert front.as_key(other.admin).request("DELETE", "/secrets/SHARED").status_code == 204
    assert KEYS.open(stored(tenant, "SHARED"), tenant_id=tenant.tenant_id, name="SHARED") == "mine alone"


@pytest.mark.parametrize("name", ["1ST", "WITH-DASH", "with space", "É", "x" * 64, "%00", "a;b", "_X"])
def test_a_name_that_no_expression_could_use_is_refused(front: Api, tenant: TenantKeys, name: str) -> None:
    answer = front.as_key(tenant.admin).request("PUT", f"/secrets/{name}", json={"value": "a-secret"})

    assert answer.status_code == 400
    assert answer.json()["code"] in ("argument_invalid", "invalid_value")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"value": ""}, 400),
        ({"value": 1}, 400),
        ({"value": None}, 400),
        ({"value": ["v"]}, 400),
        ({"value": "a-secret", "valeu": "v"}, 400),
        ({"value": "nul in it \x00"}, 400),
        ({"value": "1234567"}, 422),
        ({"value": "1234567", "allow_short": False}, 422),
        ({"value": "1234567", "allow_short": True}, 201),
        ({"value": "12345678", "allow_short": 1}, 400),
        ({"value": "x" * 65_536}, 201),
        ({"value": "x" * 65_537}, 413),
        ({"value": "ü" * 40_000}, 413),
    ],
    ids=[
        "none",
        "empty",
        "number",
        "null",
        "list",
        "more",
        "nul",
        "short",
        "not allowed",
        "allowed",
        "no flag",
        "largest",
        "too large",
        "too large in bytes",
    ],
)
def test_values_are_texts_of_a_sensible_size(
    front: Api, tenant: TenantKeys, body: dict[str, object], status: int
) -> None:
    assert front.as_key(tenant.admin).request("PUT", "/secrets/NAME", json=body).status_code == status


def test_without_a_key_nothing_can_be_stored_and_the_answer_says_why(
    start_front: Callable[..., Api], module_database: Database, tenant: TenantKeys
) -> None:
    keyless = start_front(module_database.url("front"), FLOWGRES_SECRET_KEY="")

    answer = keyless.as_key(tenant.admin).request("PUT", "/secrets/NAME", json={"value": "a-secret"})

    assert answer.status_code == 503
    assert answer.json()["code"] == "secret_key_missing"
    assert "FLOWGRES_SECRET_KEY" in answer.json()["hint"]


def test_storing_and_deleting_are_in_the_audit_without_the_value(front: Api, tenant: TenantKeys) -> None:
    put(front, tenant.admin, "AUDITED", "very-secret-value")
    front.as_key(tenant.admin).request("DELETE", "/secrets/AUDITED")

    rows = tenant.db.all(
        "select action, actor, audit_log::text as line from flowgres.audit_log where tenant_id = %s and subject = %s"
        " order by at",
        tenant.tenant_id,
        "AUDITED",
    )
    assert [row["action"] for row in rows] == ["secret_stored", "secret_deleted"]
    assert all(row["actor"].startswith("key:") for row in rows)
    assert not any("very-secret-value" in row["line"] for row in rows)
