"""Watching through the front's stream, and without one."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.runner import wait_for

from .conftest import Flowgres


def was_streamed(live: Flowgres, execution_id: str) -> bool:
    """Whether the front served its stream, which it notes once the client is seen to be gone."""
    return f"/executions/{execution_id}/stream" in (live.folder / "front.log").read_text()


@pytest.mark.parametrize("has_front", [True, False])
def test_events_are_told_once_and_in_order_with_a_front_and_without(live: Flowgres, has_front: bool) -> None:
    address = {} if has_front else {"FLOWGRES_FRONT_URL": "http://127.0.0.1:9"}

    started = live("run", "sleep", "--detach", "-o", "id").out.strip()
    watched = live("executions", "watch", started, "--timeout", "3", "-o", "jsonl", **address)

    assert watched.code == 124
    if has_front:
        wait_for(lambda: was_streamed(live, started))
    followed = subprocess.Popen(
        live.command("logs", started, "-f", "-o", "jsonl"),
        env=live.environment | address,
        cwd=live.folder,
        stdout=subprocess.PIPE,
    )
    live("executions", "cancel", started)
    out, _ = followed.communicate(timeout=60)
    assert was_streamed(live, started) is has_front
    stored = live("executions", "events", started, "-o", "jsonl").lines
    assert [json.loads(line) for line in out.splitlines()] == stored
    assert [event["seq"] for event in stored] == list(range(1, len(stored) + 1))
    assert watched.lines == [event for event in stored if event["seq"] <= len(watched.lines)]


def test_characters_that_end_lines_elsewhere_end_no_event(live: Flowgres) -> None:
    say = {"id": "say", "type": "log", "config": {"message": "{{ input.text }}"}}
    rest = {"id": "rest", "type": "delay", "config": {"duration": "1h"}}
    (live.folder / "lines.json").write_text(json.dumps({"name": "lines", "steps": [say, rest]}))
    assert live("import", "lines.json").code == 0
    text = "one\u2028two\x85three\x0cfour\nfive"

    started = live("run", "lines", "--detach", "-o", "id", "-d", json.dumps({"text": text})).out.strip()
    watched = live("executions", "watch", started, "--timeout", "3", "-o", "jsonl")

    wait_for(lambda: was_streamed(live, started))
    assert watched.code == 124
    assert "Traceback" not in watched.err
    assert text in [event["message"] for event in watched.lines]
