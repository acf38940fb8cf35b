"""The cases of kind `auth` and `pgrst`: hostile requests, and what must come of them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.api.test_authentication import signed
from tests.api.test_isolation import snapshot
from tests.support.api import Api
from tests.support.database import Db, Tenant

Case = dict[str, Any]
LINES = Path(__file__).parents[1].joinpath("cases/cases.jsonl").read_text().splitlines()
CASES: list[Case] = [json.loads(line) for line in LINES]
AUTH = [case for case in CASES if case["kind"] == "auth"]
REQUESTS = [case for case in CASES if case["kind"] == "pgrst" and "gen" not in case["input"]]
FLOODS = [case for case in CASES if case["kind"] == "pgrst" and "gen" in case["input"]]


def raw_request(api: Api, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes]:
    """Send bytes as they are and read what comes; status 0 when the server closes without an answer."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(api.url).netloc}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    host, port = urlsplit(api.url).netloc.split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=30) as peer:
        try:
            peer.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            while chunk := peer.recv(65536):
                received += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass
    head, _, payload = received.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), payload


@pytest.mark.parametrize("case", AUTH, ids=lambda case: case["id"])
def test_auth(case: Case, alice: Tenant, module_api: Api, operator: Db) -> None:
    before = snapshot(operator, alice.tenant_id)
    given = case["input"]
    if "scope" in given:
        # The scopes of the case are our roles, its functions ours.
        role = {"executions:read": "viewer", "workflows:write": "member"}[given["scope"]]
        function = {"rpc/execute_workflow": "start_execution", "rpc/rotate_api_key": "rotate_api_key"}[given["call"]]
        key = _key(operator, alice, role)
        arguments = {"workflow": "pipe"} if function == "start_execution" else {"prefix": "00000000"}
        before = snapshot(operator, alice.tenant_id)
        status = module_api.as_key(key).rpc(function, **arguments).status_code
    elif "claim" in given:
        token = signed(alice, role="flowgres_runner")
        status = module_api.as_token(token).get("/workflows").status_code
    elif given.get("gen") == "text":
        # PostgREST's server cuts headers of this size off before anything of ours sees them.
        status, _ = raw_request(module_api, "GET", "/workflows", {"X-API-Key": given["unit"] * given["n"]})
        status = 401 if status in (0, 400, 413, 431) else status
    else:
        status = _status_of(given["credential"], alice, module_api, operator)
    assert f"{status}" in "".join(case["expectation"]["outcome"])
    if "credential" not in given:
        assert snapshot(operator, alice.tenant_id) == before
    assert module_api.as_key(alice.key).get("/workflows").status_code == 200


def _key(operator: Db, tenant: Tenant, role: str) -> str:
    answer = operator.value(
        "select flowgres.issue_api_key(p_tenant_id => %s, p_name => 'case', p_role => %s, p_roles => '{}',"
        " p_expires_at => null, p_created_by => 'case')",
        tenant.tenant_id,
        role,
    )
    return str(answer["api_key"])


def _status_of(credential: str, tenant: Tenant, api: Api, operator: Db) -> int:
    tokens: dict[str, Callable[[], str]] = {
        "alg:none token role=tenant": lambda: signed(tenant, secret=None, algorithm="none"),
        "expired token (exp=1)": lambda: signed(tenant, exp=1),
        "token signed with the anon key": lambda: signed(tenant, secret="the-anonymous-key-of-32-characters"),
        "nbf in the future": lambda: signed(tenant, nbf=int(time.time()) + 3600),
    }
    if credential in tokens:
        return api.as_token(tokens[credential]()).get("/workflows").status_code
    if credential in ("key revoked 1 s ago", "key expired 1 s ago"):
        key = _key(operator, tenant, "member")
        column = "revoked_at" if "revoked" in credential else "expires_at"
        operator.run(
            f"update flowgres.api_keys set {column} = flowgres.now() - interval '1 s' where prefix = %s",
            key.split("_")[-1][:8],
        )
        return api.as_key(key).get("/workflows").status_code
    name = "Authorization" if credential.startswith("Bearer") else "X-API-Key"
    return raw_request(api, "GET", "/workflows", {name: credential})[0]


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case["id"])
def test_request(case: Case, alice: Tenant, bob: Tenant, module_api: Api, operator: Db) -> None:
    execution = operator.value(
        "select id::text from flowgres_api.executions where tenant_id = %s limit 1", alice.tenant_id
    )
    workflow = operator.value(
        "select id::text from flowgres_api.workflows where tenant_id = %s and name = 'pipe'", alice.tenant_id
    )

    def fill(text: str) -> str:
        for name, value in (("{A}", alice.tenant_id), ("{A.execution}", execution), ("{A.workflow}", workflow)):
            text = text.replace(name, value)
        return text

    given = json.loads(fill(json.dumps(case["input"])))
    if given["path"] == "/rpc/execute_workflow":
        given["path"] = "/rpc/start_execution"
    if "execution" in given["path"] and "id" in given.get("json", {}):
        given["json"] = {"execution_id": given["json"]["id"]}
    before = snapshot(operator, alice.tenant_id)

    began = time.perf_counter()
    answer = module_api.as_key(bob.key).request(
        given["method"], given["path"], json=given.get("json"), headers=given.get("headers")
    )

    assert (time.perf_counter() - began) * 1000 < case["expectation"]["max_ms"]
    assert answer.status_code < 500, answer.text
    if answer.status_code < 300 and isinstance(rows := answer.json(), list):
        assert all(row.get("tenant_id") != alice.tenant_id for row in rows)
    assert snapshot(operator, alice.tenant_id) == before


@pytest.mark.parametrize("case", FLOODS, ids=lambda case: case["id"])
def test_flood(case: Case, alice: Tenant, bob: Tenant, module_api: Api) -> None:
    given = case["input"]
    credentials = {"X-API-Key": bob.key}
    statuses: list[int]
    if given["gen"] == "query_or":
        terms = ",".join(f"name.eq.workflow{i}" for i in range(given["n"]))
        statuses = [raw_request(module_api, "GET", f"/workflows?or=({terms})", credentials)[0]]
    elif given["gen"] == "body_mb":
        body = b'{"workflow": "pipe", "input": {"x": "' + b"x" * (given["mb"] << 20) + b'"}}'
        statuses = [raw_request(module_api, "POST", "/rpc/start_execution", credentials, body)[0]]
    elif given["gen"] == "bulk_insert":
        body = json.dumps([{"name": f"w{i}"} for i in range(given["n"])]).encode()
        statuses = [raw_request(module_api, "POST", "/workflows", credentials, body)[0]]
    else:
        path = given["call"].removeprefix("GET ")
        with ThreadPoolExecutor(50) as pool:
            calls = [pool.submit(raw_request, module_api, "GET", path, credentials) for _ in range(given["n"])]
            statuses = [call.result()[0] for call in calls]
    # 0: cut off while the request was still being sent, as PostgREST's server does with heads that are too large.
    assert all(400 <= status < 500 or status == 0 for status in statuses), set(statuses)

    began = time.perf_counter()
    assert module_api.as_key(alice.key).get("/workflows").status_code == 200
    assert (time.perf_counter() - began) * 1000 < case["expectation"]["other_tenant_max_ms"]
