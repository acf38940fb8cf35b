"""Tables for people, JSON for programs, and trees."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
import yaml
from rich.console import Console

from flowgres_cli.output import Column, Output, clean, duration, moment, seconds_text
from flowgres_cli.tree import layout, render
from flowgres_cli.watching import Snapshot, StepState

ROWS: list[dict[str, Any]] = [
    {"id": "1", "name": "Ann", "x": {"a": [1]}},
    {"id": "2", "name": "Bo\x1b[31mb", "x": None},
]
COLUMNS = (Column("id", "ID"), Column("name", "NAME"))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _printed(format_name: str | None, rows: list[dict[str, Any]] = ROWS) -> str:
    stream = io.StringIO()
    Output(format_name, stdout=stream).rows(rows, COLUMNS)
    return stream.getvalue()


def test_terminal_gets_a_table_and_everything_else_json() -> None:
    assert Output(None, stdout=Terminal()).format == "table"
    assert Output(None, stdout=io.StringIO()).format == "json"
    assert Output("json", stdout=Terminal()).format == "json"


def test_every_machine_form_carries_whole_rows() -> None:
    assert json.loads(_printed("json")) == ROWS
    assert [json.loads(line) for line in _printed("jsonl").splitlines()] == ROWS
    assert yaml.safe_load(_printed("yaml")) == ROWS
    assert _printed("id") == "1\n2\n"


def test_table_shows_its_columns_and_no_control_characters() -> None:
    text = _printed("table")
    assert text.split()[:2] == ["ID", "NAME"]
    assert "\x1b" not in text


@pytest.mark.parametrize("columns", [40, 80])
def test_names_and_ids_are_never_cut_and_other_columns_go_first(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    name, identifier = "a_workflow_" + "n" * 52, "0194f3c2-7d1e-7abc-8def-0123456789ab"
    row = {"id": identifier, "workflow_name": name, "status": "completed", "note": "x" * 30, "text": "y" * 300}
    shown = (
        Column("id", "ID"), Column("workflow_name", "WORKFLOW"), Column("status", "STATUS"),
        Column("note", "NOTE", is_optional=True), Column("text", "TEXT", is_optional=True),
    )  # fmt: skip
    stream = Terminal()
    Output(None, stdout=stream).rows([row], shown)
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert text.split() == ["ID", "WORKFLOW", "STATUS", identifier, name, "completed"]


def test_empty_list_is_still_valid_json() -> None:
    assert json.loads(_printed("json", [])) == []


def test_terminal_sequences_in_data_are_made_harmless() -> None:
    assert clean("a\x1b]0;title\x07b\u202ec\nd") == "a\ufffd]0;title\ufffdb\ufffdc\nd"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "12 ms"), (3.44, "3.4 s"), (125, "2 min 5 s"), (7260, "2 h 1 min")]
)
def test_seconds_are_written_for_people(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_times_that_are_none_do_not_break_a_table() -> None:
    assert (moment(None), moment("soon"), duration(None, "x"), duration("a", "b")) == ("", "soon", "", "")


def test_chain_lies_flat() -> None:
    assert layout({"a": [], "b": ["a"], "c": ["b"]}) == {"a": None, "b": None, "c": None}


def test_branches_are_indented_and_their_join_comes_back() -> None:
    steps = {"a": [], "b": ["a"], "c": ["a"], "b2": ["b"], "join": ["b2", "c"], "end": ["join"]}
    assert layout(steps) == {"a": None, "b": "a", "c": "a", "b2": "a", "join": None, "end": None}


def test_nested_branches_are_indented_twice() -> None:
    steps = {"a": [], "b": ["a"], "c": ["a"], "x": ["b"], "y": ["b"], "inner": ["x", "y"], "outer": ["inner", "c"]}
    assert layout(steps) == {"a": None, "b": "a", "c": "a", "x": "b", "y": "b", "inner": "a", "outer": None}


def test_join_of_two_roots_stands_at_the_top() -> None:
    assert layout({"a": [], "b": [], "c": ["a", "b"]}) == {"a": None, "b": None, "c": None}


def _step(name: str, *depends_on: str, status: str = "completed", **more: Any) -> StepState:
    return StepState(
        id=name,
        type=more.get("type", "transform"),
        status=status,
        attempts=more.get("attempts", 1),
        started_at=None,
        finished_at=None,
        error=more.get("error"),
        output=None,
        depends_on=depends_on,
        child=more.get("child"),
    )


def _drawn(snapshot: Snapshot) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=100, color_system=None).print(render(snapshot))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_tree_shows_status_attempts_errors_and_children() -> None:
    child = Snapshot({"workflow_name": "inner", "version": 1, "status": "running", "id": "2"}, (_step("deep"),))
    steps = (
        # Not in the order of the graph: the tree has to sort it out.
        _step("end", "call", "bad", status="skipped"),
        _step("start"),
        _step("call", "start", status="waiting", type="sub_workflow", child=child),
        _step("bad", "start", status="failed", attempts=3, error={"code": "timeout", "message": "too\x1b slow"}),
    )
    lines = _drawn(Snapshot({"workflow_name": "outer", "version": 2, "status": "running", "id": "1"}, steps))
    text = "\n".join(lines)
    assert lines[0].startswith("outer v2  running")
    assert "inner v1" in text
    assert "✓ deep" in text
    assert "attempt 3" in text
    assert "timeout: too\ufffd slow" in text
    assert "end" in lines[-1]
    assert lines[-1].startswith("└── –")


def test_steps_that_depend_on_each_other_in_a_circle_are_still_drawn() -> None:
    """A server would refuse such a workflow; a bad answer must not hang the terminal."""
    steps = (_step("a", "b"), _step("b", "a"))
    assert len(_drawn(Snapshot({"workflow_name": "w", "version": 1, "status": "failed", "id": "1"}, steps))) == 3
