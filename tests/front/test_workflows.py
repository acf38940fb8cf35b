"""POST /workflows: what is stored, what is refused and where, and what happens to a secret that stands in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowgres_process.secret_keys import SealedSecret, SecretKeys
from tests.cases import Case, load_cases
from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database
from tests.support.front import SECRET_KEY

YAML = """\
name: greet
inputs:
  name: {type: string, default: world}
steps:
  - id: hello
    type: transform
    config: {expression: "Hello, {{ input.name }}!"}
"""
WRONG = """\
name: wrong
steps:
  - id: a
    type: transform
    config: {expression: "{{ steps.nobody.output }}"}
  - id: b
    type: httpp
    depends_on: [a, c]
    config: {expression: "{{ input. }}"}
  - id: b
    type: log
    config: {message: "{{ open('x') }}"}
"""
# Byte for byte as its system documents it.
PRINTED = (Path(__file__).parents[1] / "cases" / "documents" / "a_order_pipeline.json").read_bytes()
DOCUMENTED: dict[str, Any] = json.loads(PRINTED)


def send(front: Api, body: str | bytes, kind: str = "application/yaml", **options: Any) -> httpx.Response:
    return front.request("POST", "/workflows", content=body, headers={"Content-Type": kind}, **options)


@pytest.mark.parametrize(
    "kind", ["application/yaml", "text/yaml", "application/x-yaml", "application/yaml; charset=utf-8"]
)
def test_yaml_becomes_a_version_that_is_ready_at_once(front: Api, tenant: TenantKeys, kind: str) -> None:
    answer = send(front.as_key(tenant.member), YAML, kind)

    assert answer.status_code == 201
    body = answer.json()
    assert (body["name"], body["kind"], body["version"], body["created"]) == ("greet", "dag", 1, True)
    assert body["state"] == "ready"
    assert {"workflow_id", "webhooks", "schedules", "warnings"} <= set(body)


def test_the_same_content_is_the_same_version_in_either_form(front: Api, tenant: TenantKeys) -> None:
    as_json = {
        "name": "greet",
        "inputs": {"name": {"type": "string", "default": "world"}},
        "steps": [{"id": "hello", "type": "transform", "config": {"expression": "Hello, {{ input.name }}!"}}],
    }
    caller = front.as_key(tenant.member)
    first = send(caller, YAML)

    again = send(caller, json.dumps(as_json), "application/json")

    assert again.status_code == 200
    assert again.json()["version"] == first.json()["version"]
    assert again.json()["created"] is False


def test_a_draft_is_not_activated(front: Api, tenant: TenantKeys) -> None:
    answer = send(front.as_key(tenant.member), YAML, params={"activate": "false"})

    assert answer.status_code == 201
    assert answer.json()["status"] == "draft"


def test_every_error_is_told_at_once_with_path_line_and_column(front: Api, tenant: TenantKeys) -> None:
    answer = send(front.as_key(tenant.member), WRONG)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "definition_invalid"
    places = {(error["path"], error["line"]) for error in problem["errors"]}
    assert ("steps[0].config.expression", 5) in places
    assert ("steps[1].type", 7) in places
    assert ("steps[1].config.expression", 9) in places
    assert ("steps[2].id", 10) in places
    assert ("steps[2].config.message", 12) in places
    assert all(error["code"] and error["message"] and error["column"] for error in problem["errors"])
    assert tenant.db.value("select count(*) from flowgres.workflows where tenant_id = %s", tenant.tenant_id) == 0


def test_an_error_that_only_the_database_knows_has_its_line_too(front: Api, tenant: TenantKeys) -> None:
    deep = "name: l{n}\nsteps:\n  - id: go\n    type: sub_workflow\n    config: {{workflow: l{m}}}\n"
    caller = front.as_key(tenant.member)
    send(caller, YAML.replace("greet", "l4"))
    for level in (3, 2, 1):
        assert send(caller, deep.format(n=level, m=level + 1)).status_code == 201

    answer = send(caller, deep.format(n=0, m=1))

    assert answer.status_code == 422
    assert [error["line"] > 1 for error in answer.json()["errors"]] == [True]


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("name: [", "yaml_syntax", 2),
        ("name: a\nname: b\n", "duplicate_key", 2),
        ("name: a\nsteps: *x\n", "yaml_alias", 2),
        ("name: &x a\nsteps: *x\n", "yaml_anchor", 1),
        ("- a\n", "definition_not_object", 1),
        ("", "definition_not_object", 1),
        ("name: !!python/object:os.system x\n", "yaml_tag", 1),
    ],
)
def test_yaml_that_cannot_be_read_is_refused_with_its_place(
    front: Api, tenant: TenantKeys, body: str, code: str, line: int
) -> None:
    answer = send(front.as_key(tenant.member), body)

    assert answer.status_code == 422
    assert [(error["code"], error["line"]) for error in answer.json()["errors"]] == [(code, line)]


def test_json_that_cannot_be_read_is_refused_with_its_place(front: Api, tenant: TenantKeys) -> None:
    answer = send(front.as_key(tenant.member), '{"name": "a",\n "steps": [}', "application/json")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["line"] == 2


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/xml"])
def test_another_kind_of_body_is_unsupported(front: Api, tenant: TenantKeys, kind: str) -> None:
    assert send(front.as_key(tenant.member), YAML, kind).status_code == 415


def test_a_definition_of_more_than_a_megabyte_is_too_large(front: Api, tenant: TenantKeys) -> None:
    answer = send(front.as_key(tenant.member), YAML + "#" * (1 << 20))

    assert answer.status_code == 413


def test_viewers_import_nothing(front: Api, tenant: TenantKeys) -> None:
    answer = send(front.as_key(tenant.viewer), YAML)

    assert answer.status_code == 403
    assert answer.json()["code"] == "insufficient_role"


def test_nobody_imports_nothing(front: Api) -> None:
    assert send(front, YAML).status_code == 401


def test_tenants_do_not_see_each_others_workflows(front: Api, tenant: TenantKeys, module_database: Database) -> None:
    send(front.as_key(tenant.member), YAML)
    with module_database.connect() as db:
        other = TenantKeys(db)

        theirs = send(front.as_key(other.member), YAML)

    assert theirs.status_code == 201
    assert theirs.json()["version"] == 1


def test_an_inline_secret_is_stored_encrypted_and_replaced_by_its_name(front: Api, tenant: TenantKeys) -> None:
    answer = send(front.as_key(tenant.admin), json.dumps(DOCUMENTED), "application/json")

    assert answer.status_code == 201
    assert answer.json()["name"] == "order-pipeline"
    (webhook,) = answer.json()["webhooks"]
    assert (webhook["scheme"], webhook["secret_name"]) == ("github", "ORDER_PIPELINE_WEBHOOK_SECRET")
    row = tenant.db.one("select * from flowgres.secrets where tenant_id = %s", tenant.tenant_id)
    assert row["name"] == "ORDER_PIPELINE_WEBHOOK_SECRET"
    sealed = SealedSecret(row["key_id"], bytes(row["nonce"]), bytes(row["ciphertext"]))
    assert SecretKeys(SECRET_KEY).open(sealed, tenant_id=tenant.tenant_id, name=row["name"]) == "my-secret"
    version = tenant.db.one(
        "select source::text as source, definition from flowgres.workflow_versions where tenant_id = %s",
        tenant.tenant_id,
    )
    assert "my-secret" not in version["source"]
    assert version["definition"]["triggers"] == [{"type": "webhook", "secret": "ORDER_PIPELINE_WEBHOOK_SECRET"}]


def test_the_same_document_with_its_secret_is_the_same_version(front: Api, tenant: TenantKeys) -> None:
    caller = front.as_key(tenant.admin)
    send(caller, json.dumps(DOCUMENTED), "application/json")

    again = send(caller, json.dumps({**DOCUMENTED, "webhook_secret": "rotated"}), "application/json")

    assert again.status_code == 200
    assert again.json()["version"] == 1


def test_a_refused_document_leaves_no_secret_behind(front: Api, tenant: TenantKeys) -> None:
    wrong = {**DOCUMENTED, "steps": [*DOCUMENTED["steps"], {"id": "last", "type": "sub_workflow", "config": {}}]}

    answer = send(front.as_key(tenant.admin), json.dumps(wrong), "application/json")

    assert answer.status_code == 422
    assert tenant.db.value("select count(*) from flowgres.secrets where tenant_id = %s", tenant.tenant_id) == 0


def test_who_may_not_store_secrets_may_not_import_one_either(front: Api, tenant: TenantKeys) -> None:
    answer = send(front.as_key(tenant.member), json.dumps(DOCUMENTED), "application/json")

    assert answer.status_code == 403
    problem = answer.json()
    assert problem["code"] == "insufficient_role"
    assert "Import it with an admin's key" in problem["hint"]
    assert "PUT /secrets/ORDER_PIPELINE_WEBHOOK_SECRET" in problem["hint"]
    assert tenant.db.value("select count(*) from flowgres.workflows where tenant_id = %s", tenant.tenant_id) == 0


def test_who_may_not_store_secrets_imports_it_with_a_stored_one_as_the_hint_says(
    front: Api, tenant: TenantKeys
) -> None:
    stored = front.as_key(tenant.admin).request(
        "PUT", "/secrets/ORDER_PIPELINE_WEBHOOK_SECRET", json={"value": "my-secret"}
    )
    assert stored.status_code == 201
    trigger = {"type": "webhook", "secret": "ORDER_PIPELINE_WEBHOOK_SECRET"}
    named = {key: value for key, value in DOCUMENTED.items() if key != "webhook_secret"} | {"triggers": [trigger]}

    answer = send(front.as_key(tenant.member), json.dumps(named), "application/json")

    assert answer.status_code == 201
    again = send(front.as_key(tenant.admin), PRINTED, "application/json")
    assert again.json()["version_id"] == answer.json()["version_id"], "both ways give one version"


def test_the_printed_document_warns_of_the_branches_that_end(front: Api, tenant: TenantKeys) -> None:
    answer = send(front.as_key(tenant.admin), PRINTED, "application/json")

    assert answer.status_code == 201
    warnings = [item for item in answer.json()["warnings"] if item["code"] == "unknown_branch_target"]
    assert [(item["path"], item["line"]) for item in warnings] == [
        ("steps[1].config.true_branch[0]", 4),
        ("steps[1].config.false_branch[0]", 4),
    ]


def test_no_answer_repeats_an_inline_secret(front: Api, tenant: TenantKeys) -> None:
    wrong = {**DOCUMENTED, "webhook_secret": "do-not-repeat-me", "steps": [{"id": "x", "type": "nope"}]}

    assert "do-not-repeat-me" not in send(front.as_key(tenant.admin), json.dumps(wrong), "application/json").text


@pytest.mark.parametrize("case", load_cases("yaml"), ids=str)
def test_yaml_of_the_cases_is_taken_or_refused(front: Api, tenant: TenantKeys, case: Case) -> None:
    answer = send(front.as_key(tenant.admin), case.input["yaml"].encode(errors="surrogatepass"))

    assert answer.status_code in ((200, 201) if "accept" in case.outcomes else (413, 422)), answer.text


@pytest.mark.parametrize("case", [case for case in load_cases("dag") if "edges" in case.input], ids=str)
def test_graphs_of_the_cases_are_taken_or_refused_in_time(front: Api, tenant: TenantKeys, case: Case) -> None:
    edges = [edge.split(">") for edge in case.input["edges"]]
    ids = case.input.get("steps") or sorted({step for edge in edges for step in edge})
    before: dict[str, list[str]] = {}
    for earlier, later in edges:
        before.setdefault(later, []).append(earlier)
    expression = case.input.get("template_in_b")
    steps = [
        {
            "id": step,
            "type": "transform",
            "config": {"expression": expression if expression and step == "b" else "1"},
            "depends_on": before.get(step, []),
        }
        for step in ids
    ]

    answer = send(front.as_key(tenant.admin), json.dumps({"name": "graph", "steps": steps}), "application/json")

    is_taken = "completes" in case.outcomes or "also_ok" in case.input
    assert answer.status_code == (201 if is_taken else 422), answer.text
    assert answer.elapsed.total_seconds() < 5
