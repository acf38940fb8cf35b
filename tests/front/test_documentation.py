"""What the front tells of the API: the OpenAPI document, the page, llms.txt and mcp.json, for everybody."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from flowgres_definitions.description import description_text
from tests.support.api import Api
from tests.support.database import Database
from tests.support.vendored import PLACE, fetch

Json = Any
PUBLIC = "https://flows.example.com"


@pytest.fixture(scope="module")
def told(start_front: Callable[..., Api], module_database: Database, module_api: Api) -> Api:
    """A front that knows where PostgREST is."""
    return start_front(module_database.url("front"), FLOWGRES_API_URL=module_api.url)


@pytest.fixture(scope="module")
def document(told: Api) -> Json:
    answer = told.get("/openapi.json")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/openapi+json"
    return answer.json()


def test_every_function_of_the_api_is_told_to_everybody(document: Json, module_database: Database) -> None:
    with module_database.connect() as db:
        names = db.column(
            "select p.proname from pg_proc as p"
            " where p.pronamespace = 'flowgres_api'::regnamespace and p.proname <> 'openapi'"
            " and not exists (select from unnest(p.proargtypes::oid[]) as a (type)"
            " join pg_type as t on t.oid = a.type where t.typtype = 'c')"
        )
    paths = document["paths"]
    assert {path.removeprefix("/rpc/") for path in paths if path.startswith("/rpc/")} == set(names)
    assert {"/workflows", "/secrets/{name}", "/token", "/health"} <= set(paths)


def test_functions_are_at_postgrest_and_the_rest_here(document: Json, module_api: Api) -> None:
    assert document["servers"][0]["url"] == "/"
    for path, item in document["paths"].items():
        if path.startswith("/rpc/"):
            assert item["servers"][0]["url"] == module_api.url
        else:
            assert "servers" not in item


def test_one_operation_says_it_all(document: Json) -> None:
    start = document["paths"]["/rpc/start_execution"]["post"]
    assert start["summary"] == "Start an execution"
    assert start["description"].endswith("For keys and tokens of the role member or admin or operator.")
    schema = start["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["workflow"]
    assert schema["properties"]["priority"]["type"] == ["integer", "null"]
    assert set(start["responses"]) >= {"200", "201", "401", "404", "409", "422"}
    made = start["responses"]["201"]["content"]["application/json"]["schema"]
    assert made["required"] == ["execution_id", "status", "created"]
    assert "workflow_not_found" in start["responses"]["404"]["description"]


def test_every_function_says_what_it_answers_and_what_may_be_more_is_told(document: Json) -> None:
    for path, item in document["paths"].items():
        if path.startswith("/rpc/"):
            operation = item["post"]
            shape = re.search(r"\bReturns\s+([{\[].*)", operation["description"], re.DOTALL)
            for status in {"200", "201"} & operation["responses"].keys():
                schema = operation["responses"][status]["content"]["application/json"]["schema"]
                if shape is None:
                    # One value, whose type the catalogue knows or which is always the same.
                    values = (
                        {"type": "string", "format": "uuid"},
                        {"type": "integer", "format": "integer"},
                        {"const": True},
                    )
                    assert schema in values, path
                    continue
                assert schema.get("type") in ("object", "array"), path
                opened = [one for one in objects_of(schema) if one.get("additionalProperties") is not False]
                assert len(opened) == shape[1].count("..."), path


def objects_of(schema: Json) -> Iterator[Json]:
    if schema.get("type") == "object":
        assert set(schema["required"]) == set(schema["properties"])
        yield schema
    for part in schema.get("properties", {}).values():
        yield from objects_of(part)
    if "items" in schema:
        yield from objects_of(schema["items"])


def test_every_operation_has_a_name_of_its_own(document: Json) -> None:
    names = [
        one["operationId"] for item in document["paths"].values() for one in item.values() if isinstance(one, dict)
    ]
    assert len(names) == len(set(names)) > 30


def test_where_a_proxy_puts_both_under_one_address(start_front: Callable[..., Api], module_database: Database) -> None:
    front = start_front(module_database.url("front"), PUBLIC_URL=f"{PUBLIC}/")
    document = front.get("/openapi.json").json()
    assert document["servers"][0]["url"] == PUBLIC
    assert document["paths"]["/rpc/health"]["servers"][0]["url"] == f"{PUBLIC}/api"
    assert f"({PUBLIC}/llms/reference.md)" in front.get("/llms.txt").text
    environment = front.get("/mcp.json").json()["mcpServers"]["flowgres"]["env"]
    assert environment["FLOWGRES_API_URL"] == f"{PUBLIC}/api"
    assert environment["FLOWGRES_FRONT_URL"] == PUBLIC
    assert f"connect-src 'self' {PUBLIC};" in front.get("/docs").headers["Content-Security-Policy"]


def test_without_an_address_the_api_is_below_api(front: Api) -> None:
    assert front.get("/openapi.json").json()["paths"]["/rpc/health"]["servers"][0]["url"] == "/api"
    assert f"`POST {front.url}/api/rpc/start_execution`" in front.get("/llms.txt").text


@pytest.mark.parametrize(
    "path", ["/openapi.json", "/docs", "/docs/swagger-ui.css", "/llms.txt", "/llms/graph.md", "/mcp.json"]
)
def test_whoever_has_it_is_told_so(path: str, told: Api) -> None:
    first = told.get(path)
    etag = first.headers["ETag"]
    again = told.get(path, headers={"If-None-Match": f'"other", {etag}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert told.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    assert first.headers["Cache-Control"] == "public, max-age=60"


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/swagger-ui-bundle.js"])
def test_it_is_compressed_for_those_who_can_read_that(path: str, told: Api) -> None:
    with httpx.Client(base_url=told.url) as client, client.stream("GET", path) as answer:
        raw = b"".join(answer.iter_raw())
    plain = told.get(path, headers={"Accept-Encoding": "gzip;q=0, identity"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content
    assert int(plain.headers["Content-Length"]) == len(plain.content) > 4 * len(raw) / 1.5
    head = told.request("HEAD", path)
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(raw)))


def test_the_page_loads_nothing_from_elsewhere_and_no_script_stands_in_it(told: Api, module_api: Api) -> None:
    page = told.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert f"connect-src 'self' {module_api.url};" in policy
    assert re.findall(r"<script(?![^>]* src=)", page.text) == []
    parts = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(parts) > 4
    for part in parts:
        assert part.startswith(("/", "data:"))
        if part.startswith("/"):
            answer = told.get(part)
            assert answer.status_code == 200, part
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/docs/nothing", "/docs/..%2fvendor", "/llms/nothing.md", "/llms/../pyproject.toml"])
def test_what_is_no_page_is_not_found(path: str, told: Api) -> None:
    answer = told.get(path)
    assert (answer.status_code, answer.json()["code"]) in ((404, "page_not_found"), (404, "route_not_found"))


def test_every_link_of_llms_txt_leads_somewhere(told: Api) -> None:
    text = told.get("/llms.txt").text
    lines = text.splitlines()
    assert lines[0] == "# flowgres"
    assert lines[2].startswith("> ")
    links = re.findall(r"^- \[([^\]]+)\]\(([^)]+)\): (.+)$", text, re.MULTILINE)
    assert len(links) == len([line for line in lines if line.startswith("- ")]) > 10
    for title, address, says in links:
        answer = httpx.get(address)
        assert answer.status_code == 200, (title, address)
        assert answer.text
        assert says.strip()
    assert told.get("/llms/definition.schema.json").text == description_text()


def test_without_a_database_the_document_waits_and_the_page_does_not(start_front: Callable[..., Api]) -> None:
    front = start_front("postgresql://flowgres_front@127.0.0.1:1/nothing")
    answer = front.get("/openapi.json")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unreachable")
    assert front.get("/docs").status_code == 200


@pytest.mark.slow
def test_swagger_ui_is_the_one_of_npm() -> None:
    wanted = fetch()
    found = {path.name: path.read_bytes() for path in PLACE.iterdir() if path.name != "README.md"}
    assert set(found) == set(wanted)
    for name, content in found.items():
        if name.endswith(".gz"):  # another zlib packs the same otherwise
            assert gzip.decompress(content) == gzip.decompress(wanted[name]), name
        else:
            assert content == wanted[name], name
