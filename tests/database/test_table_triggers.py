"""Changes of tables: written down in the application's transaction, started once, and what nobody can do with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tests.support.database import Database, Db
from tests.support.definitions import Author
from tests.support.races import rivals
from tests.support.tables import Shop, table, watching


@pytest.fixture
def shop(database: Database, db: Db) -> Shop:
    return Shop(Author(database, db))


def test_row_that_is_added_starts_an_execution(shop: Shop) -> None:
    shop.watch(table("insert", input={"id": "$.new.id", "from": "shop"}))
    shop.add([7, 8])
    assert shop.start() == 2
    rows = shop.db.all("select input, trigger_type, trigger from flowgres.executions order by input ->> 'id'")
    assert [row["input"] for row in rows] == [{"id": 7, "from": "shop"}, {"id": 8, "from": "shop"}]
    trigger = rows[0]["trigger"]
    assert (trigger["type"], trigger["table"], trigger["event"]) == ("table", "shop.orders", "insert")
    assert trigger["payload"]["new"]["customer"] == "c7"
    assert shop.start() == 0
    assert shop.db.value("select count(*) from flowgres.table_changes") == 0


def test_rollback_leaves_nothing(shop: Shop) -> None:
    shop.watch(table())
    with shop.db.connection.transaction(force_rollback=True):
        shop.add([1])
        assert shop.db.value("select count(*) from flowgres.table_changes") == 1
    assert shop.db.value("select count(*) from flowgres.table_changes") == 0
    assert shop.start() == 0


def test_update_tells_rows_before_and_after_and_what_changed(shop: Shop) -> None:
    shop.watch(table("update"))
    shop.add(range(1, 2501))
    # Keys too, so that no key could pair them.
    shop.db.run("update shop.orders set id = id + 10000, status = case when id % 2 = 0 then 'paid' else status end")
    assert shop.db.column("select row_count from flowgres.table_changes order by id") == [1000, 1000, 500]
    assert shop.start() == 2500
    for payload in shop.payloads():
        assert payload["new"]["id"] == payload["old"]["id"] + 10000
        assert payload["changed"] == (["id", "status"] if payload["old"]["id"] % 2 == 0 else ["id"])


def test_filter_and_kinds_of_changes_decide(shop: Shop) -> None:
    shop.watch(table("update", "delete", when='$.changed[*] == "status" || $.event == "delete"'))
    shop.add([1, 2])
    shop.db.run("update shop.orders set total = 0")
    shop.db.run("update shop.orders set status = 'paid' where id = 2")
    shop.db.run("delete from shop.orders where id = 1")
    shop.db.run("delete from shop.orders where id = 99")
    assert shop.start() == 2
    deleted, updated = sorted(shop.payloads(), key=lambda payload: payload["event"])
    assert (deleted["event"], deleted["old"]["id"], "new" in deleted) == ("delete", 1, False)
    assert (updated["event"], updated["new"]["id"], updated["changed"]) == ("update", 2, ["status"])


def test_row_that_does_not_fit_is_told_to_the_author_and_not_to_the_application(shop: Shop) -> None:
    number = {"id": {"type": "integer", "required": True, "maximum": 2}}
    shop.watch(table(input={"id": "$.new.id"}), inputs=number)
    shop.add([1, 2, 3, 4])
    assert shop.start() == 2
    assert (shop.error()["code"], shop.error()["count"]) == ("input_invalid", 2)


def test_row_that_no_jsonb_can_hold_is_refused_alone(shop: Shop) -> None:
    shop.db.run("create table shop.notes (id integer, note json)")
    shop.watch(table(name="shop.notes"))
    shop.db.run(r"""insert into shop.notes values (1, '{"a": "\u0000"}'), (2, '{"a": 1}')""")
    assert shop.start() == 1
    assert shop.error()["code"] == "22P05"


def test_writers_of_one_row_are_paired_whatever_the_statement(shop: Shop) -> None:
    shop.watch(table("insert", "update"))
    shop.add([1, 2])
    shop.start()
    shop.db.run(
        "insert into shop.orders (id, customer) values (2, 'x'), (3, 'y'), (1, 'z')"
        " on conflict (id) do update set customer = excluded.customer"
    )
    assert shop.start() == 3
    updates = [payload for payload in shop.payloads() if payload["event"] == "update"]
    assert sorted((one["old"]["id"], one["new"]["id"], one["new"]["customer"]) for one in updates) == [
        (1, 1, "z"), (2, 2, "x"),
    ]  # fmt: skip


def test_rows_that_change_their_partition_stay_paired(shop: Shop) -> None:
    shop.db.run(
        "create table shop.parts (id integer, region text) partition by list (region);"
        "create table shop.east partition of shop.parts for values in ('east');"
        "create table shop.west partition of shop.parts for values in ('west')"
    )
    shop.watch(table("update", name="shop.parts"))
    shop.db.run(
        "insert into shop.parts"
        " select i, case when i % 2 = 0 then 'east' else 'west' end from generate_series(1, 9) as i"
    )
    shop.db.run("update shop.parts set region = 'east', id = id + 100")
    assert shop.start() == 9
    assert all(payload["new"]["id"] == payload["old"]["id"] + 100 for payload in shop.payloads())


def test_change_is_started_once_by_two_runners(shop: Shop) -> None:
    shop.watch(table())
    shop.add([1])
    with shop.author.connect() as one, shop.author.connect() as other:
        one.run("begin")
        assert shop.start(db=one) == 1
        assert shop.start(db=other) == 0
        one.run("commit")
        assert shop.start(db=other) == 0
    assert len(shop.payloads()) == 1


def test_runner_that_dies_in_between_has_started_nothing(shop: Shop) -> None:
    shop.watch(table())
    shop.add([1])
    with shop.author.connect() as one:
        one.run("begin")
        assert shop.start(db=one) == 1
        one.run("rollback")
    assert shop.start() == 1


def test_application_waits_for_nobody_who_starts_or_activates(shop: Shop) -> None:
    shop.watch(table())
    shop.add([1])
    with shop.author.connect() as one, shop.author.connect() as other, rivals(shop.db) as run:
        one.run("begin")
        shop.start(db=one)
        one.call("flowgres.deactivate_workflow", p_workflow="w")
        writing = run(other, lambda: shop.add([2], db=other))
        assert not writing.run_until_blocked()
        one.run("rollback")


def test_nothing_is_written_when_no_active_workflow_asks(shop: Shop) -> None:
    shop.watch(table())
    shop.db.call("flowgres.deactivate_workflow", p_workflow="w")
    shop.add([1])
    assert shop.db.value("select count(*) from flowgres.table_changes") == 0


def test_failing_change_waits_longer_each_time_and_keeps_nobody_waiting(shop: Shop) -> None:
    shop.watch(table())
    shop.add([1])
    shop.db.run("create function public.refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$")
    shop.db.run(
        "create trigger refuse before insert on flowgres.work_queue for each row execute function public.refuse()"
    )
    assert shop.start() == 0
    assert shop.db.one("select attempts, due_at > flowgres.now() as waits from flowgres.table_changes") == {
        "attempts": 1, "waits": True,
    }  # fmt: skip
    shop.db.run("drop trigger refuse on flowgres.work_queue")
    shop.db.run("update flowgres.table_changes set due_at = flowgres.now()")
    assert shop.start() == 1


def test_what_executions_write_starts_others_only_so_often(shop: Shop) -> None:
    shop.watch(table())
    number, origin = 0, None
    while number < 20:
        with shop.db.connection.transaction():
            shop.db.run("select set_config('flowgres.origin', %s, true)", origin or "")
            shop.add([number])
        if shop.start() == 0:
            break
        number += 1
        origin = str(shop.db.value("select id from flowgres.executions order by id desc limit 1"))
    assert number == 9
    assert shop.error()["code"] == "event_loop"


def test_list_tells_what_is_missing_unused_renamed_and_disabled(shop: Shop) -> None:
    shop.author.import_(watching(table("insert", "update"), table(name="shop.gone"), name="one"))

    def states() -> dict[tuple[str, str], str]:
        return {(row["table"], row["event"]): row["status"] for row in shop.listed()}

    orders = [("shop.orders", "insert"), ("shop.orders", "update")]
    assert states() == {("shop.gone", "insert"): "no_table", **dict.fromkeys(orders, "missing")}
    assert len(shop.install()) == 2
    assert states() == {("shop.gone", "insert"): "no_table", **dict.fromkeys(orders, "installed")}
    assert shop.install() == []
    shop.db.call("flowgres.deactivate_workflow", p_workflow="one")
    assert states()[orders[0]] == "inactive"
    shop.db.call("flowgres.activate_workflow", p_workflow="one")
    shop.db.run("alter table shop.orders disable trigger user")
    assert states()[orders[0]] == "disabled"
    shop.db.run("alter table shop.orders enable trigger user")
    shop.db.run("alter table shop.orders rename to sales")
    assert states()[orders[0]] == "renamed"
    # The name in the definition goes on to mean it.
    shop.db.run("insert into shop.sales (id, customer) values (1, 'x')")
    assert shop.start() == 1
    shop.db.call("flowgres.archive_workflow", p_workflow="one")
    assert states() == dict.fromkeys(orders, "unused")
    for row in shop.listed():
        shop.db.run(row["remove"])
    assert states() == {}


def test_trigger_of_one_tenant_starts_nothing_of_another(shop: Shop, database: Database) -> None:
    other = Author(database, shop.db)
    other.import_(watching(table()))
    shop.author.use()
    shop.watch(table(when="$.new.id == 1"))
    shop.db.run(f"drop trigger flowgres_insert_{other.tenant_id.hex} on shop.orders")
    shop.add([1, 2])
    assert shop.start() == 1
    assert shop.db.column("select distinct tenant_id from flowgres.executions") == [shop.author.tenant_id]


def test_login_of_an_application_starts_by_writing_and_can_do_nothing_else(shop: Shop, database: Database) -> None:
    shop.watch(table())
    with stranger(database, shop.db) as app:
        shop.add([1], db=app)
        for attempt in (
            "select flowgres.start_changes(1)",
            "select flowgres.list_table_triggers()",
            "select * from flowgres.table_changes",
            "create table shop.t (id integer);"
            " create trigger t after insert on shop.t referencing new table as flowgres_new"
            f" for each statement execute function flowgres.capture_changes('{shop.author.tenant_id}', 'shop.orders')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.run(attempt)
    assert shop.start() == 1


def test_no_temporary_object_stands_before_the_engines(shop: Shop, database: Database) -> None:
    shop.watch(table())
    with stranger(database, shop.db) as app:
        app.run("create temp table flowgres_new (id integer)")
        app.run("create temp table subscriptions (id integer)")
        app.run("create function pg_temp.json_agg(anyelement) returns json language sql as $$ select '[]'::json $$")
        app.run("set search_path to pg_temp, public")
        shop.add([5], db=app)
    assert shop.start() == 1
    assert shop.payloads()[0]["new"]["id"] == 5


def test_types_of_the_application_run_nothing_with_the_rights_of_the_engine(shop: Shop, database: Database) -> None:
    shop.db.run("create type shop.mood as enum ('good', 'bad'); create domain shop.cents as integer")
    shop.db.run("create table public.seen (who text); grant insert on public.seen to public")
    shop.db.run(
        "create function shop.spy(shop.mood) returns json language sql as"
        " $$ insert into public.seen select current_user; select '1'::json $$;"
        "create cast (shop.mood as json) with function shop.spy(shop.mood)"
    )
    shop.db.run("create table shop.moods (id integer, mood shop.mood, price shop.cents, many shop.mood[])")
    shop.watch(table("insert", "update", name="shop.moods"))
    shop.db.run("insert into shop.moods values (1, 'good', 5, '{bad}'), (2, null, null, null)")
    shop.db.run("update shop.moods set mood = 'bad' where id = 1")
    assert shop.start() == 3
    new = {payload["event"]: payload for payload in shop.payloads() if payload["new"]["id"] == 1}
    assert new["insert"]["new"] == {"id": 1, "mood": "good", "price": 5, "many": "{bad}"}
    assert new["update"]["changed"] == ["mood"]
    assert shop.db.column("select who from public.seen") == []


@contextmanager
def stranger(database: Database, db: Db) -> Iterator[Db]:
    """A connection of a login that may write into the shop and knows nothing of flowgres."""
    name = f"app_{database.name}"
    db.run(f"create role {name} login password 'secret'")
    try:
        db.run(f"grant usage, create on schema shop to {name}; grant all on all tables in schema shop to {name}")
        dsn = make_conninfo(database.dsn(), user=name, password="secret")
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
            yield Db(connection)
    finally:
        db.run(f"drop owned by {name}; drop role {name}")
