"""Who is let in: API keys, tokens, nobody; and the one answer for everything that is no good."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest

from tests.support.api import Api, make_token
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.server import JWT_SECRET

KEY_FORMAT = r"^fg_live_[0-9a-f]{32}_[0-9a-f]{64}$"


def signed(tenant: Tenant, secret: str | None = JWT_SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    """A token of a member, with claims changed, or left out where a change is None."""
    claims = {"role": "flowgres_member", "tenant_id": tenant.tenant_id, "sub": "ann", "exp": int(time.time()) + 60}
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(claims, secret or "", algorithm=algorithm)


def raw_get(api: Api, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """GET with headers that a well-behaved client would not send."""
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_first_key_has_the_documented_form_and_opens_the_own_tenant(alice: Tenant, module_api: Api) -> None:
    assert re.match(KEY_FORMAT, alice.key)
    rows = module_api.as_key(alice.key).get("/tenants").json()
    assert [(row["tenant_id"], row["name"]) for row in rows] == [(alice.tenant_id, "Alice")]


@pytest.mark.parametrize("role", ["viewer", "member", "admin"])
def test_token_of_each_role_reads_the_own_tenant(role: str, alice: Tenant, module_api: Api) -> None:
    token = make_token(role=role, tenant_id=alice.tenant_id)
    assert len(module_api.as_token(token).get("/tenants").json()) == 1


def test_both_credentials_at_once_are_refused(alice: Tenant, module_api: Api) -> None:
    answer = module_api.as_key(alice.key).as_token(signed(alice)).get("/workflows")
    assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_credentials")


def bad_keys(tenant: Tenant) -> dict[str, str]:
    """API keys that are wrong in every way that a caller can try."""
    other_digit = "0" if tenant.key[-1] != "0" else "1"
    return {
        "empty": "",
        "prefix only": "fg_live_",
        "injection": "fg_live_' OR '1'='1",
        "upper case": tenant.key.upper(),
        "one digit off": tenant.key[:-1] + other_digit,
        "one digit more": tenant.key + "0",
        "other tenant": f"fg_live_{'0' * 32}_{tenant.key[-64:]}",
        "unknown tenant": f"fg_live_{'f' * 32}_{tenant.key[-64:]}",
        "long": "k" * 20_000,
    }


def test_every_bad_key_gets_the_same_answer(alice: Tenant, module_api: Api) -> None:
    answers = {name: raw_get(module_api, "/workflows", {"X-API-Key": key}) for name, key in bad_keys(alice).items()}
    answers["nothing at all"] = raw_get(module_api, "/workflows", {})
    answers["empty bearer"] = raw_get(module_api, "/workflows", {"Authorization": "Bearer "})
    answers["basic"] = raw_get(module_api, "/workflows", {"Authorization": "Basic YTpi"})
    assert {status for status, _ in answers.values()} == {401}
    assert len({body for _, body in answers.values()}) == 1, answers


def test_time_of_a_miss_does_not_tell_why(alice: Tenant, module_api: Api) -> None:
    keys = [key for name, key in bad_keys(alice).items() if name != "long"]
    fastest = dict.fromkeys(keys, 1.0)
    connection = http.client.HTTPConnection(urlsplit(module_api.url).netloc, timeout=10)
    # In turns, and the best of each: what else the machine does meanwhile falls on all alike.
    for key in keys * 25:
        began = time.perf_counter()
        connection.request("GET", "/workflows", headers={"X-API-Key": key})
        connection.getresponse().read()
        fastest[key] = min(fastest[key], time.perf_counter() - began)
    connection.close()
    assert max(fastest.values()) - min(fastest.values()) < 0.005, fastest


BAD_TOKENS: dict[str, Callable[[Tenant], str]] = {
    "no signature": lambda t: signed(t, secret=None, algorithm="none"),
    "expired": lambda t: signed(t, exp=1),
    "another secret": lambda t: signed(t, secret="another-secret-of-at-least-32-characters"),
    "not yet valid": lambda t: signed(t, nbf=int(time.time()) + 600),
    "no expiry": lambda t: signed(t, exp=None),
    "expiry as text": lambda t: signed(t, exp=None, expires="2030"),
    "no tenant": lambda t: signed(t, tenant_id=None),
    "tenant is no id": lambda t: signed(t, tenant_id="alice"),
    "tenant is a list": lambda t: signed(t, tenant_id=[t.tenant_id]),
    "unknown tenant": lambda t: signed(t, tenant_id="f" * 8 + "-ffff-4fff-8fff-" + "f" * 12),
    "system tenant": lambda t: signed(t, tenant_id="00000000-0000-0000-0000-000000000000"),
    "no role": lambda t: signed(t, role=None),
    "anonymous role": lambda t: signed(t, role="flowgres_anon"),
    "garbage": lambda t: "garbage",
    "three parts of garbage": lambda t: "a.b.c",
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_bad_token_is_refused(name: str, alice: Tenant, module_api: Api) -> None:
    answer = module_api.as_token(BAD_TOKENS[name](alice)).get("/workflows")
    assert answer.status_code == 401
    assert alice.tenant_id not in answer.text


@pytest.mark.parametrize(
    "role", ["flowgres_runner", "flowgres_engine", "flowgres_owner", "flowgres_operator", "flowgres_definer"]
)
def test_token_cannot_name_a_role_of_the_engine(role: str, alice: Tenant, module_api: Api) -> None:
    assert module_api.as_token(signed(alice, role=role)).get("/workflows").status_code == 403


def test_subject_of_a_token_cannot_pass_for_a_key(alice: Tenant, module_api: Api, operator: Db) -> None:
    token = signed(alice, role="flowgres_admin", sub="key:00000000")
    module_api.as_token(token).rpc("create_api_key", name="audited")
    actors = operator.column("select created_by from flowgres.api_keys where name = 'audited'")
    assert actors == ["sub:key:00000000"]


@pytest.mark.parametrize(
    ("role", "function", "arguments"),
    [
        ("viewer", "start_execution", {"workflow": "pipe"}),
        ("viewer", "cancel_execution", {"execution_id": "00000000-0000-0000-0000-000000000000"}),
        ("viewer", "import_workflow", {"definition": {}}),
        ("member", "create_api_key", {"name": "x"}),
        ("member", "rotate_api_key", {"prefix": "x"}),
        ("member", "set_setting", {"name": "max_payload_bytes", "value": 1}),
    ],
)
@pytest.mark.parametrize("credential", ["key", "token"])
def test_weaker_role_is_told_so(
    credential: str,
    role: str,
    function: str,
    arguments: dict[str, Any],
    bob: Tenant,
    module_api: Api,
    make_key: Callable[..., str],
) -> None:
    if credential == "key":
        api = module_api.as_key(make_key(bob, role))
    else:
        api = module_api.as_token(make_token(role=role, tenant_id=bob.tenant_id))
    answer = api.rpc(function, **arguments)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")


@pytest.mark.parametrize("view", ["api_keys", "audit_log"])
def test_administrators_views_are_closed_to_members(
    view: str, bob: Tenant, module_api: Api, make_key: Callable[..., str]
) -> None:
    answer = module_api.as_key(make_key(bob, "member")).get(f"/{view}")
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")


def test_without_credentials_only_health_and_registration_answer(module_api: Api) -> None:
    assert module_api.rpc("health").json().keys() == {
        "engine", "installation", "status", "version", "lag_seconds", "live_runners", "is_copy", "unserved_types",
    }  # fmt: skip
    assert module_api.rpc("register_tenant", name="X").json()["code"] == "registration_disabled"
    assert module_api.rpc("start_execution", workflow="pipe").status_code == 401
    assert module_api.get("/").status_code == 200


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_views_are_read_only(method: str, alice: Tenant, module_api: Api) -> None:
    answer = module_api.as_key(alice.key).request(method, "/workflows", json={"name": "x"})
    assert (answer.status_code, answer.json()["code"]) == (405, "read_only")


def test_registration_gives_a_working_key_when_it_is_enabled(api: Api, db: Db) -> None:
    db.run("update flowgres.settings set value = 'true' where name = 'self_registration_enabled'")
    answers = [api.rpc("register_tenant", name="  Café & Co  ") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    registered = [answer.json() for answer in answers]
    assert registered[0]["name"] == "Café & Co"
    assert len({row["slug"] for row in registered}) == 3
    assert [row["slug_taken"] for row in registered] == [None, "caf-co", "caf-co"]
    assert api.as_key(registered[0]["api_key"]).get("/audit_log").json()[0]["actor"] == "anonymous"
    for name in ("", "   ", "x" * 201, "a\nb"):
        assert api.rpc("register_tenant", name=name).status_code == 400


def test_key_ends_when_it_expires_is_revoked_or_its_tenant_is_suspended(
    database: Database, api: Api, db: Db, clock: Clock
) -> None:
    tenant = database.make_tenant("Acme")
    admin = api.as_key(tenant.key)
    expires_at = db.value("select flowgres.now() + interval '1 hour'")
    expiring, revoked, living = (
        admin.rpc("create_api_key", name="k", expires_at=expiry).json()
        for expiry in (expires_at.isoformat(), None, None)
    )
    assert admin.rpc("revoke_api_key", prefix=revoked["prefix"]).status_code == 200
    assert api.as_key(revoked["api_key"]).get("/tenants").status_code == 401
    assert api.as_key(expiring["api_key"]).get("/tenants").status_code == 200
    clock.advance(seconds=3601)
    assert api.as_key(expiring["api_key"]).get("/tenants").status_code == 401
    statuses = {row["prefix"]: row["status"] for row in admin.get("/api_keys").json()}
    assert statuses[expiring["prefix"]] == "expired"
    assert statuses[revoked["prefix"]] == "revoked"

    token = make_token(role="viewer", tenant_id=tenant.tenant_id)
    assert api.as_token(token).get("/tenants").status_code == 200
    db.run("update flowgres.tenants set status = 'suspended'")
    refused = [api.as_key(living["api_key"]).get("/tenants"), api.as_token(token).get("/tenants")]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(401, "invalid_credentials")}


def test_rotated_key_works_on_for_its_grace(database: Database, api: Api, clock: Clock) -> None:
    tenant = database.make_tenant("Acme")
    admin = api.as_key(tenant.key)
    old = admin.rpc("create_api_key", name="service", role="member", roles=["manager"]).json()
    answer = admin.rpc("rotate_api_key", prefix=old["prefix"], grace_seconds=60)
    new = answer.json()
    assert answer.status_code == 201
    assert (new["role"], new["roles"], new["name"], new["replaces"]) == (
        "member",
        ["manager"],
        "service",
        old["prefix"],
    )
    assert [api.as_key(key["api_key"]).get("/tenants").status_code for key in (old, new)] == [200, 200]
    clock.advance(seconds=61)
    assert [api.as_key(key["api_key"]).get("/tenants").status_code for key in (old, new)] == [401, 200]
    again = admin.rpc("rotate_api_key", prefix=old["prefix"])
    assert (again.status_code, again.json()["code"]) == (409, "api_key_not_active")
    actions = [row["action"] for row in admin.get("/audit_log", params={"order": "id"}).json()]
    assert actions == ["tenant_registered", "api_key_created", "api_key_rotated"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": ""},
        {"name": "x", "role": "owner"},
        {"name": "x", "role": None},
        {"name": "x", "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "x", "roles": ["r"] * 33},
        {"name": "x", "roles": [""]},
    ],
)
def test_bad_arguments_of_a_key_are_refused(arguments: dict[str, Any], bob: Tenant, module_api: Api) -> None:
    answer = module_api.as_key(bob.key).rpc("create_api_key", **arguments)
    assert (answer.status_code, answer.json()["code"]) == (400, "argument_invalid")
