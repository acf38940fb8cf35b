"""Events and triggers on tables at the command line, and the page for authors, run as it is written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from flowgres_definitions.validation import validate_document
from tests.support.database import Database, Db
from tests.support.tables import SHOP

from .conftest import Flowgres
from .texts import GREET

PAGE = (Path(__file__).parents[2] / "runner" / "flowgres_definitions" / "EVENTS.md").read_text()
EVENT = "triggers: [{type: event, name: greeted, when: '$.n > 1', input: {name: $.who}}]\n"
TABLE = "triggers: [{type: table, table: shop.orders, events: [insert, delete]}]\n"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_event_starts_once_and_is_listed(live: Flowgres, write: Callable[..., Path]) -> None:
    assert live("import", str(write("hears.yaml", EVENT + GREET.replace("name: greet", "name: hears")))).code == 0
    (row,) = live("events", "list", "--workflow", "hears").json
    assert (row["kind"], row["name"], row["status"]) == ("event", "greeted", "active")
    assert "greeted" in live("events", "list", "--name", "greeted", "-o", "table").out
    first = live("events", "emit", "greeted", "-d", '{"n": 2, "who": "Ann"}', "--key", "a")
    assert (first.code, first.json["started"]) == (0, 1)
    again = live("events", "emit", "greeted", "--key", "a").json
    assert (again["started"], again["executions"]) == (0, first.json["executions"])
    (execution,) = first.json["executions"]
    assert live("executions", "watch", execution).code == 0
    assert live("events", "emit", "greeted", "-d", '{"n": 1}').json["started"] == 0
    assert live("events", "emit", "nobody.hears", "-o", "id").out == ""


def test_mistakes_at_an_event_have_their_exit_codes(live: Flowgres, write: Callable[..., Path]) -> None:
    assert live("events", "emit", "no name").code == 2
    assert live("events", "emit", "a", "-d", "[1]").code == 2
    strict = EVENT.replace("greeted", "strict").replace("$.who", "$.n")
    live("import", str(write("strict.yaml", strict + GREET.replace("name: greet", "name: strict"))))
    refused = live("events", "emit", "strict", "-d", '{"n": 5}')
    assert (refused.code, refused.json["refused"]) == (0, 1)
    assert "flowgres events list --name strict" in refused.err
    (row,) = live("events", "list", "--name", "strict").json
    assert row["last_error"]["code"] == "input_invalid"


def test_triggers_are_shown_installed_and_removed(
    live: Flowgres, write: Callable[..., Path], module_database: Database
) -> None:
    dsn = ("--dsn", module_database.dsn())
    with module_database.connect() as db:
        db.run("drop schema if exists shop cascade")
        db.run(SHOP)
    live("import", str(write("packs.yaml", TABLE + GREET.replace("name: greet", "name: packs"))))
    statuses = {row["event"]: row["status"] for row in live("triggers", "list", "shop.orders", *dsn).json}
    assert statuses == {"insert": "missing", "delete": "missing"}
    shown = live("triggers", "install", *dsn)
    assert (shown.code, shown.out.count("create or replace trigger"), "--yes" in shown.err) == (0, 2, True)
    assert "missing" in live("triggers", "list", *dsn, "-o", "table").out
    done = live("triggers", "install", "shop.orders", "--yes", *dsn)
    assert (done.code, done.out) == (0, shown.out)
    assert "2 triggers installed" in done.err
    assert "Nothing to install" in live("triggers", "install", "--yes", *dsn).err
    assert "Nothing to remove" in live("triggers", "remove", "--yes", *dsn).err
    live("workflows", "deactivate", "packs")
    assert {row["status"] for row in live("triggers", "list", *dsn).json} == {"inactive"}
    assert live("triggers", "remove", "shop.orders", *dsn).out.count("drop trigger") == 2
    removed = live("triggers", "remove", "shop.orders", "--yes", *dsn)
    assert "2 triggers removed" in removed.err
    with module_database.connect() as db:
        assert db.value("select count(*) from pg_trigger where tgrelid = 'shop.orders'::regclass") == 0


@pytest.fixture
def shop(module_database: Database) -> Iterator[Db]:
    """A database with a shop, and no workflow that asks for its tables but those of the test."""
    with module_database.connect() as db:
        db.run("drop schema if exists shop cascade")
        db.run("update flowgres.workflows set status = 'archived'")
        db.run("delete from flowgres.subscriptions")
        db.run(SHOP)
        yield db
        db.run("delete from flowgres.subscriptions")


def test_doctor_and_status_tell_of_triggers_on_tables(
    live: Flowgres, write: Callable[..., Path], module_database: Database, shop: Db
) -> None:
    dsn = module_database.dsn()
    (tenant,) = (row["slug"] for row in live("tenants", "list", "--dsn", dsn).json)

    def found() -> list[tuple[str, str, str]]:
        answer = live("doctor", DATABASE_URL=dsn)
        rows = [row for row in answer.json if row["check"] == "table triggers"]
        assert answer.code == any(row["result"] == "problem" for row in rows), answer.json
        status = live("db", "status", "--dsn", dsn)
        assert status.code == 0
        assert sorted(status.json["table_triggers"]) == sorted(row["detail"] for row in rows)
        helped = [row for row in rows if row["fix"]]
        assert all(f"{row['detail']}: {row['fix'].removeprefix('Run: ')}" in status.err for row in helped)
        return [(row["result"], row["detail"], row["fix"].removeprefix("Run: ")) for row in rows]

    assert found() == []
    wanted = GREET.replace("name: greet", "name: packs")
    live("import", str(write("packs.yaml", TABLE + wanted)))
    orders = f"wanted by packs of tenant {tenant}"
    install = f"flowgres triggers install shop.orders --tenant {tenant}"
    assert found() == [("problem", f"shop.orders, delete and insert: not installed, {orders}", install)]
    assert live(*install.split()[1:], "--yes", "--dsn", dsn).code == 0
    assert found() == [("ok", f"shop.orders, delete and insert: installed, {orders}", "")]
    for mode in ("disable trigger user", f"enable replica trigger flowgres_insert_{tenant_hex(shop)}"):
        shop.run(f"alter table shop.orders {mode}")
        (fault, *_) = found()
        assert (fault[0], fault[2]) == ("problem", install)
        assert "installed and disabled" in fault[1]
        assert live(*install.split()[1:], "--yes", "--dsn", dsn).code == 0
        assert [result for result, *_ in found()] == ["ok"]
    shop.run("alter table shop.orders rename to sales")
    ((result, told, fix),) = found()
    assert (result, fix) == ("ok", "")
    assert "installed on shop.sales, as the table is called now" in told
    shop.run("drop table shop.sales")
    ((result, told, fix),) = found()
    assert (result, "there is no such table" in told, fix) == ("problem", True, f"create the table, then {install}")
    # Nothing waits for what an inactive workflow asks for.
    live("workflows", "deactivate", "packs")
    assert [(result, fix) for result, _, fix in found()] == [("ok", "")]
    live("workflows", "activate", "packs")
    shop.run("drop schema shop cascade")
    shop.run(SHOP)
    assert live(*install.split()[1:], "--yes", "--dsn", dsn).code == 0
    assert live("workflows", "delete", "packs", "--yes").code == 0
    remove = f"flowgres triggers remove --tenant {tenant}"
    told = f"shop.orders, delete and insert: installed, wanted by no workflow of tenant {tenant}"
    assert found() == [("note", told, remove)]
    assert live(*remove.split()[1:], "--yes", "--dsn", dsn).code == 0
    assert found() == []


def test_very_many_triggers_are_told_in_few_lines(
    live: Flowgres, write: Callable[..., Path], module_database: Database, shop: Db
) -> None:
    triggers = ", ".join(f"{{type: table, table: shop.t{number}, events: [insert]}}" for number in range(30))
    live("import", str(write("many.yaml", f"triggers: [{triggers}]\n" + GREET.replace("name: greet", "name: many"))))
    answer = live("doctor", DATABASE_URL=module_database.dsn())
    told = [row["detail"] for row in answer.json if row["check"] == "table triggers"]
    assert (answer.code, len(told), told[-1]) == (1, 21, "10 more are amiss")
    assert "and 10 more: flowgres triggers list" in live("db", "status", "--dsn", module_database.dsn()).err


def test_import_says_what_starts_it_and_whom_it_tells(
    live: Flowgres, write: Callable[..., Path], module_database: Database, shop: Db
) -> None:
    text = (
        GREET.replace("name: greet", "name: all_kinds")
        + "triggers:\n"
        + "- {type: cron, cron: '0 6 * * *', timezone: UTC}\n"
        + "- {type: webhook, secret: KEY, path: all}\n"
        + "- {type: event, name: greeted}\n"
        + "- {type: table, table: shop.orders, events: [insert, update]}\n"
        + "settings: {notify: [{url: 'https://example.com/ended', secret: KEY, events: [failed]}]}\n"
    )
    shown = live("import", str(write("all.yaml", text)), "-o", "table")
    assert shown.code == 0, shown.err
    front = live.environment["FLOWGRES_FRONT_URL"]
    for line in (
        "all_kinds fires at 06:00 every day, UTC",
        f"all_kinds hears {front}/webhooks/",
        "all_kinds hears the event greeted",
        "all_kinds hears insert and update of the table shop.orders, once an operator has run:"
        " flowgres triggers install shop.orders --yes",
        "all_kinds tells https://example.com/ended of failed",
    ):
        assert line in shown.err
    (answer,) = live("import", str(write("all.yaml", text))).json
    event, table = answer["subscriptions"]
    assert (event["kind"], event["name"], event["is_installed"]) == ("event", "greeted", None)
    assert (table["name"], table["changes"], table["is_installed"]) == ("shop.orders", ["insert", "update"], False)
    assert [len(answer[kind]) for kind in ("schedules", "webhooks", "notifications")] == [1, 1, 1]
    live("triggers", "install", "--yes", "--dsn", module_database.dsn())
    again = live("import", str(write("all.yaml", text)), "-o", "table")
    assert "all_kinds hears insert and update of the table shop.orders\n" in again.err
    assert live("events", "list", "--name", "shop.orders").json[0]["is_installed"] is True
    # A draft leaves what is active as it is, and says nothing of it.
    draft = live("import", "--no-activate", str(write("all.yaml", text.replace("0 6", "0 7"))), "-o", "table")
    assert (draft.code, "fires" in draft.err) == (0, False)


def tenant_hex(db: Db) -> str:
    return str(db.value("select replace(tenant_id::text, '-', '') from flowgres.tenants where slug <> 'system'"))


def test_operator_who_may_not_change_a_table_is_told_so(
    live: Flowgres, write: Callable[..., Path], module_database: Database
) -> None:
    with module_database.connect() as db:
        db.run("drop schema if exists shop cascade")
        db.run(SHOP)
        db.run("grant usage on schema shop to flowgres_operator")
    live("import", str(write("tries.yaml", TABLE + GREET.replace("name: greet", "name: tries"))))
    answer = live("triggers", "install", "--yes", "--dsn", module_database.dsn("operator"))
    assert (answer.code, "may not change the triggers of shop.orders" in answer.err) == (5, True), answer.err


@pytest.mark.parametrize("block", blocks("yaml"))
def test_definitions_of_the_page_are_sound(block: str) -> None:
    assert validate_document(yaml.safe_load(block)) == []


def test_commands_of_the_page_work(live: Flowgres, write: Callable[..., Path], module_database: Database) -> None:
    with module_database.connect() as db:
        db.run("drop schema if exists shop cascade")
        db.run(SHOP)
    for number, block in enumerate(blocks("yaml")):
        assert live("import", str(write(f"page-{number}.yaml", block))).code == 0
    environment = live.environment
    values = {
        "API": environment["FLOWGRES_API_URL"],
        "FRONT": environment["FLOWGRES_FRONT_URL"],
        "KEY": environment["FLOWGRES_API_KEY"],
    }
    started = []
    for line in (line for block in blocks("sh") for line in block.splitlines()):
        words = shlex.split(re.sub(r"\$(API|FRONT|KEY)\b", lambda match: values[match[1]], line))
        if words[0] == "flowgres":
            answer = live.with_environment(DATABASE_URL=module_database.dsn())(*words[1:])
            assert answer.code == 0, f"{line}\n{answer.err}"
            started.append(answer.json["started"] if words[1:3] == ["events", "emit"] else None)
        else:
            headers = dict(words[n + 1].split(": ", 1) for n, word in enumerate(words) if word == "-H")
            told = httpx.post(words[-1], headers=headers, content=words[words.index("-d") + 1])
            assert told.is_success, f"{line}\n{told.text}"
            started.append(told.json()["started"])
    assert [count for count in started if count is not None] == [1, 1, 1]
    with module_database.connect() as db:
        for block in blocks("sql"):
            db.run(block)
        db.run("insert into shop.orders (id, customer, status) values (1, 'Ann', 'paid')")
        assert db.value("select count(*) from flowgres.table_changes") <= 1
