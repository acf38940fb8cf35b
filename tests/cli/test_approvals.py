"""Approvals at the command line, against the real server and a real runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.runner import wait_for

from .conftest import Flowgres

ASKS = """\
name: asks
steps:
  - id: ask
    type: approval
    foreach: {items: [1, 2], max_parallel: 2}
    config: {title: "Number {{ item }}?", form: {n: {type: integer, minimum: 1, required: true}}}
    timeout: 3d
"""


def test_approvals_are_listed_and_decided(live: Flowgres, write: Callable[..., Path]) -> None:
    live("import", str(write("asks.yaml", ASKS)))
    assert "nothing to decide" in live("approvals", "list", "--workflow", "asks", "-o", "table").err
    execution = live("run", "asks", "--detach", "-o", "id").out.strip()
    wait_for(lambda: len(live("approvals", "list", "--execution", execution).json) == 2, what="both questions")
    shown = live("approvals", "list", "--execution", execution, "--mine", "-o", "table").out
    assert "Number 1?" in shown
    assert "ask[1]" in shown

    wrong = live("approve", execution, "ask[0]", "-d", '{"n": 0}')
    assert (wrong.code, "form_invalid" in wrong.err, "flowgres approvals list" in wrong.err) == (2, True, True)
    done = live("approve", execution, "ask[0]", "-d", '{"n": 7}', "--notes", "fine", "-o", "table")
    assert (done.code, "approved" in done.out) == (0, True)
    assert live("reject", execution, "ask[0]", "-d", '{"n": 7}').code == 6
    assert live("reject", execution, "ask[1]", "-d", '{"n": 1}').json["status"] == "rejected"

    def ended() -> bool:
        return bool(live("executions", "show", execution, "-o", "json").json["status"] == "completed")

    wait_for(ended, what="the end")
    listed = live("approvals", "list", "--execution", execution, "--status", "all").json
    assert sorted(row["status"] for row in listed) == ["approved", "rejected"]
    assert "approval_approved" in live("executions", "events", execution, "-o", "table").out


def test_mistakes_at_a_decision_have_their_exit_codes(live: Flowgres) -> None:
    nobody = "00000000-0000-7000-8000-000000000000"
    missing = live("approve", nobody, "ask")
    assert (missing.code, "execution_not_found" in missing.err) == (3, True)
    assert live("approve", "no-id", "ask").code == 2
    assert live("reject", nobody, "ask[x]").code == 2
