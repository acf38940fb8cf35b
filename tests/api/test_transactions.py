"""The page on starts inside of an application's transaction, run as it is written, against the real servers."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from flowgres_cli.stack.postgrest import start_postgrest
from tests.support.api import Api
from tests.support.database import Database, Db, Tenant
from tests.support.server import JWT_SECRET

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "database" / "TRANSACTIONS.md").read_text()
BOTH = "select (select count(*) from shop.orders) as orders, (select count(*) from flowgres.executions) as executions"
HELLO = {
    "name": "hello",
    "inputs": {"name": {"type": "string"}},
    "steps": [{"id": "a", "type": "log", "config": {"message": "x"}}],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


SCHEMA, TRIGGER, FORGIVING, FUNCTION, TRACED = blocks("sql")
(PSYCOPG,) = blocks("python")
(ROLES,) = blocks("postgresql")


class Shop:
    """The application of the page; its roles have names of their own, as roles belong to the whole server."""

    def __init__(self, database: Database, db: Db, tenant: Tenant) -> None:
        self.database, self.db, self.tenant = database, db, tenant
        self.suffix = secrets.token_hex(4)
        self.made: list[str] = []

    def named(self, text: str) -> str:
        return re.sub(r"\bshop_(app|rest|web)\b", rf"shop_\1_{self.suffix}", text)

    def map(self, role: str) -> None:
        login = self.named(role)
        self.db.call("flowgres_api.add_tenant_login", login=login, tenant=self.tenant.slug)

    def run(self, text: str) -> None:
        self.db.run(self.named(text))

    @contextmanager
    def connect(self) -> Iterator[Db]:
        dsn = make_conninfo(self.database.dsn(), user=self.named("shop_app"), password="secret")
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
            yield Db(connection)

    def both(self) -> tuple[int, int]:
        row = self.db.one(BOTH)
        return row["orders"], row["executions"]


@pytest.fixture
def shop(database: Database, db: Db, tenant: Tenant) -> Iterator[Shop]:
    shop = Shop(database, db, tenant)
    with database.as_role("admin", tenant_id=tenant.tenant_id) as admin:
        admin.call("flowgres_api.import_workflow", definition=HELLO)
    try:
        shop.run("create role shop_app login password 'secret'; grant flowgres_member to shop_app")
        shop.map("shop_app")
        shop.run(SCHEMA)
        yield shop
    finally:
        for role in ("shop_app", "shop_web", "shop_rest"):
            name = shop.named(role)
            if db.value("select to_regrole(%s) is not null", name):
                db.run(f"drop owned by {name} cascade; drop role {name}")


def test_psycopg_starts_with_the_commit_and_a_rollback_leaves_nothing(shop: Shop) -> None:
    page: dict[str, Any] = {}
    exec(PSYCOPG, page)  # noqa: S102 - it is ours
    place_order = page["place_order"]
    with shop.connect() as app:
        app.connection.row_factory = psycopg.rows.tuple_row  # type: ignore[assignment]
        with app.connection.transaction(force_rollback=True):
            place_order(app.connection, 7, "Ann")
        assert shop.both() == (0, 0)
        first = place_order(app.connection, 7, "Ann")
        assert shop.both() == (1, 1)
        with pytest.raises(psycopg.errors.UniqueViolation):
            place_order(app.connection, 7, "Ann")
        with pytest.raises(psycopg.Error) as refused:
            place_order(app.connection, 8, "x" * 2_000_000)
        assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FG413", "payload_too_large")
        assert shop.both() == (1, 1)
    row = shop.db.one("select id::text, created_by, tenant_id::text, input from flowgres.executions")
    assert row == {
        "id": first, "created_by": shop.named("login:shop_app"), "tenant_id": str(shop.tenant.tenant_id),
        "input": {"name": "Ann"},
    }  # fmt: skip


def test_execution_goes_on_with_the_trace_of_its_transaction_alone(shop: Shop) -> None:
    trigger = "select trigger from flowgres.executions where idempotency_key is not distinct from %s"
    with shop.connect() as app:
        app.run(TRACED)
        app.run("""select flowgres_api.start_execution('hello', '{"name": "Ann"}')""")
    (given,) = re.findall(r"'(00-[^']+)'", TRACED)
    assert shop.db.value(trigger, "traced-1") == {"type": "api", "traceparent": given}
    assert shop.db.value(trigger, None) is None


def test_nobody_is_told_before_the_commit(shop: Shop) -> None:
    start = """select flowgres_api.start_execution('hello', '{"name": "Ann"}')"""
    with shop.connect() as app, shop.database.connect() as listener:
        listener.run("listen flowgres_work")
        for ending, heard in (("rollback", 0), ("commit", 1)):
            app.run("begin")
            app.run(start)
            assert list(listener.connection.notifies(timeout=0.2)) == []
            assert shop.both() == (0, 0)
            app.run(ending)
            assert len(list(listener.connection.notifies(timeout=0.5, stop_after=1))) == heard
    assert shop.both() == (0, 1)


def test_connection_that_is_lost_has_started_nothing(shop: Shop) -> None:
    with shop.connect() as app:
        app.run("begin")
        app.run("""select flowgres_api.start_execution('hello', '{"name": "Ann"}')""")
        shop.db.run("select pg_terminate_backend(%s, 10000)", app.connection.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            app.run("commit")
    assert shop.both() == (0, 0)


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_strict_transactions_start_too(shop: Shop, level: str) -> None:
    with shop.connect() as app:
        app.run(f"begin isolation level {level}")
        app.run("""select flowgres_api.start_execution('hello', '{"name": "Ann"}', idempotency_key => 'a')""")
        app.run("""select flowgres_api.emit_event('order.paid', '{}', 'a')""")
        app.run("commit")
    assert shop.both() == (0, 1)


def test_trigger_of_ones_own_starts_in_the_statement(shop: Shop) -> None:
    shop.run(TRIGGER)
    insert = "insert into shop.orders (id, customer) select i, 'Ann' from generate_series(%s::int, %s::int) as i"
    with shop.connect() as app:
        with app.connection.transaction(force_rollback=True):
            app.run(insert, 1, 2)
        assert shop.both() == (0, 0)
        app.run(insert, 1, 2)
        assert shop.both() == (2, 2)
        shop.db.run("update flowgres.workflows set status = 'inactive'")
        with pytest.raises(psycopg.Error) as refused:
            app.run(insert, 3, 3)
        assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FG409", "workflow_not_active")
        assert shop.both() == (2, 2)
        shop.run(FORGIVING)
        app.run(insert, 3, 3)
    assert shop.both() == (3, 2)


def test_function_behind_another_postgrest_starts_in_its_request(shop: Shop, tmp_path: Path) -> None:
    shop.run(ROLES.replace("PASSWORD", "secret"))
    shop.map("shop_rest")
    shop.run(FUNCTION)
    uri = make_conninfo(shop.database.dsn(), user=shop.named("shop_rest"), password="secret")
    options = {"db-schemas": "shop", "db-anon-role": shop.named("shop_web"), "db-pre-request": ""}
    server = start_postgrest(db_uri=uri, jwt_secret=JWT_SECRET, directory=tmp_path, options=options, pool_size=2)
    try:
        web = Api(server.url)
        placed = web.rpc("place_order", id=1, customer="Ann")
        assert (placed.status_code, placed.json()["created"]) == (201, True), placed.text
        assert shop.both() == (1, 1)
        # The order is there twice, or the start is refused: neither is kept.
        assert web.rpc("place_order", id=1, customer="Bob").status_code == 409
        shop.db.run("update flowgres.workflows set status = 'inactive'")
        refused = web.rpc("place_order", id=2, customer="Ann")
        assert (refused.status_code, refused.json()["code"]) == (409, "workflow_not_active")
        assert shop.both() == (1, 1)
    finally:
        server.stop()
