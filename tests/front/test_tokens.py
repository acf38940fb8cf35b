"""POST /token: what is issued, to whom, and what it opens."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api, make_token
from tests.support.server import JWT_SECRET


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, JWT_SECRET, algorithms=["HS256"])


def test_a_key_becomes_a_token_of_its_tenant_and_role_for_fifteen_minutes(front: Api, tenant: TenantKeys) -> None:
    answer = front.as_key(tenant.member).request("POST", "/token")

    assert answer.status_code == 200
    body = answer.json()
    claims = claims_of(body["access_token"])
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 900
    assert claims["role"] == "flowgres_member"
    assert claims["tenant_id"] == tenant.tenant_id
    assert claims["sub"].startswith("key:")
    assert claims["roles"] == []
    assert 0 < claims["exp"] - time.time() <= 900


def test_the_key_may_stand_in_the_body(front: Api, tenant: TenantKeys) -> None:
    answer = front.request("POST", "/token", json={"api_key": tenant.viewer, "expires_in": 60})

    assert answer.status_code == 200
    assert claims_of(answer.json()["access_token"])["role"] == "flowgres_viewer"
    assert answer.json()["expires_in"] == 60


def test_an_issued_token_opens_the_front(front: Api, tenant: TenantKeys) -> None:
    token = front.as_key(tenant.admin).request("POST", "/token").json()["access_token"]

    assert front.as_token(token).request("PUT", "/secrets/BY_TOKEN", json={"value": "a-secret"}).status_code == 201


@pytest.mark.parametrize("expires_in", [0, 901, -1, "60", 1.5, True, None])
def test_no_token_lives_longer_than_fifteen_minutes(front: Api, tenant: TenantKeys, expires_in: object) -> None:
    answer = front.as_key(tenant.admin).request("POST", "/token", json={"expires_in": expires_in})

    assert answer.status_code == 400
    assert answer.json()["code"] == "argument_invalid"


def test_a_token_buys_no_token(front: Api, tenant: TenantKeys) -> None:
    token = make_token(role="flowgres_admin", tenant_id=tenant.tenant_id)

    assert front.as_token(token).request("POST", "/token").json()["code"] == "api_key_required"


@pytest.mark.parametrize("key", ["", "nonsense", "fg_live_" + "0" * 32 + "_" + "0" * 64, "x" * 9000, "k" * 10_000])
def test_a_bad_key_gets_nothing(front: Api, key: str) -> None:
    answer = front.as_key(key).request("POST", "/token")

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert "access_token" not in answer.json()


def test_nobody_gets_no_token(front: Api) -> None:
    answer = front.request("POST", "/token")

    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_credentials"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_revoked_key_gets_no_token(front: Api, tenant: TenantKeys) -> None:
    tenant.db.run("update flowgres.api_keys set revoked_at = now() where tenant_id = %s", tenant.tenant_id)

    assert front.as_key(tenant.admin).request("POST", "/token").status_code == 401


@pytest.mark.parametrize(
    "make",
    [
        lambda t: make_token(role="flowgres_admin", tenant_id=t, exp=int(time.time()) - 3600),
        lambda t: make_token(role="flowgres_admin", tenant_id=t, secret="another-secret-of-at-least-32-characters"),
        lambda t: make_token(role="flowgres_operator", tenant_id=t),
        lambda t: make_token(role="flowgres_engine", tenant_id=t),
        lambda t: make_token(role="postgres", tenant_id=t),
        lambda t: make_token(role="flowgres_admin", tenant_id="00000000-0000-0000-0000-000000000000"),
        lambda t: make_token(role="flowgres_admin", tenant_id="nonsense"),
        lambda t: jwt.encode({"role": "flowgres_admin", "tenant_id": t}, JWT_SECRET, algorithm="HS256"),
        lambda t: jwt.encode({"role": "flowgres_admin", "tenant_id": t, "exp": "soon"}, JWT_SECRET, algorithm="HS256"),
        lambda t: jwt.encode(
            {"role": "flowgres_admin", "tenant_id": t, "exp": int(time.time()) + 60}, JWT_SECRET * 2, algorithm="HS512"
        ),
        lambda t: jwt.encode({"role": "flowgres_admin", "tenant_id": t, "exp": int(time.time()) + 60}, "", "none"),
        lambda t: "a.b.c",
        lambda t: "e30.e30.e30",
    ],
    ids=[
        "expired", "forged", "operator", "engine", "superuser", "system tenant", "no tenant", "no exp", "exp is text",
        "other algorithm", "unsigned", "garbage", "empty parts",
    ],
)  # fmt: skip
def test_a_bad_token_is_refused(front: Api, tenant: TenantKeys, make: Any) -> None:
    answer = front.as_token(make(tenant.tenant_id)).request("PUT", "/secrets/NAME", json={"value": "a-secret"})

    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_credentials"


def test_a_key_and_a_token_together_are_ambiguous(front: Api, tenant: TenantKeys) -> None:
    token = make_token(role="flowgres_admin", tenant_id=tenant.tenant_id)

    answer = front.as_key(tenant.admin).as_token(token).request("PUT", "/secrets/NAME", json={"value": "a-secret"})

    assert answer.status_code == 400
    assert answer.json()["code"] == "ambiguous_credentials"


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "token abc", ""])
def test_any_other_authorization_is_a_bad_credential(front: Api, header: str) -> None:
    answer = front.request("PUT", "/secrets/NAME", json={"value": "a-secret"}, headers={"Authorization": header})

    assert answer.status_code == 401


def test_every_bad_credential_gets_the_same_answer(front: Api, tenant: TenantKeys) -> None:
    revoked, expired = tenant.viewer, tenant.member
    tenant.db.run("update flowgres.api_keys set revoked_at = now() where name = 'viewer'")
    tenant.db.run("update flowgres.api_keys set expires_at = now() where name = 'member'")
    callers = [
        front,
        *[front.as_key(key) for key in ("", "fg_live_", "fg_live_' OR '1'='1", "k" * 10_000, revoked, expired)],
        front.as_token("a.b.c"),
        front.as_token(make_token(role="flowgres_admin", tenant_id=tenant.tenant_id, exp=1)),
        front.as_token(make_token(role="flowgres_admin", tenant_id=tenant.tenant_id, nbf=int(time.time()) + 3600)),
        front.as_token(make_token(role="service_runner", tenant_id=tenant.tenant_id)),
        front.as_token(make_token(role="flowgres_admin", tenant_id=tenant.tenant_id, secret="anon" * 10)),
    ]

    answers = [caller.request("DELETE", "/secrets/NAME") for caller in callers]

    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
