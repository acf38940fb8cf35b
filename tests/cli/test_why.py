"""`flowgres executions why`, `flowgres signals list` and what WHY.md shows, against the real server and a runner."""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from flowgres_cli.reasons import MOVING, sentence
from tests.support import curl
from tests.support.runner import wait_for

from .conftest import Flowgres

PAGE = (Path(__file__).parents[2] / "runner/flowgres_definitions/WHY.md").read_text()
VIEW = "".join(
    (Path(__file__).parents[2] / "database/schema/why" / name).read_text() for name in ("reasons.sql", "held_back.sql")
)
NOBODYS = "0193b5a0-0000-7000-8000-000000000000"
WAITS = """
name: held
inputs: {order_id: {type: string, required: true}}
steps:
  - id: packed
    type: wait
    config: {signal: packed, key: "{{ input.order_id }}"}
  - id: sent
    type: transform
    depends_on: [packed]
    config: {expression: "1"}
"""


class Held(NamedTuple):
    id: str
    key: str


@pytest.fixture
def held(live: Flowgres, write: Callable[..., Path]) -> Held:
    """An execution that waits for the signal packed, with a key of its own."""
    assert live("import", str(write("held.yaml", WAITS))).code == 0
    key = f"o {uuid.uuid4().hex[:8]}"
    execution = live("run", "held", "-f", f"order_id={key}", "--detach", "-o", "id").out.strip()
    wait_for(
        lambda: "waits_for_signal" in live("executions", "why", execution).out, what="the step to wait for its signal"
    )
    return Held(execution, key)


def test_why_says_what_helps_and_that_helps(live: Flowgres, held: Held) -> None:
    live("signal", "packed", "--key", f"{held.key} not")
    rows = live("executions", "why", held.id).json
    assert [(row["step"], row["reason"]) for row in rows] == [
        ("packed", "waits_for_signal"),
        ("sent", "waits_for_steps"),
    ]
    told = live("executions", "why", held.id, "-o", "table").out
    assert re.search(rf"^packed +waits for the signal packed with the key {held.key} \(since ", told, re.MULTILINE), (
        told
    )
    assert f"seen: packed with the key {held.key} not at " in told
    assert "it has another key" in told
    assert re.search(r"^sent +waits for packed$", told, re.MULTILINE), told
    shown = live("executions", "show", held.id, "-o", "table").out
    assert re.search(rf"^why +packed +waits for the signal packed with the key {held.key}", shown, re.MULTILINE), shown
    assert "sent  waits for packed" not in shown

    (command,) = re.findall(r"try: (.*)", told)
    assert live(*shlex.split(command)[1:]).json["woken"] == 1
    assert live("executions", "watch", held.id, "--timeout", "60").code == 0
    done = live("executions", "why", held.id, "-o", "table")
    assert (done.code, done.out, "has completed" in done.err) == (0, "", True)
    assert "why" not in live("executions", "show", held.id, "-o", "table").out


def test_page_is_true(live: Flowgres, held: Held) -> None:
    first, second = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert live(*[held.id if "-" in word and len(word) == 36 else word for word in shlex.split(first)[1:]]).code == 0
    values = {
        "API": live.environment["FLOWGRES_API_URL"],
        "KEY": live.environment["FLOWGRES_API_KEY"],
        "EXECUTION": held.id,
    }
    rows = curl.request(second.strip(), values).json()
    assert {row["step"]: row["reason"] for row in rows} == {"packed": "waits_for_signal", "sent": "waits_for_steps"}
    (stuck,) = re.findall(r"`GET (/execution_why\?reason=.*?)`", PAGE)
    command = f'curl "$API{stuck}" -H "X-API-Key: $KEY"'
    assert [row["step"] for row in curl.request(command, values).json() if row["execution_id"] == held.id] == ["packed"]
    (embedded,) = re.findall(r"`GET (/executions\?select=.*?)`", PAGE)
    listed = curl.request(f'curl "$API{embedded}" -H "X-API-Key: $KEY"', values).json()
    (execution,) = [row for row in listed if row["id"] == held.id]
    assert {row["step"] for row in execution["execution_why"]} == {"packed", "sent"}


def test_every_reason_has_its_line_on_the_page_and_its_sentence() -> None:
    words = set(re.findall(r"(?:then|else) '([a-z_]+)'", VIEW)) | {"waits_for_steps", "ended"}
    assert {"queued", "held", "waits", "runner_silent", "waits_for_limit"} <= words
    table = PAGE[PAGE.index("| reason |") :]
    named = {
        word
        for line in table.splitlines()
        for word in re.findall(r"`([a-z_]+)`", line.split("|")[1] if "|" in line else "")
    }
    assert words <= named
    for word in words:
        assert sentence({"reason": word, "detail": {}}), word
    assert words >= MOVING


def test_reason_of_a_later_server_is_told_by_its_word_and_its_facts() -> None:
    row = {"reason": "waits_for_moon", "detail": {"phase": "full", "due_at": None}}
    assert sentence(row) == "waits for moon phase full"


def test_execution_that_does_not_exist_is_not_found(live: Flowgres) -> None:
    assert live("executions", "why", NOBODYS).code == 3
    assert live("executions", "why", "no-id").code == 2


def test_signals_are_listed_with_who_took_them(live: Flowgres, held: Held) -> None:
    live("signal", "other", "--execution", held.id)
    live("signal", "packed", "--key", f"{held.key} not")
    live("signal", "packed", "--key", held.key)
    assert live("executions", "watch", held.id, "--timeout", "60").code == 0
    taken, left = live("signals", "list", "--name", "packed", "--limit", "2").json
    assert (taken["key"], taken["consumed_by"], taken["consumed_by_step"]) == (held.key, held.id, "packed")
    assert (left["key"], left["consumed_at"]) == (f"{held.key} not", None)
    waiting = {row["key"] for row in live("signals", "list", "--name", "packed", "--waiting").json}
    assert (f"{held.key} not" in waiting, held.key in waiting) == (True, False)
    assert [row["name"] for row in live("signals", "list", "--execution", held.id).json] == ["other"]
    assert [row["key"] for row in live("signals", "list", "--key", held.key).json] == [held.key]
    assert "packed" in live("signals", "list", "-o", "table").out
    assert "no signals" in live("signals", "list", "--name", "nothing", "-o", "table").err
