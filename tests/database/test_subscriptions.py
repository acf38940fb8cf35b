"""Events: what subscribes to them, what telling of one starts, and whose they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Row
from tests.support.definitions import Author, Definition, log_step, workflow
from tests.support.races import rivals

ORIGIN_HEADER = '{"idempotency-key": "%s/tell/r1"}'


def event(name: str = "order.paid", **members: Any) -> Definition:
    """A trigger of type event."""
    return {"type": "event", "name": name, **members}


def told(*triggers: Definition, name: str = "w", **members: Any) -> Definition:
    """A workflow with these triggers and a step that logs."""
    return workflow(log_step("a"), name=name, triggers=list(triggers), **members)


def emit(db: Db, name: str = "order.paid", payload: Any = None, key: str | None = None) -> Any:
    return db.value("select flowgres_api.emit_event(%s, %s::jsonb, %s)", name, payload or {}, key)


@pytest.fixture
def author(database: Database, db: Db) -> Author:
    return Author(database, db)


def subscriptions(author: Author, name: str = "w") -> list[Row]:
    query = "select * from flowgres_api.subscriptions where tenant_id = %s and workflow_name = %s order by place"
    return author.db.all(query, author.tenant_id, name)


def test_event_starts_what_subscribed_in_the_callers_transaction(author: Author) -> None:
    author.import_(told(event(input={"id": "$.order.id"}), name="one"))
    author.import_(told(event(), name="two"))
    author.import_(told(event("order.lost"), name="three"))
    with author.db.connection.transaction(force_rollback=True):
        assert emit(author.db, payload={"order": {"id": 7}})["started"] == 2
    assert author.db.value("select count(*) from flowgres.executions") == 0
    answer = emit(author.db, payload={"order": {"id": 7}})
    assert (answer["started"], answer["woken"], answer["refused"]) == (2, 0, 0)
    rows = author.db.all("select * from flowgres_api.executions order by workflow_name")
    assert {str(row["id"]) for row in rows} == set(answer["executions"])
    assert [row["input"] for row in rows] == [{"id": 7}, {"order": {"id": 7}}]
    trigger = author.db.value("select trigger from flowgres.executions limit 1")
    assert (trigger["type"], trigger["name"], trigger["payload"]) == ("event", "order.paid", {"order": {"id": 7}})
    assert {row["trigger_type"] for row in rows} == {"event"}


@pytest.mark.parametrize(
    ("when", "payload", "starts"),
    [
        ("$.total > 100", {"total": 101}, True),
        ("$.total > 100", {"total": 100}, False),
        ("$.total > 100", {"total": "a"}, False),
        ("$.total > 100", {}, False),
        ('$.kind == "big" || exists($.vip)', {"vip": None}, True),
        ('!exists($.test) && $.name starts with "a"', {"name": "ab"}, True),
        ('!exists($.test) && $.name starts with "a"', {"name": "ab", "test": 1}, False),
        ("$.lines[*].n == 2", {"lines": [{"n": 1}, {}, {"n": 2}]}, True),
        ("$.lines.size() >= 2", {"lines": [1]}, False),
        ("$.paid == true && $.gone == null", {"paid": True, "gone": None}, True),
    ],
)
def test_filter_decides(author: Author, when: str, payload: Any, starts: bool) -> None:
    author.import_(told(event(when=when)))
    assert emit(author.db, payload=payload)["started"] == starts


def test_subscriber_that_refuses_breaks_nothing_and_says_why(author: Author) -> None:
    author.import_(told(event(), name="strict", inputs={"n": {"type": "integer", "required": True}}))
    author.import_(told(event(), name="easy"))
    answer = emit(author.db, payload={"n": "x"})
    assert (answer["started"], answer["refused"]) == (1, 1)
    (row,) = subscriptions(author, "strict")
    assert row["last_error"]["code"] == "input_invalid"
    assert "n must be of type integer" in row["last_error"]["message"]
    assert subscriptions(author, "easy")[0]["last_error"] is None
    # Of a payload only what is declared is taken.
    assert emit(author.db, payload={"n": 1, "more": 2})["started"] == 2
    query = "select input from flowgres_api.executions where workflow_name = 'strict'"
    assert author.db.value(query) == {"n": 1}


def test_key_is_told_once(author: Author, clock: Clock) -> None:
    author.import_(told(event()))
    first = emit(author.db, key="a")
    again = emit(author.db, payload={"other": 1}, key="a")
    assert (again["started"], again["created"], again["executions"]) == (0, False, first["executions"])
    assert emit(author.db, "order.lost", key="a")["created"]
    clock.advance(seconds=40 * 86400)
    assert emit(author.db, key="a")["started"] == 1
    clock.advance(seconds=40 * 86400)
    assert author.db.value("select flowgres.prune(100)") == 2
    assert author.db.value("select count(*) from flowgres.event_keys") == 0


def test_key_that_rolls_back_was_not_told(author: Author) -> None:
    author.import_(told(event()))
    with author.db.connection.transaction(force_rollback=True):
        assert emit(author.db, key="a")["started"] == 1
    assert emit(author.db, key="a")["started"] == 1


def test_two_callers_with_one_key_start_one(author: Author) -> None:
    author.import_(told(event()))
    with author.connect() as one, author.connect() as other, rivals(author.db) as run:
        one.run("begin")
        assert emit(one, key="a")["started"] == 1
        second = run(other, lambda: emit(other, key="a"))
        assert second.run_until_blocked()
        one.run("commit")
        assert second.answer()["created"] is False
    assert author.db.value("select count(*) from flowgres.executions") == 1


def test_callers_whose_subscriber_refuses_do_not_wait_for_each_other(author: Author) -> None:
    author.import_(told(event(), inputs={"n": {"type": "integer", "required": True}}))
    with author.connect() as one, author.connect() as other:
        one.run("begin")
        assert emit(one)["refused"] == 1
        other.run("set lock_timeout = '2s'")
        assert emit(other)["refused"] == 1
        one.run("rollback")


def test_subscriptions_follow_their_workflow(author: Author) -> None:
    author.confirm(author.import_(told(event("a"), event("b", when="$.x == 1")))["version_id"])
    first = subscriptions(author)
    assert [(row["name"], row["filter"], row["status"]) for row in first] == [
        ("a", None, "active"),
        ("b", '($."x" == 1)', "active"),
    ]
    author.confirm(author.import_(told(event("a", input={"y": 1}), event("c")))["version_id"])
    second = subscriptions(author)
    assert [row["name"] for row in second] == ["a", "c"]
    assert second[0]["id"] == first[0]["id"]
    author.db.call("flowgres.deactivate_workflow", p_workflow="w")
    assert [row["status"] for row in subscriptions(author)] == ["inactive", "inactive"]
    assert emit(author.db, "a")["started"] == 0
    author.db.call("flowgres.activate_workflow", p_workflow="w", p_version=1)
    assert [row["name"] for row in subscriptions(author)] == ["a", "b"]
    author.db.call("flowgres.archive_workflow", p_workflow="w")
    assert subscriptions(author) == []


def test_another_tenants_subscription_never_starts(author: Author, database: Database, db: Db) -> None:
    author.import_(told(event()))
    other = Author(database, db)
    assert emit(db)["started"] == 0
    other.import_(told(event()))
    assert emit(db)["started"] == 1
    assert db.column("select distinct tenant_id from flowgres.executions") == [other.tenant_id]


def test_tenant_has_so_many_subscriptions_and_an_event_so_many_subscribers(author: Author) -> None:
    author.db.run("update flowgres.settings set value = '3' where name = 'max_subscriptions'")
    author.import_(told(event("a"), event("b"), name="one"))
    with pytest.raises(psycopg.Error) as refused:
        author.import_(told(event("c"), event("d"), name="two"))
    assert refused.value.diag.constraint_name == "too_many_subscriptions"
    author.db.run("update flowgres.settings set value = '1' where name = 'max_event_subscribers'")
    with pytest.raises(psycopg.Error) as refused:
        author.import_(told(event("a"), name="two"))
    assert refused.value.diag.constraint_name == "too_many_subscribers"
    author.import_(told(event("c"), name="two"))


@pytest.mark.parametrize("name", [None, "", "order paid", "1a", "a..b", "x" * 201])
def test_name_that_is_none_is_refused(author: Author, name: str | None) -> None:
    with pytest.raises(psycopg.Error) as refused:
        emit(author.db, name)  # type: ignore[arg-type]
    assert (refused.value.sqlstate, refused.value.diag.constraint_name) == ("FG422", "event_name_invalid")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb"])
def test_key_that_is_none_is_refused(author: Author, key: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        emit(author.db, key=key)
    assert refused.value.diag.constraint_name == "event_key_invalid"


def test_mapping_cannot_make_a_payload_grow_without_end(author: Author) -> None:
    author.import_(told(event(input={f"k{n}": "$" for n in range(200)})))
    answer = emit(author.db, payload={"text": "x" * 900_000})
    assert (answer["started"], answer["refused"]) == (0, 1)
    assert subscriptions(author)[0]["last_error"]["code"] == "payload_too_large"


@pytest.mark.parametrize("via", ["setting", "header"])
def test_executions_that_start_each_other_come_to_an_end(author: Author, via: str) -> None:
    author.import_(told(event()))
    setting, text = {"setting": ("flowgres.origin", "%s"), "header": ("request.headers", ORIGIN_HEADER)}[via]
    origin = str(uuid4())

    def tell() -> str:
        with author.db.connection.transaction():
            author.db.run("select set_config(%s, %s, true)", setting, text % origin)
            (told_id,) = emit(author.db)["executions"]
            return str(told_id)

    for _ in range(9):
        origin = tell()
    with pytest.raises(psycopg.Error) as refused:
        tell()
    assert refused.value.diag.constraint_name == "event_loop"


def test_event_under_postgrest_keeps_the_code_of_what_was_refused(author: Author, as_role: Callable[..., Any]) -> None:
    author.import_(told(event(), inputs={"n": {"type": "integer", "required": True}}))
    with as_role("member", tenant_id=author.tenant_id) as db:
        db.run("select set_config('request.method', 'POST', true)")
        assert emit(db)["refused"] == 1
    assert subscriptions(author)[0]["last_error"]["code"] == "input_invalid"


def test_viewer_reads_subscriptions_and_tells_of_nothing(
    author: Author, database: Database, as_role: Callable[..., Any]
) -> None:
    author.import_(told(event()))
    with as_role("viewer", tenant_id=author.tenant_id) as db:
        assert db.value("select count(*) from flowgres_api.subscriptions") == 1
    with as_role("viewer", tenant_id=Author(database, author.db).tenant_id) as db:
        assert db.value("select count(*) from flowgres_api.subscriptions") == 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege), as_role("viewer", tenant_id=author.tenant_id) as db:
        emit(db)
