"""Which functions sql steps may call: what operators allow, what tenants see of it, and what an import says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag
from tests.support.functions import calling, make_shop
from tests.support.races import refusal_code

MORE = (
    "shop.taken(a integer) returns integer language sql return a",
    "shop.taken(a integer, b text) returns integer language sql return a",
    "shop.unnamed(integer) returns integer language sql return $1",
    "shop.any_kind(a anyelement) returns integer language sql as 'select 1'",
    "shop.some(variadic a integer[]) returns integer language sql return 1",
    "shop.rows(a integer) returns setof record language sql as 'select 1'",
)


@pytest.fixture
def operator(database: Database, db: Db) -> Iterator[Db]:
    make_shop(db, *MORE, allow=False)
    db.run("create procedure shop.proceed(a integer) language sql as 'select 1'")
    with database.connect("operator") as operator:
        yield operator


def allow(operator: Db, signature: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = operator.call("flowgres_api.allow_function", signature=signature, **more)
    return answer


def errors(db: Db, tenant: Tenant, *steps: dict[str, Any]) -> list[tuple[str, str, str]]:
    answer = db.call("flowgres.check_written", p_tenant_id=tenant.tenant_id, p_definition=dag("sells", list(steps)))
    return [(error["path"], error["code"], error.get("hint", "")) for error in answer["errors"]]


@pytest.mark.parametrize("written", ["shop.reserve", "shop.reserve(text,int)", 'shop."reserve" ( text , integer )'])
def test_a_function_is_allowed_however_it_is_written(operator: Db, written: str) -> None:
    assert allow(operator, written) == {"signature": "shop.reserve(text, integer)", "tenant": None, "created": True}
    assert not allow(operator, written)["created"], "twice is once"
    assert operator.call("flowgres_api.disallow_function", signature="shop.reserve(text,integer)")["signature"]


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        ("reserve", "argument_invalid"),
        ("shop.missing", "function_not_found"),
        ("shop.taken", "function_not_found"),
        ("shop.reserve(text)", "function_not_found"),
        ("shop.unnamed", "function_not_callable"),
        ("shop.any_kind", "function_not_callable"),
        ("shop.some", "function_not_callable"),
        ("shop.rows", "function_not_callable"),
        ("shop.proceed", "function_not_callable"),
        ("pg_catalog.pg_sleep", "function_not_callable"),
        ("flowgres.use_tenant", "function_not_callable"),
    ],
)
def test_what_could_not_be_called_is_not_allowed(operator: Db, signature: str, code: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        allow(operator, signature)
    assert refusal_code(refused.value) == code


def test_who_may_not_execute_it_is_told_what_to_grant(db: Db, operator: Db) -> None:
    db.run(
        "revoke execute on function shop.reserve from public, flowgres_sql;"
        " revoke usage on schema shop from flowgres_sql"
    )
    with pytest.raises(psycopg.Error) as refused:
        allow(operator, "shop.reserve")
    assert refused.value.diag.message_hint == (
        "grant usage on schema shop to flowgres_sql;"
        " grant execute on function shop.reserve(text, integer) to flowgres_sql;"
    )


def test_a_tenant_sees_what_it_may_call_and_nobody_elses(database: Database, tenant: Tenant, operator: Db) -> None:
    other = database.make_tenant("Other")
    allow(operator, "shop.reserve")
    allow(operator, "shop.taken(integer)", tenant=tenant.slug)
    allow(operator, "shop.taken(integer, text)", tenant=other.slug)
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as viewer:
        rows = viewer.all(
            "select signature, arguments, result_type, for_all from flowgres_api.sql_functions order by signature"
        )
    assert [(row["signature"], row["for_all"]) for row in rows] == [
        ("shop.reserve(text, integer)", True),
        ("shop.taken(integer)", False),
    ]
    assert rows[0]["arguments"] == [
        {"name": "step", "type": "text", "required": True},
        {"name": "quantity", "type": "integer", "required": False},
    ]
    assert operator.value("select count(*) from flowgres_api.sql_functions") == 3
    with (
        database.as_role("admin", tenant_id=tenant.tenant_id) as admin,
        pytest.raises(psycopg.Error, match="permission denied"),
    ):
        admin.call("flowgres_api.allow_function", signature="shop.reserve")


def test_an_import_says_what_is_wrong_with_a_call(db: Db, tenant: Tenant, operator: Db) -> None:
    allow(operator, "shop.reserve")
    allow(operator, "shop.taken(integer, text)", tenant=tenant.slug)
    found = errors(
        db, tenant,
        calling("shop.reserve", step="good", args={"step": "a"}),
        calling("shop.reserve", step="later", args="{{ input.args }}"),
        calling("shop.resrve", step="typo"),
        calling("shop.reserve", step="unknown", args={"step": "a", "quantty": 1}),
        calling("shop.taken", step="lacking", args={"a": 1}),
        calling("{{ input.f }}", step="dynamic"),
    )  # fmt: skip
    assert found == [
        (
            "steps[5].config.function",
            "invalid_name",
            "Schema and name, such as shop.reserve, of a function that an operator has allowed.",
        ),
        ("steps[2].config.function", "function_not_allowed", 'Did you mean "shop.reserve"?'),
        ("steps[3].config.args.quantty", "unknown_argument", 'Did you mean "quantity"?'),
        ("steps[4].config.args", "missing_argument", "Name it in args."),
    ]
    other_tenants = errors(
        db, Tenant("00000000-0000-0000-0000-0000000000aa", "x", "x"), calling("shop.taken", args={"a": 1, "b": "x"})
    )
    assert other_tenants[0][:2] == ("steps[0].config.function", "function_not_allowed")


def test_overloads_are_told_apart_by_the_arguments_that_are_named(db: Db, tenant: Tenant, operator: Db) -> None:
    db.run("create function shop.taken(a text) returns integer language sql return 1")
    db.run("grant execute on all functions in schema shop to flowgres_sql")
    for types in ("integer", "integer, text", "text"):
        allow(operator, f"shop.taken({types})")
    assert errors(db, tenant, calling("shop.taken", args={"a": 1, "b": "x"})) == []
    assert errors(db, tenant, calling("shop.taken", args={"a": 1}))[0][:2] == (
        "steps[0].config.args",
        "function_ambiguous",
    )
