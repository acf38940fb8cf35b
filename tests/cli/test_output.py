"""Tables for people, JSON for programs, and trees."""

from __future__ import annotations

import importlib
import io
import json
import pkgutil
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flowgres_cli import commands
from flowgres_cli.output import Column, Output, _widths, cells, clean, duration, moment, seconds_text
from flowgres_cli.tree import layout, render
from flowgres_cli.watching import Snapshot, StepState, outcome_error

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


def _tables() -> list[tuple[str, tuple[Column, ...]]]:
    """The columns of every table that a command draws."""
    found = []
    for module in pkgutil.iter_modules(commands.__path__):
        loaded = importlib.import_module(f"{commands.__name__}.{module.name}")
        for name, value in vars(loaded).items():
            if isinstance(value, tuple) and value and isinstance(value[0], Column):
                found.append((f"{module.name}.{name}", value))
    return found


@pytest.mark.parametrize(("name", "columns"), _tables(), ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("width", [40, 80, 160])
def test_no_table_cuts_or_drops_what_the_next_command_needs(
    monkeypatch: pytest.MonkeyPatch, width: int, name: str, columns: tuple[Column, ...]
) -> None:
    del name
    monkeypatch.setenv("COLUMNS", str(width))
    # As wide as they come: ids are 36 characters, names 63, types of events 25.
    row = {column.field: f"{column.field}_".ljust(36 if column.field.endswith("id") else 25, "x") for column in columns}
    row |= {column.field: "prose " * 40 for column in columns if column.is_prose}
    stream = Terminal()
    Output(None, stdout=stream).rows([row], tuple(replace(column, show=None) for column in columns))
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    for column in columns:
        if not column.is_optional:
            assert column.heading in text
            if not column.is_prose:
                assert row[column.field] in text


@given(
    rows=st.lists(
        st.tuples(st.text(max_size=70), st.text(max_size=300), st.text(max_size=300)), min_size=1, max_size=5
    ),
    width=st.integers(20, 200),
)
def test_columns_that_are_cut_share_what_is_left(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = (Column("a", "A"), Column("b", "B", is_prose=True), Column("c", "C", is_prose=True))
    shown = [dict(zip("abc", row, strict=True)) for row in rows]
    found = _widths(shown, columns, width)
    whole = max(1, *(cells(clean(row["a"])) for row in shown))
    assert found[0] == whole
    assert sum(found) + 4 <= max(width, whole + 2 * 12 + 4)


def test_failure_is_told_with_the_hint_and_the_answer_of_where_it_began() -> None:
    blocked = {"code": "ssrf_blocked", "step": "get", "message": "refused", "details": {"hint": "Allow it."}}
    for error in (blocked, {"code": "child_failed", "step": "call", "details": {"error": blocked}}):
        told = outcome_error({"id": "1", "status": "failed", "error": error})
        assert told is not None
        assert told.hint == "Allow it."
    answered = {"code": "http_status", "message": "answered 500", "details": {"status": 500, "body": "a\n" * 500}}
    told = outcome_error({"id": "1", "status": "failed", "error": answered})
    assert told is not None
    assert told.message.splitlines()[1].startswith("  it answered: a a a")
    assert len(told.message.splitlines()) == 2
    assert len(told.message) < 400
    assert told.hint == "flowgres executions show 1"


@pytest.mark.parametrize("error", [None, "text", [], {"details": "text"}, {"details": {"error": {"details": [1]}}}])
def test_error_of_any_shape_is_told(error: Any) -> None:
    assert outcome_error({"id": "1", "status": "failed", "error": error}) is not None


def test_skipped_steps_are_done() -> None:
    steps = (_step("a"), _step("b", "a", status="skipped"), _step("c", "a", status="cancelled"))
    assert Snapshot({"status": "completed"}, steps).done == 3
    assert Snapshot({"status": "failed"}, steps).done == 2
    head = _drawn(Snapshot({"workflow_name": "w", "version": 1, "status": "failed", "total_steps": 3}, steps))[0]
    assert " 2/3 " in head
