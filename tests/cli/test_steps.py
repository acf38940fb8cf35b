"""Steps repaired at the command line, against the real server and a real runner."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runner import wait_for

from .conftest import Flowgres

PAGE = Path(__file__).parents[2] / "runner/flowgres_definitions/REPAIR.md"
HANGS = """\
name: hangs
steps:
  - {id: first, type: delay, config: {seconds: 86400}}
  - {id: second, type: delay, depends_on: [first], config: {seconds: 86400}}
  - {id: last, type: transform, depends_on: [second], config: {expression: "{{ steps.second.output.n + 1 }}"}}
"""
LISTS = """\
name: lists
steps:
  - {id: hold, type: delay, foreach: {items: [1, 2]}, config: {seconds: 86400}}
"""
STEP_FUNCTIONS = {"retry", "skip", "complete", "fail", "cancel", "update"}


@pytest.fixture
def begin(live: Flowgres, write: Callable[..., Path]) -> Callable[[str, str, str], str]:
    def begin(name: str, text: str, step: str) -> str:
        live("import", str(write(f"{name}.yaml", text)))
        execution = live("run", name, "--detach", "-o", "id").out.strip()
        wait_for(
            lambda: live("steps", "show", execution, step).json["status"] == "waiting", what="the wait"
        ) if "[" not in step else wait_for(
            lambda: live("steps", "show", execution, step).code == 0, what="the iteration"
        )
        return execution

    return begin


def _ended(live: Flowgres, execution: str) -> Callable[[], bool]:
    return lambda: live("executions", "show", execution, "-o", "json").json["finished_at"] is not None


def test_step_that_hangs_is_tried_now_and_the_next_one_completed_by_hand(
    live: Flowgres, begin: Callable[..., str]
) -> None:
    execution = begin("hangs", HANGS, "first")
    answer = live("steps", "retry", execution, "first", "--reason", "no time")
    assert (answer.code, answer.json["status"]) == (0, "ready")
    wait_for(lambda: live("steps", "show", execution, "second").json["status"] == "waiting", what="the second wait")
    done = live("steps", "complete", execution, "second", "-d", '{"n": 6}', "-o", "table")
    assert (done.code, "completed" in done.out) == (0, True)
    wait_for(_ended(live, execution), what="the end")
    shown = live("executions", "show", execution, "-o", "json").json
    assert (shown["status"], shown["output"]) == ("completed", {"last": 7})
    events = live("executions", "events", execution, "-o", "json").json
    acts = [(row["step"], row["details"]["act"], row["message"]) for row in events if row["type"] == "step_repaired"]
    assert acts == [("first", "retried", "no time"), ("second", "completed", None)]
    late = live("steps", "skip", execution, "last")
    assert (late.code, "execution_ended" in late.err, "flowgres executions show" in late.err) == (6, True, True)


@pytest.mark.parametrize(("word", "status"), [("skip", "skipped"), ("cancel", "cancelled"), ("fail", "failed")])
def test_iterations_are_named(word: str, status: str, live: Flowgres, begin: Callable[..., str]) -> None:
    execution = begin("lists", LISTS, "hold[1]")
    more = ("--error", "refused: not today") if word == "fail" else ()
    answer = live("steps", word, execution, "hold[1]", *more).json
    assert (answer["iteration"], answer["status"]) == (1, status)
    if word == "fail":
        assert (answer["error"]["code"], answer["error"]["message"]) == ("refused", "not today")
    else:
        assert live("steps", "retry", execution, "hold").code == 6
        assert live("steps", "update", execution, "hold[0]", "-d", '{"timeout": "2m"}').json["overrides"] == {
            "timeout_seconds": 120
        }
        assert live("steps", "cancel", execution, "hold").json["status"] == "cancelled"
    wait_for(_ended(live, execution), what="the end")


def test_mistakes_have_their_exit_codes(live: Flowgres, begin: Callable[..., str]) -> None:
    nobody = "00000000-0000-7000-8000-000000000000"
    assert live("steps", "skip", nobody, "a").code == 3
    assert live("steps", "skip", "no-id", "a").code == 2
    execution = begin("hangs", HANGS, "first")
    missing = live("steps", "show", execution, "nowhere")
    assert (missing.code, "first, second, last" in missing.err) == (3, True)
    assert live("steps", "skip", execution, "nowhere").code == 3
    assert live("steps", "skip", execution, "first[x]").code == 2
    assert live("steps", "skip", execution, "second").code == 6
    assert live("steps", "update", execution, "first", "-d", '{"colour": 1}').code == 2
    assert live("executions", "cancel", execution).code == 0


def test_page_names_every_command() -> None:
    text = PAGE.read_text()
    assert set(re.findall(r"^flowgres steps (\w+)", text, re.MULTILINE)) == STEP_FUNCTIONS | {"show"}
