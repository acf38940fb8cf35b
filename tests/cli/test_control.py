"""Executions, workflows and tenants in hand at the command line, against the real server and a real runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .conftest import Flowgres
from .texts import GREET

SLOW = """
name: slow
steps:
  - id: hold
    type: wait
    config: {signal: go}
  - id: after
    type: transform
    depends_on: [hold]
    config: {expression: "1"}
"""


def test_executions_are_paused_changed_and_resumed(live: Flowgres, write: Callable[..., Path]) -> None:
    assert live("import", str(write("slow.yaml", SLOW))).code == 0
    ids = [live("run", "slow", "--detach", "-o", "id").out.strip() for _ in range(2)]
    paused = live("executions", "pause", *ids, "--reason", "supplier is down").json
    assert [row["status"] for row in paused] == ["paused", "paused"]
    assert live("executions", "list", "--status", "paused", "--workflow", "slow", "-o", "id").out.split() == ids[::-1]
    (row,) = live("executions", "update", ids[0], "--priority", "1", "--extend", "60").json
    assert (row["priority"], row["status"]) == (1, "paused")
    events = live("executions", "events", ids[0]).json
    (pause,) = [event for event in events if event["type"] == "execution_paused"]
    assert pause["message"] == "supplier is down"
    assert pause["actor"]
    assert live("executions", "resume", *ids).code == 0
    for execution in ids:
        assert live("signal", "go", "--execution", execution).code == 0
        assert live("executions", "watch", execution).code == 0
    assert live("executions", "pause", ids[0]).code == 6


def test_executions_are_retried_together(live: Flowgres, write: Callable[..., Path]) -> None:
    assert live("import", str(write("slow.yaml", SLOW))).code == 0
    ids = [live("run", "slow", "--detach", "-o", "id").out.strip() for _ in range(2)]
    for execution in ids:
        assert live("executions", "retry", execution).code == 6
        assert live("executions", "cancel", execution).code == 0
    rows = live("executions", "retry", *ids, "--reason", "once more").json
    assert [(row["id"], row["generation"]) for row in rows] == [(id, 2) for id in ids]
    assert all(live("executions", "cancel", id).code == 0 for id in ids)


def test_mistakes_at_changes_have_their_exit_codes(live: Flowgres) -> None:
    nobody = "01942f3c-8f00-7a1e-9c55-3b0f6d1f4c11"
    assert live("executions", "pause", nobody).code == 3
    assert live("executions", "pause").code == 2
    assert live("executions", "update", nobody).code == 2
    assert live("executions", "update", nobody, "--timeout", "1", "--extend", "1").code == 2
    assert live("workflows", "pause", "nobody").code == 3
    assert live("tenants", "pause", "nobody").code == 5


def test_workflow_and_tenant_stand_still_and_go_on(live: Flowgres, write: Callable[..., Path]) -> None:
    assert live("import", str(write("calm.yaml", GREET.replace("name: greet", "name: calm")))).code == 0
    for what in (("workflows", "calm"), ("tenants",)):
        group, name = what[0], what[1:]
        assert live(group, "pause", *name, "--reason", "stocktaking").json["is_paused"] is True
        execution = live("run", "calm", "-f", "name=Ann", "--detach", "-o", "id").out.strip()
        assert live("executions", "watch", execution, "--timeout", "2").code == 124
        assert live("executions", "show", execution).json["status"] == "queued"
        assert live(group, "resume", *name).json["is_paused"] is False
        assert live("executions", "watch", execution).code == 0
