"""Types of packages: what is known of them, who serves them, and what they say of secrets and retries."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.support.database import Db, Tenant

Json = Any


def register(db: Db, *types: Json) -> str:
    runner_id = str(uuid.uuid4())
    info = {"name": "r", "version": "0", "protocol": 2, "environment": "development", "step_types": list(types)}
    db.call("flowgres.register_runner", p_runner_id=runner_id, p_info=info)
    return runner_id


FAX = {"type": "fax", "config_schema": {"type": "object"}, "secret_places": ["token"], "core": False}


@pytest.mark.parametrize(("key", "codes"), [("token", []), ("text", ["secret_misuse"])])
def test_secrets_may_be_named_where_the_type_says_so(db: Db, tenant: Tenant, key: str, codes: list[str]) -> None:
    register(db, FAX)
    step = {"id": "a", "type": "fax", "config": {key: "{{ secrets.KEY }}"}}
    checked = db.value(
        "select flowgres.check_definition(p_tenant_id => %s, p_definition => %s::jsonb)",
        tenant.tenant_id,
        _json({"name": "w", "steps": [step]}),
    )
    assert [error["code"] for error in checked["errors"]] == codes


def test_type_is_what_the_last_runner_said_of_it(db: Db) -> None:
    register(db, FAX)
    register(db, {**FAX, "config_schema": {}, "secret_places": []})
    assert db.value("select flowgres.custom_step_types()") == {"fax": {"config_schema": {}, "secret_places": []}}


def test_reason_names_what_is_missing(db: Db) -> None:
    def reason(kind: str) -> Any:
        return db.value("select flowgres.unserved_reason(%s)", kind)

    assert reason("fax") == reason("http") == "no runner is alive"
    register(db)
    assert reason("http") is None
    assert reason("fax") == 'no live runner serves the step type "fax"'
    register(db, FAX)
    assert reason("fax") is None


@pytest.mark.parametrize(
    ("error", "again"),
    [
        ({"class": "timeout"}, True),
        ({"class": "timeout", "retryable": False}, False),
        ({"class": "step_error"}, False),
        ({"class": "step_error", "retryable": True}, True),
        ({"class": "validation", "retryable": True}, False),
        ({"class": "timeout", "retryable": "yes"}, True),
    ],
)
def test_types_own_word_comes_before_the_list_of_classes(db: Db, error: Json, again: bool) -> None:
    query = "select flowgres.may_retry(%s::jsonb, '{timeout,connect}', 1::smallint, 2::smallint)"
    assert db.value(query, _json(error)) is again
    last = "select flowgres.may_retry(%s::jsonb, '{timeout,connect}', 2::smallint, 2::smallint)"
    assert db.value(last, _json(error)) is False


def _json(value: Json) -> str:
    return json.dumps(value)
