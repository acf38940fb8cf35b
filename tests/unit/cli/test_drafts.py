"""What a recording can say of another version of its workflow, and what it cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flowgres_cli.errors import CliError
from flowgres_cli.testing.cases import Outcome
from flowgres_cli.testing.drafts import find_obstacle, record_for, unanswered
from flowgres_cli.testing.recording import Run

Json = Any
HTTP: Json = {"id": "ask", "type": "http", "config": {"url": "https://example.com"}, "output": "{{ response.body }}"}
CHECK: Json = {
    "id": "check",
    "type": "condition",
    "depends_on": ["ask"],
    "config": {"expression": "{{ true }}", "true_branch": ["end"], "false_branch": []},
}
END: Json = {"id": "end", "type": "transform", "depends_on": ["check"], "config": {"expression": "1"}}


def workflow(*steps: Json) -> Json:
    return {"name": "drafted", "steps": list(steps)}


def step(name: str, kind: str, output: Json = None, **more: Json) -> Json:
    return {
        "step": name, "type": kind, "status": "completed", "output": output, "error": None, "attempts": 1,
        "reused_from": None, **more,
    }  # fmt: skip


def run(*steps: Json, **more: Json) -> Run:
    began = "2026-11-01T12:00:00+00:00"
    execution = {
        "id": "0193", "workflow_name": "drafted", "version": 1, "status": "completed", "generation": 1, "input": {},
        "output": {"n": 1}, "error": None, "created_at": began, "started_at": began, "trigger_type": "api",
        "instance_id": None, "steps": list(steps), **more,
    }  # fmt: skip
    attempts = [
        {"step": one["step"], "iteration": None, "attempt": 1, "status": one["status"], "error": None, "detail": None}
        for one in steps
    ]
    return Run(execution, attempts, [], workflow(HTTP, CHECK, END))


RUN = run(step("ask", "http", {"n": 1}), step("check", "condition", {"branch": "true"}), step("end", "transform", 1))


def test_answers_go_with_a_draft_that_asks_the_same() -> None:
    recorded = record_for(RUN, workflow(HTTP, CHECK, END), "draft.json")
    case = recorded.document["cases"][0]
    assert case["mocks"] == [{"step": "ask", "output": {"n": 1}}]
    assert case["expect"]["branches"] == {"check": "true"}
    assert recorded.mocked == frozenset({"ask"})
    assert list(recorded.differences) == []


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"output": "{{ response.status }}"}, id="another output of an answer that is not stored"),
        pytest.param({"type": "transform", "config": {"expression": "1"}, "output": None}, id="a step that computes"),
        pytest.param({"id": "other"}, id="another step"),
    ],
)
def test_answers_do_not_go_with_a_step_that_is_another_one(changed: Json) -> None:
    ask = {key: value for key, value in {**HTTP, **changed}.items() if value is not None}
    recorded = record_for(RUN, workflow(ask), "draft.json")
    assert "mocks" not in recorded.document["cases"][0]
    assert not recorded.mocked


def test_steps_and_branches_that_are_gone_differ_already() -> None:
    switch = {**CHECK, "type": "switch", "config": {"value": 1, "cases": [{"equals": 1, "next": []}]}}
    recorded = record_for(RUN, workflow(HTTP, switch), "draft.json")
    assert {one["what"] for one in recorded.differences} == {"steps.end", "branches.check"}


def test_masked_values_are_told() -> None:
    masked = run(step("ask", "http", {"token": "***"}))
    assert "masked" in record_for(masked, workflow(HTTP), "draft.json").notes[0]


def test_step_without_an_answer_is_unknown_unless_it_sent_nothing_then_either() -> None:
    draft = workflow(HTTP, {**HTTP, "id": "more"})
    recorded = record_for(RUN, draft, "draft.json")

    def reasons(real: Run, *steps: Json) -> tuple[str, ...]:
        return unanswered(recorded, real, draft, Outcome(execution={"steps": list(steps)}))

    assert reasons(RUN, step("ask", "http"), step("more", "http", status="cancelled", attempts=0)) == ()
    assert "more" in reasons(RUN, step("ask", "http"), step("more", "http"))[0]
    broken = step("more", "http", status="failed", error={"code": "expression_failed"})
    assert reasons(run(broken), broken) == ()
    assert reasons(run(broken), {**broken, "error": {"code": "request_not_mocked"}}) != ()


def test_what_a_case_begins_without_is_in_the_way() -> None:
    draft = workflow({**END, "config": {"expression": "{{ trigger.payload.n }}"}})
    assert find_obstacle(RUN, draft) is None
    assert "webhook" in str(find_obstacle(run(trigger_type="webhook"), draft))
    assert find_obstacle(run(trigger_type="webhook"), workflow(END)) is None
    for text in (
        "{{ trigger }}",
        "{{ trigger | tojson }}",
        "{{ {'a': {}}.a or trigger.n }}",
        "{{ '}' ~ trigger['n'] }}",
    ):
        looking = workflow({**END, "config": {"expression": text}})
        assert "webhook" in str(find_obstacle(run(trigger_type="webhook"), looking)), text
    for text in ("trigger.n", "{{ 'trigger.n' }}", "{{ input.trigger.n }}", "the {{ of trigger.n"):
        assert find_obstacle(run(trigger_type="webhook"), {**workflow(END), "description": text}) is None, text


def test_repaired_and_retried_runs_are_not_recorded() -> None:
    for other, word in ((replace(RUN, is_repaired=True), "repaired"), (run(generation=2), "was retried,")):
        with pytest.raises(CliError, match=word) as caught:
            record_for(other, workflow(HTTP, CHECK, END), "draft.json")
        assert caught.value.code == "execution_not_recordable"


def test_forks_say_nothing() -> None:
    fork = run(step("ask", "http", reused_from="0192"), replayed_from="0192")
    assert "0192" in str(find_obstacle(fork, workflow(END)))
