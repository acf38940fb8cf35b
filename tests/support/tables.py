"""A table of an application, with the triggers that an operator installs on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.support.database import Db, Row
from tests.support.definitions import Author, Definition, log_step, workflow

SHOP = """
create schema shop;
create table shop.orders (
  id bigint primary key, customer text not null, status text not null default 'new', total numeric,
  created_at timestamptz not null default now());
create index on shop.orders (customer);
create index on shop.orders (status, created_at);
"""


def table(*events: str, name: str = "shop.orders", **members: Any) -> Definition:
    """A trigger of type table, of inserts unless told."""
    return {"type": "table", "table": name, "events": list(events or ("insert",)), **members}


def watching(*triggers: Definition, name: str = "w", **members: Any) -> Definition:
    """A workflow with these triggers and a step that logs."""
    return workflow(log_step("a"), name=name, triggers=list(triggers), **members)


class Shop:
    """A shop whose orders start a tenant's workflows."""

    def __init__(self, author: Author) -> None:
        self.author, self.db = author, author.db
        self.db.run(SHOP)

    def watch(self, *triggers: Definition, **members: Any) -> None:
        """Import a workflow with these triggers, and install what they need."""
        self.author.import_(watching(*triggers, **members))
        self.install()

    def install(self) -> list[str]:
        """Run what is missing, as an operator; returns the statements."""
        statements = [row["install"] for row in self.listed() if row["install"]]
        for statement in statements:
            self.db.run(statement)
        return statements

    def listed(self) -> list[Row]:
        """The triggers that there are, and that there should be."""
        found: list[Row] = self.db.value("select flowgres.list_table_triggers()")
        return found

    def add(self, ids: Iterable[int], db: Db | None = None, **columns: Any) -> None:
        """Insert orders in one statement."""
        (db or self.db).run(
            "insert into shop.orders (id, customer, status, total)"
            " select i, 'c' || i, %(status)s, i from unnest(%(ids)s::bigint[]) as i",
            ids="{" + ",".join(map(str, ids)) + "}",
            status=columns.get("status", "new"),
        )

    def start(self, limit: int = 100, db: Db | None = None) -> int:
        """Start what the changes start, as a runner does; returns how many executions."""
        row = (db or self.db).one("select * from flowgres.start_changes(%s)", limit)
        return int(row["p_started"])

    def payloads(self) -> list[Any]:
        """What the executions have been told."""
        return self.db.column(
            "select e.trigger -> 'payload' from flowgres.executions as e where e.tenant_id = %s order by e.id",
            self.author.tenant_id,
        )

    def error(self) -> Any:
        """Why something was refused."""
        return self.db.value("select last_error from flowgres.subscriptions where kind = 'table'")
