"""Webhooks in SQL: they follow their workflow, take a delivery once, and log what came within bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db, Row
from tests.support.definitions import Author
from tests.support.webhooks import deliver, find_webhook, hook, hooked


class Webhooks:
    """A tenant that makes webhooks, and the front's login."""

    def __init__(self, author: Author, front: Db, clock: Clock) -> None:
        self.author, self.db, self.front, self.clock = author, author.db, front, clock
        self.store("HOOK", b"1" * 12)

    def store(self, name: str, nonce: bytes) -> None:
        """Store a secret that nobody opens."""
        self.db.call(
            "flowgres.put_secret", p_name=name, p_key_id="k", p_nonce=nonce, p_ciphertext=b"c" * 32, p_allow_short=False
        )

    def add(self, *triggers: Any, **members: Any) -> list[Row]:
        """Make a version with these triggers the active one; its webhooks as clients see them."""
        self.author.confirm(self.author.import_(hooked(*triggers, **members))["version_id"])
        return self.rows(members.get("name", "w"))

    def rows(self, name: str = "w") -> list[Row]:
        """The webhooks of a workflow, as clients see them."""
        return self.db.all(
            "select * from flowgres_api.webhooks where tenant_id = %s and workflow_name = %s order by place",
            self.author.tenant_id,
            name,
        )

    def found(self, row: Row) -> Row:
        """What the front is told of it."""
        return find_webhook(self.front, row["path"])

    def deliveries(self) -> list[Row]:
        """What is logged."""
        return self.db.all("select * from flowgres_api.webhook_deliveries order by received_at, id")

    def rotate(self, webhook: str, **arguments: Any) -> Any:
        """Rotate a webhook."""
        given = {"secret": None, "keep_previous_seconds": 86400, "new_address": False} | arguments
        return self.db.call(
            "flowgres.rotate_webhook", p_webhook=webhook, **{f"p_{name}": v for name, v in given.items()}
        )


@pytest.fixture
def webhooks(database: Database, clock: Clock) -> Iterator[Webhooks]:
    """A tenant with a secret and no webhook yet."""
    with database.connect() as own, database.connect("front") as front:
        yield Webhooks(Author(database, own), front, clock)


def code_of(error: psycopg.Error) -> str | None:
    return error.diag.constraint_name


def test_webhook_is_told_by_its_path_and_else_by_its_place(webhooks: Webhooks) -> None:
    first, second = webhooks.add(hook(path="a"), hook(scheme="stripe"))
    moved, changed = webhooks.add(hook(scheme="slack"), hook(path="a", scheme="token"))

    assert (changed["id"], changed["path"], changed["scheme"]) == (first["id"], first["path"], "token")
    assert moved["id"] not in (first["id"], second["id"])
    (only,) = webhooks.add(hook(path="b"))
    assert (only["id"], only["path"]) == (moved["id"], moved["path"])
    assert webhooks.add({"type": "cron", "cron": "@daily"}) == []


def test_address_outlives_a_pause_and_not_the_workflow(webhooks: Webhooks) -> None:
    (row,) = webhooks.add(hook(path="a"))
    webhooks.db.call("flowgres.deactivate_workflow", p_workflow="w")
    assert (webhooks.rows()[0]["path"], webhooks.rows()[0]["is_active"]) == (row["path"], False)
    webhooks.db.call("flowgres.archive_workflow", p_workflow="w")
    assert webhooks.found(row) is not None
    webhooks.db.call("flowgres.delete_workflow", p_workflow="w")
    assert webhooks.found(row) is None
    (other,) = webhooks.add(hook(path="a"))
    assert other["path"] != row["path"]


def test_path_belongs_to_one_workflow_of_a_tenant(webhooks: Webhooks, database: Database) -> None:
    webhooks.add(hook(path="a"))
    with pytest.raises(psycopg.Error) as caught:
        webhooks.author.import_(hooked(hook(path="a"), name="v"))
    assert code_of(caught.value) == "webhook_path_taken"
    with database.connect() as own:
        assert Author(database, own).import_(hooked(hook(path="a")))["webhooks"][0]["named_path"].endswith("/a")


def test_tenant_has_a_bounded_number_of_webhooks(webhooks: Webhooks) -> None:
    webhooks.db.run(
        "insert into flowgres.settings (tenant_id, name, value) values (%s, 'max_webhooks', '1')",
        webhooks.author.tenant_id,
    )
    webhooks.add(hook())
    with pytest.raises(psycopg.Error) as caught:
        webhooks.author.import_(hooked(hook(), name="v"))
    assert code_of(caught.value) == "too_many_webhooks"
    # An archived workflow keeps its addresses.
    assert str(caught.value.diag.message_hint).startswith("Delete workflows that are not needed, or")


def test_viewer_sees_no_address(webhooks: Webhooks, database: Database) -> None:
    (row,) = webhooks.add(hook(path="a"))
    for role, seen in (("viewer", None), ("member", row["path"]), ("admin", row["path"])):
        with database.as_role(role, tenant_id=str(webhooks.author.tenant_id)) as db:  # type: ignore[arg-type]
            assert db.value("select path from flowgres_api.webhooks") == seen
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.value("select token from flowgres.webhooks")


def test_what_the_front_calls_nobody_else_may(webhooks: Webhooks, database: Database) -> None:
    for function in ("find_webhook", "receive_delivery", "reject_deliveries"):
        may = webhooks.db.column(
            "select r.rolname::text from pg_roles as r cross join pg_proc as p where p.proname = %s"
            " and r.rolname ~ '^flowgres_(?!test)' and has_function_privilege(r.oid, p.oid, 'execute') order by 1",
            function,
        )
        assert may == ["flowgres_engine", "flowgres_front"]


def test_delivery_checked_by_another_state_is_not_taken(webhooks: Webhooks) -> None:
    (row,) = webhooks.add(hook())
    before = webhooks.found(row)
    webhooks.store("HOOK", b"2" * 12)
    assert deliver(webhooks.front, before)["outcome"] == "stale"
    assert deliver(webhooks.front, webhooks.found(row))["outcome"] == "accepted"
    assert len(webhooks.deliveries()) == 1


def test_rotation_keeps_the_secret_of_before_for_a_while(webhooks: Webhooks) -> None:
    (row,) = webhooks.add(hook())
    webhooks.store("NEXT", b"2" * 12)
    told = webhooks.rotate("w", secret="NEXT", keep_previous_seconds=60)
    assert (told["secret_name"], told["previous_secret_name"]) == ("NEXT", "HOOK")
    assert [secret["name"] for secret in webhooks.found(row)["secrets"]] == ["NEXT", "HOOK"]
    during = webhooks.found(row)

    webhooks.clock.advance(seconds=61)
    assert [secret["name"] for secret in webhooks.found(row)["secrets"]] == ["NEXT"]
    assert deliver(webhooks.front, during)["outcome"] == "stale"
    # The next version still names the secret of before: a rotation is no matter of it.
    assert webhooks.add(hook(), title="Next")[0]["secret_name"] == "NEXT"
    webhooks.store("THIRD", b"3" * 12)
    assert webhooks.add(hook(secret="THIRD"))[0]["secret_name"] == "THIRD"


def test_new_address_ends_the_one_of_before_at_once(webhooks: Webhooks) -> None:
    (row,) = webhooks.add(hook())
    before = webhooks.found(row)
    assert webhooks.rotate(str(row["id"]), new_address=True)["path"] != row["path"]
    assert webhooks.found(row) is None
    assert deliver(webhooks.front, before)["outcome"] == "stale"


@pytest.mark.parametrize(("arguments", "code"), [
    ({}, "argument_invalid"), ({"secret": "NONE"}, "secret_not_found"), ({"secret": "HOOK"}, "secret_unchanged"),
    ({"secret": "NEXT", "keep_previous_seconds": -1}, "argument_invalid"),
])  # fmt: skip
def test_rotations_that_are_none(webhooks: Webhooks, arguments: dict[str, Any], code: str) -> None:
    webhooks.add(hook())
    webhooks.store("NEXT", b"2" * 12)
    with pytest.raises(psycopg.Error) as caught:
        webhooks.rotate("w", **arguments)
    assert code_of(caught.value) == code


def test_two_deliveries_with_one_key_start_one_execution(webhooks: Webhooks, database: Database) -> None:
    (row,) = webhooks.add(hook())
    found = webhooks.found(row)
    second: list[Row] = []
    with database.connect("front") as other, webhooks.front.connection.transaction():
        first = deliver(webhooks.front, found, key="one")
        thread = threading.Thread(target=lambda: second.append(deliver(other, found, key="one")))
        thread.start()
        thread.join(timeout=0.5)
        assert second == []  # it waits for the first
    thread.join()
    assert (first["outcome"], second[0]["outcome"]) == ("accepted", "duplicate")
    assert first["execution_id"] == second[0]["execution_id"]
    assert webhooks.db.value("select count(*) from flowgres.executions") == 1


def test_second_starts_what_the_first_took_back(webhooks: Webhooks, database: Database) -> None:
    (row,) = webhooks.add(hook())
    found = webhooks.found(row)
    second: list[Row] = []
    with database.connect("front") as other:
        with webhooks.front.connection.transaction(force_rollback=True):
            deliver(webhooks.front, found, key="one")
            thread = threading.Thread(target=lambda: second.append(deliver(other, found, key="one")))
            thread.start()
        thread.join()
    assert second[0]["outcome"] == "accepted"
    assert len(webhooks.deliveries()) == 1


def test_key_is_forgotten_when_its_time_is_over(webhooks: Webhooks) -> None:
    (row,) = webhooks.add(hook())
    assert deliver(webhooks.front, webhooks.found(row), key="one")["outcome"] == "accepted"
    webhooks.clock.advance(seconds=31 * 86400)
    webhooks.db.value("select flowgres.prune(1000)")
    assert webhooks.db.value("select count(*) from flowgres.webhook_keys") == 0
    assert deliver(webhooks.front, webhooks.found(row), key="one")["outcome"] == "accepted"


def test_what_failed_is_delivered_once_more(webhooks: Webhooks) -> None:
    (row,) = webhooks.add(hook(), inputs={"a": {"type": "integer", "required": True}})
    failed = deliver(webhooks.front, webhooks.found(row), {"b": 1}, key="one")
    assert (failed["outcome"], failed["http_status"], failed["reason"]) == ("failed", 422, "input_invalid")
    webhooks.add(hook(input={"a": "$.b"}), inputs={"a": {"type": "integer", "required": True}})

    again = webhooks.db.call("flowgres.redeliver_webhook", p_delivery=failed["delivery_id"])

    execution = webhooks.db.one("select * from flowgres.executions")
    assert (str(execution["id"]), execution["input"]) == (again["execution_id"], {"a": 1})
    assert execution["trigger"]["redelivery_of"] == str(failed["delivery_id"])
    once_more = webhooks.db.call("flowgres.redeliver_webhook", p_delivery=again["delivery_id"])
    assert once_more["execution_id"] != again["execution_id"]


def test_what_was_rejected_is_not_delivered(webhooks: Webhooks) -> None:
    (row,) = webhooks.add(hook(scheme="stripe"))
    late = int(webhooks.clock.now().timestamp()) - 400
    assert deliver(webhooks.front, webhooks.found(row), signed_at=late)["reason"] == "timestamp_too_old"
    (delivery,) = webhooks.deliveries()
    with pytest.raises(psycopg.Error) as caught:
        webhooks.db.call("flowgres.redeliver_webhook", p_delivery=delivery["id"])
    assert code_of(caught.value) == "delivery_not_authentic"


def test_flood_of_rejected_ones_is_counted_and_not_written(webhooks: Webhooks) -> None:
    (row,) = webhooks.add(hook())
    one = {"tenant_id": str(webhooks.author.tenant_id), "webhook_id": str(row["id"]), "status": 401,
           "reason": "signature_wrong", "content_type": "text/plain", "bytes": 5}  # fmt: skip
    for _ in range(5):
        webhooks.front.call("flowgres.reject_deliveries", p_rejections=[one] * 10)
    webhooks.front.call("flowgres.reject_deliveries", p_rejections=[one | {"count": 1000}])

    assert len(webhooks.deliveries()) == 20
    assert webhooks.rows()[0]["rejected_last_day"] == 5 * 10 + 1000
    webhooks.clock.advance(seconds=60)
    webhooks.front.call("flowgres.reject_deliveries", p_rejections=[one])
    assert len(webhooks.deliveries()) == 21
    assert deliver(webhooks.front, webhooks.found(row))["outcome"] == "accepted"
    webhooks.clock.advance(seconds=1)
    told = webhooks.db.call("flowgres_api.execution_metrics")["webhooks"]
    assert told == {"total": 1052, "by_outcome": {"accepted": 1, "rejected": 1051}}


def test_delivery_that_stands_for_an_execution_that_waits_names_that_one(webhooks: Webhooks) -> None:
    (row,) = webhooks.add(hook(), settings={"start": {"debounce": "1m"}})
    first, second, again = (deliver(webhooks.front, webhooks.found(row), key=key) for key in ("a", "b", "b"))
    assert (first["outcome"], second["outcome"], again["outcome"]) == ("accepted", "accepted", "duplicate")
    assert first["execution_id"] == second["execution_id"] == again["execution_id"]
    assert webhooks.db.value("select count(*) from flowgres.executions") == 1


def test_rejections_of_another_tenant_or_of_nobody_are_dropped(webhooks: Webhooks, database: Database) -> None:
    (row,) = webhooks.add(hook())
    with database.connect() as own:
        other = Author(database, own).tenant_id
    for tenant_id, webhook_id in ((other, row["id"]), (webhooks.author.tenant_id, other)):
        one = {"tenant_id": str(tenant_id), "webhook_id": str(webhook_id), "status": 401, "reason": "x", "bytes": 5}
        assert webhooks.front.call("flowgres.reject_deliveries", p_rejections=[one]) == 0


def test_delivery_is_found_by_an_index_however_many_there_are(webhooks: Webhooks) -> None:
    webhooks.db.run("set enable_seqscan to off")
    found = webhooks.db.column("explain select * from flowgres.webhooks where token_hash = sha256('x')")
    assert "webhooks_token_idx" in "\n".join(found)
    latest = "explain select * from flowgres_api.webhook_deliveries where tenant_id = %s and webhook_id = %s"
    assert "Seq Scan" not in "\n".join(
        webhooks.db.column(latest + " order by id desc limit 1", webhooks.author.tenant_id, webhooks.author.tenant_id)
    )
