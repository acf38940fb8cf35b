"""Notifications at the command line, against the real server and a real runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.runner import wait_for

from .conftest import Flowgres
from .texts import GREET


def test_notification_is_set_listed_delivered_redelivered_and_deleted(
    live: Flowgres, write: Callable[..., Path]
) -> None:
    key = str(write("key", "a long enough key"))
    assert live("secrets", "set", "OPS_HOOK", "--from-file", key).code == 0
    live("import", str(write("told.yaml", GREET.replace("name: greet", "name: told"))))
    # Nobody listens there: the guard, or the machine, refuses.
    ops = ("ops", "--url", "http://127.0.0.1:9/hook", "--secret", "OPS_HOOK", "--workflow", "told")
    made = live("notifications", "set", *ops, "--event", "completed").json
    assert (made["events"], made["status"], made["workflow_name"]) == (["completed"], "active", "told")
    assert "http://127.0.0.1:9/hook" in live("notifications", "list", "-o", "table").out
    assert live("notifications", "list", "--workflow", "told", "-o", "id").out.split() == ["ops"]

    execution = live("run", "told", "-d", '{"name": "Ann"}', "-o", "id").out.split()[0]
    (row,) = live("notifications", "deliveries", "--execution", execution).json
    assert (row["notification"], row["event"], row["message_id"]) == ("ops", "completed", row["id"])
    early = live("notifications", "redeliver", row["id"])
    if early.code:
        assert "delivery_not_ended" in early.err
    assert live("notifications", "delete", "ops").code == 0
    wait_for(
        lambda: live("notifications", "deliveries", "--execution", execution).json[-1]["status"] != "pending",
        what="the end of the delivery",
    )
    assert "cancelled" in live("notifications", "deliveries", "--execution", execution, "-o", "table").out
    again = live("notifications", "redeliver", row["id"])
    assert (again.code, "notification_deleted" in again.err) == (6, True)


def test_mistakes_at_a_notification_have_their_exit_codes(live: Flowgres) -> None:
    missing = live("notifications", "delete", "nobody")
    assert (missing.code, "flowgres notifications list" in missing.err) == (3, True)
    plain = live("notifications", "set", "ops", "--url", "http://ops.example/", "--secret", "OPS")
    assert (plain.code, "notification_invalid" in plain.err) == (2, True)
    assert live("notifications", "set", "ops", "--url", "https://ops.example/").code == 2
    assert live("notifications", "redeliver", "no-id").code == 2
