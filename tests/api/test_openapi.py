"""The description at the root of the API: what its reader may use, and nothing that is not there."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Database, Tenant

Json = Any


@pytest.fixture(scope="module")
def tenant(module_database: Database) -> Tenant:
    return module_database.make_tenant()


@pytest.fixture(scope="module")
def document(module_api: Api, tenant: Tenant) -> Json:
    answer = module_api.as_key(tenant.key).get("/", headers={"Accept": "application/openapi+json"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_whoever_asks_is_told_what_they_may_use(module_api: Api, document: Json) -> None:
    nobody = module_api.get("/").json()
    assert set(nobody["paths"]) == {"/rpc/health", "/rpc/register_tenant", "/rpc/openapi"}
    assert {"/executions", "/workflows", "/rpc/start_execution", "/rpc/set_setting"} <= set(document["paths"])


def test_nothing_is_written_to_a_view(document: Json) -> None:
    for path, item in document["paths"].items():
        assert set(item) == ({"post"} if path.startswith("/rpc/") else {"get"}), path


def test_authorize_button_and_its_two_ways(document: Json, module_api: Api, tenant: Tenant) -> None:
    ways = document["securityDefinitions"]
    assert {(way["in"], way["name"]) for way in ways.values()} == {("header", "X-API-Key"), ("header", "Authorization")}
    assert {name for choice in document["security"] for name in choice} == set(ways)
    said = document["info"]["description"]
    assert "X-API-Key" in said
    assert "flowgres_api" in said


def test_every_path_answers(document: Json, module_api: Api, tenant: Tenant) -> None:
    client = module_api.as_key(tenant.key)
    for path, item in document["paths"].items():
        if "get" in item:
            columns = document["definitions"][path[1:]]["properties"]
            answer = client.get(f"{path}?limit=1&select={','.join(columns)}")
            assert answer.status_code in (200, 206), (path, answer.text)
        else:
            # No arguments at all: it is found, or it says which of its required ones is missing.
            schema = item["post"]["parameters"][0]["schema"]
            answer = client.request("POST", path, json=dict.fromkeys(schema.get("required", ())))
            assert answer.json().get("code") != "PGRST202" if isinstance(answer.json(), dict) else True, path


def test_arguments_are_those_of_the_functions(document: Json) -> None:
    schema = document["paths"]["/rpc/start_execution"]["post"]["parameters"][0]["schema"]
    assert schema["required"] == ["workflow"]
    assert {"workflow", "input", "idempotency_key", "priority", "scheduled_at"} <= set(schema["properties"])
    assert schema["properties"]["scheduled_at"] == {"type": "string", "format": "date-time"}


@pytest.mark.parametrize(
    ("path", "arguments", "status", "code"),
    [
        ("/rpc/start_execution", {"workflow": "nothing"}, "404", "workflow_not_found"),
        ("/rpc/get_execution", {"execution_id": "0193b5a0-0000-7000-8000-000000000000"}, "404", "execution_not_found"),
        ("/rpc/import_workflow", {"definition": {}}, "422", "definition_invalid"),
        ("/rpc/set_setting", {"name": "nothing", "value": 1}, "404", None),
        ("/rpc/execution_metrics", {"workflow": "nothing"}, "404", "workflow_not_found"),
    ],
)
def test_errors_are_listed_with_the_calls_that_give_them(
    path: str, arguments: Json, status: str, code: str | None, document: Json, module_api: Api, tenant: Tenant
) -> None:
    given = module_api.as_key(tenant.key).request("POST", path, json=arguments)
    responses = document["paths"][path]["post"]["responses"]
    assert given.json()["code"] in responses[str(given.status_code)]["description"].split(", ")
    assert code is None or (str(given.status_code), given.json()["code"]) == (status, code)
    error = document["definitions"]["error"]
    assert set(given.json()) == set(error["properties"])


def test_wrong_credentials_are_told_of_every_path(document: Json, module_api: Api) -> None:
    given = module_api.as_key("fg_live_nothing").get("/executions")
    for item in document["paths"].values():
        (call,) = item.values()
        assert given.json()["code"] in call["responses"][str(given.status_code)]["description"]


def test_every_error_that_a_function_raises_can_be_read_from_its_text(module_database: Database) -> None:
    with module_database.connect() as db:
        texts = db.column(
            "select coalesce(nullif(prosrc, ''), pg_get_function_sqlbody(oid)) from pg_proc"
            " where pronamespace = 'flowgres'::regnamespace and proname <> 'api_errors'"
        )
    calls = [piece.partition("p_message")[0] for text in texts for piece in text.split("flowgres.fail(")[1:]]
    assert len(calls) > 50
    for call in calls:
        assert re.search(r"p_status => \d{3},", call), call
        assert re.search(r"(p_code =>|then|else) '[a-z_0-9]+'", call), call


def test_address_is_the_one_that_a_proxy_gave_it(module_api: Api) -> None:
    assert module_api.get("/").json()["basePath"] == "/"
    for given, told in {"/api": "/api", "/a/b": "/a/b", "//evil": "/", "/x y": "/", "http://x": "/"}.items():
        assert module_api.get("/", headers={"X-Forwarded-Prefix": given}).json()["basePath"] == told
