"""Functions of users for sql steps: a shop whose table counts what was done, and what operators allow."""

from __future__ import annotations

from typing import Any

from flowgres_runner.database.calls import SqlCalls
from flowgres_runner.steps.sql import SqlStep
from tests.support.database import Database, Db

SHOP = """
create schema shop;
grant usage on schema shop to flowgres_sql;
create table shop.effects (step text not null, tenant_id uuid, at timestamptz not null default clock_timestamp());
create function shop.reserve(step text, quantity integer default 1) returns jsonb
  language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  insert into shop.effects (step, tenant_id) values (step, flowgres.tenant_id());
  return jsonb_build_object('step', step, 'quantity', quantity);
end;
$$;
"""


def make_shop(db: Db, *more: str, allow: bool = True) -> None:
    """The shop, and functions beside: `shop.NAME(...) returns ... language ...` each; all of them allowed for all."""
    db.run(SHOP)
    for function in more:
        db.run(f"create function {function}")
    db.run("grant execute on all functions in schema shop to flowgres_sql")
    if allow:
        rows = db.all("select oid::regprocedure::text as f from pg_proc where pronamespace = 'shop'::regnamespace")
        for row in rows:
            db.call("flowgres_api.allow_function", signature=row["f"])


def effects(db: Db) -> list[str]:
    """The steps that have done something, once for each time."""
    return db.column("select step from shop.effects order by at")


def sql_environment(database: Database) -> dict[str, str]:
    """What makes a runner serve sql steps."""
    return {"DATABASE_SQL_URL": database.url("sql")}


def calling(function: str, *, step: str = "call", **members: Any) -> dict[str, Any]:
    """An sql step; `args` are those of the function."""
    return {"id": step, "type": "sql", "config": {"function": function, "args": members.pop("args", {})}, **members}


def unused_sql_step() -> SqlStep:
    """The handler, of a runner that calls nothing."""
    return SqlStep(SqlCalls("", runner_id=lambda: "", connections=1))
