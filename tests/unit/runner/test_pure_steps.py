"""Pure step types: the configuration as rendered, the outcome."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from flowgres_definitions.validation import validate_document
from flowgres_runner.steps.base import (
    ChildStarted,
    Completed,
    Failed,
    Handler,
    Json,
    Outcome,
    StepError,
    StepTask,
    Suspended,
    TransitionAsked,
)
from flowgres_runner.steps.condition import ConditionHandler, compare, field_of, with_field
from flowgres_runner.steps.delay import DelayHandler
from flowgres_runner.steps.log import LogHandler
from flowgres_runner.steps.sub_workflow import SubWorkflowHandler
from flowgres_runner.steps.switch import SwitchHandler
from flowgres_runner.steps.transform import TransformHandler
from flowgres_runner.steps.transition import TransitionHandler
from tests.cases import load_durations

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VALID, INVALID = load_durations()


def run(handler: Handler, config: Json, resume: Json = None) -> Outcome:
    return handler.run_now(StepTask("t", "x", "s", None, 1, config, 1, resume))


def code(outcome: Outcome) -> str:
    assert isinstance(outcome, Failed)
    return outcome.error.code


def test_transform_edits_a_copy_of_its_source() -> None:
    source: dict[str, Json] = {"a": {"b": 1}, "c": 2, "d": 3}
    edits: list[Json] = [
        {"op": "rename", "from": "c", "to": "e.f"},
        {"op": "extract", "from": "a.b", "to": "g"},
        {"op": "set", "field": "h", "value": [1]},
        {"op": "delete", "field": "d"},
    ]
    assert run(TransformHandler(), {"source": source, "transforms": edits}) == Completed(
        {"a": {"b": 1}, "e": {"f": 2}, "g": 1, "h": [1]}
    )
    assert source == {"a": {"b": 1}, "c": 2, "d": 3}


def test_transform_says_which_edit_is_wrong() -> None:
    outcome = run(TransformHandler(), {"transforms": [{"op": "rename", "from": "a", "to": "b"}]})
    assert isinstance(outcome, Failed)
    assert outcome.error.message == "transforms[0] finds no field 'a'"
    assert code(run(TransformHandler(), {})) == "config_invalid"


@pytest.mark.parametrize(
    ("actual", "operator", "expected", "answer"),
    [
        (1, "eq", 1.0, True),
        (True, "eq", 1, False),
        ("a", "ne", "b", True),
        (2, "gt", 1, True),
        (2, "lte", 2, True),
        ("b", "gte", "a", True),
        (2, "in", [1, 2], True),
        ([1, 2], "contains", 3, False),
        ("abc", "contains", "bc", True),
        ({"k": 1}, "contains", "k", True),
        ("abc", "matches_prefix", "ab", True),
        (None, "exists", True, True),
        (None, "exists", False, False),
    ],
)
def test_condition_compares(actual: Json, operator: str, expected: Json, answer: bool) -> None:
    assert compare({"found": True, "value": actual}, operator, expected) is answer


@pytest.mark.parametrize(("operator", "value"), [("gt", "text"), ("in", 5), ("contains", 1)])
def test_condition_refuses_questions_without_sense(operator: str, value: Json) -> None:
    assert isinstance(compare({"found": True, "value": 1}, operator, value), str)


def test_condition_field_is_looked_up_in_the_context_then_in_the_input() -> None:
    context: dict[str, Any] = {"input": {"amount": 5, "items": [{"sku": "x"}]}, "steps": {}}
    for path, value in (("input.amount", 5), ("amount", 5), ("input.items.0.sku", "x")):
        assert field_of({"field": path}, context) == [value]
    assert field_of({"field": "steps.a.output"}, context) == []
    assert with_field({"field": "amount"}, [5])["found"] == {"found": True, "value": 5}
    assert with_field({"field": "amount"}, [])["found"] == {"found": False, "value": None}
    assert compare({"found": False}, "exists", None) is False


def test_condition_wants_a_boolean() -> None:
    branches: dict[str, Json] = {"true_branch": ["a"], "false_branch": []}
    assert run(ConditionHandler(), {"expression": True, **branches}) == Completed(
        {"result": True, "branch": "true"}, taken=("a",)
    )
    assert run(ConditionHandler(), {"expression": False, **branches}) == Completed(
        {"result": False, "branch": "false"}, taken=()
    )
    assert code(run(ConditionHandler(), {"expression": 1, **branches})) == "expression_not_boolean"


@pytest.mark.parametrize(
    ("value", "branch", "taken"),
    [
        ("a", "case 1", ("x",)),
        (1, "case 2", ("x", "y")),
        (1.0, "case 2", ("x", "y")),
        (True, "case 3", ()),
        ({"b": [None]}, "case 4", ("y",)),
        (None, "default", ("z",)),
        ("1", "default", ("z",)),
        ({"b": [None, 1]}, "default", ("z",)),
    ],
)
def test_switch_takes_the_first_case_that_equals(value: Json, branch: str, taken: tuple[str, ...]) -> None:
    cases: list[Json] = [
        {"equals": "a", "next": ["x"]},
        {"equals": 1, "next": ["x", "y"]},
        {"equals": True, "next": []},
        {"equals": {"b": [None]}, "next": ["y"]},
        {"equals": "a", "next": ["late"]},
    ]
    outcome = run(SwitchHandler(), {"value": value, "cases": cases, "default": ["z"]})
    assert outcome == Completed({"value": value, "branch": branch}, taken=taken)


def test_switch_without_a_default_takes_nothing_else() -> None:
    outcome = run(SwitchHandler(), {"value": 2, "cases": [{"equals": 1, "next": ["x"]}]})
    assert outcome == Completed({"value": 2, "branch": "default"}, taken=())
    assert code(run(SwitchHandler(), {"value": 2})) == "config_invalid"


@pytest.mark.parametrize(("written", "seconds"), VALID)
def test_duration_is_taken_in_a_file_and_from_a_template(written: Json, seconds: str) -> None:
    outcome = run(DelayHandler(lambda: NOW), {"duration": written})
    assert outcome == Suspended(float(seconds))
    assert validate_document(_delay({"duration": written})) == []


@pytest.mark.parametrize("written", [*INVALID, float("nan"), float("inf"), 1e12])
def test_what_is_no_duration_is_refused_in_a_file_and_from_a_template(written: Json) -> None:
    assert code(run(DelayHandler(lambda: NOW), {"duration": written})) == "config_invalid"
    if not isinstance(written, float) or math.isfinite(written):
        assert validate_document(_delay({"duration": written}))


MOMENTS = (
    "2027-01-31",
    "2027-01-31T12:00",
    "2027-01-31 12:00:05.5Z",
    "2027-01-31T12:00:00+02:00",
    "2027-01-31T12:00+0530",
)
NO_MOMENTS = (
    "tomorrow",
    "2027-02-30",
    "20270131",
    "2027-W01",
    "2027-01-31T25:00",
    "2027-01-31T24:00",
    "12:00",
    " 2027-01-31",
)


@pytest.mark.parametrize("written", MOMENTS + NO_MOMENTS)
def test_time_is_the_same_in_a_file_and_from_a_template(written: str) -> None:
    is_taken = isinstance(run(DelayHandler(lambda: NOW), {"until": written}), Suspended)
    assert is_taken == (written in MOMENTS)
    assert (validate_document(_delay({"until": written})) == []) == is_taken


def _delay(config: Json) -> Json:
    return {"name": "w", "steps": [{"id": "a", "type": "delay", "config": config}]}


def test_delay_suspends_first_and_completes_when_it_is_resumed() -> None:
    handler = DelayHandler(lambda: NOW)
    assert run(handler, {"seconds": 5}) == Suspended(5.0)
    assert run(handler, {"seconds": 5}, resume={}) == Completed({"seconds": 5})
    assert run(handler, {"until": "2026-01-01T00:01:00Z"}) == Suspended(60.0)
    assert run(handler, {"until": "2026-01-01T00:01:00"}) == Suspended(60.0)
    assert run(handler, {"until": "2025-01-01T00:00:00Z"}) == Suspended(0.0)
    assert code(run(handler, {"until": "tomorrow"})) == "config_invalid"
    assert code(run(handler, {"seconds": "soon"})) == "config_invalid"


def test_sub_workflow_starts_a_child_and_takes_its_end() -> None:
    handler = SubWorkflowHandler()
    assert run(handler, {"workflow": "w", "input": {"a": 1}}) == ChildStarted("w", None, {"a": 1})
    done: Json = {"status": "completed", "output": 5, "error": None, "execution_id": "y"}
    assert run(handler, None, resume=done) == Completed(5, detail={"execution_id": "y"})
    assert code(run(handler, None, resume={"status": "cancelled", "execution_id": "y"})) == "child_cancelled"
    assert code(run(handler, {"workflow": 5})) == "config_invalid"


def test_sub_workflow_whose_child_took_too_long_has_timed_out() -> None:
    outcome = run(SubWorkflowHandler(), None, resume={"status": "timed_out", "execution_id": "y"})
    assert outcome == Failed(
        StepError("step_timeout", "the sub-workflow took longer than 1 s", "timeout"), detail={"execution_id": "y"}
    )


def test_transition_asks_for_the_move_and_takes_what_came_of_it() -> None:
    handler = TransitionHandler()
    wanted: Json = {"instance": "00000000-0000-0000-0000-000000000001", "to": "paid"}
    assert run(handler, wanted) == TransitionAsked(wanted)
    assert run(handler, None, resume={"status": "moved", "output": {"to_state": "paid"}}) == Completed(
        {"to_state": "paid"}
    )
    assert code(run(handler, {"instance": "x", "to": "paid"})) == "config_invalid"
    assert code(run(handler, {"to": "paid"})) == "config_invalid"


def test_log_writes_a_line() -> None:
    assert run(LogHandler(), {"message": {"a": 1}}) == Completed(
        {"level": "info", "message": '{"a":1}'}, logs=(("info", '{"a":1}'),)
    )
    assert code(run(LogHandler(), {"level": "loud", "message": "x"})) == "config_invalid"
