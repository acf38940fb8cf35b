"""Whole documents: all problems at once, with their places, codes and hints."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flowgres_definitions.checks import check_definition
from flowgres_definitions.loader import load_yaml
from flowgres_definitions.problems import Problem
from flowgres_definitions.validation import validate_document


def step(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "transform", "config": {"expression": "1"}, **more}


def condition(name: str, yes: list[str], no: list[str], **more: Any) -> dict[str, Any]:
    config = {"expression": "{{ input.x > 1 }}", "true_branch": yes, "false_branch": no}
    return {"id": name, "type": "condition", "config": config, **more}


def problems_of(*steps: Any, **more: Any) -> list[Problem]:
    return validate_document({"name": "w", "steps": list(steps), **more})


def told(*steps: Any, **more: Any) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in problems_of(*steps, **more)]


def test_documented_definition_is_valid() -> None:
    text = """
name: order_pipeline
version: "3"
description: Validate, score and ship an order
metadata: {team: orders}
triggers:
  - {type: webhook, path: orders, scheme: github, secret: ORDERS_HMAC}
  - {type: cron, cron: "0 6 * * 1-5", timezone: Europe/Berlin, catch_up: latest}
inputs:
  order_id: {type: string, required: true}
  customer: {type: string, required: true}
  amount:   {type: number, minimum: 0, default: 0}
  items:    {type: array, default: []}
settings:
  timeout: 3d
  priority: 5
  concurrency: {key: "$.customer", limit: 2, when_full: queue}
  correlation_id: "$.order_id"
  max_retries: 0
  retention: 30d
defaults:
  timeout: 30s
  retry: {attempts: 4, delay: 2s, factor: 2, max_delay: 5m, jitter: true}
steps:
  - id: validate
    type: transform
    config: {output: {total: "{{ input.amount }}", skus: "{{ input.items | map(attribute='sku') | list }}"}}
  - id: fraud
    type: http
    depends_on: [validate]
    config:
      method: POST
      url: https://fraud.example/score
      headers: {Authorization: "Bearer {{ secrets.FRAUD_KEY }}"}
      json: {order: "{{ input.order_id }}"}
      expected_status: [200]
    retry: {attempts: 6, errors: [timeout, connect, "429", "5xx"]}
    output: {score: "{{ response.body.score }}"}
    on_error: continue
  - id: route
    type: condition
    depends_on: [validate, fraud]
    config:
      expression: "{{ steps.validate.output.total > 100 }}"
      true_branch: [approve]
      false_branch: [auto_ok]
  - {id: approve, type: log, config: {message: "asked"}}
  - id: auto_ok
    type: log
    depends_on: [route]
    config: {level: info, message: "auto {{ input.order_id }}"}
  - id: ship
    type: sub_workflow
    depends_on: [approve, auto_ok]
    when: "{{ (steps.approve.output.decision | default('approved')) == 'approved' }}"
    config: {workflow: shipping, input: {order_id: "{{ input.order_id }}"}}
  - {id: cool, type: delay, depends_on: [ship], config: {seconds: 60}}
  - id: tell
    type: notify
    depends_on: [cool]
    join: always
    config: {channel: email, recipient: "{{ input.customer }}", message: "order: {{ steps.ship.status }}"}
outputs:
  shipment: "{{ steps.ship.output }}"
"""
    loaded = load_yaml(text)

    found = [(problem.path, problem.code) for problem in validate_document(loaded.document, loaded.positions)]
    assert found == []
    assert list(check_definition(loaded.document)) == []


def test_json_of_the_replaced_system_is_valid() -> None:
    document = {
        "name": "Order Pipeline",
        "trigger_type": "webhook",
        "webhook_secret": "my-secret",
        "steps": [
            {
                "id": "validate",
                "type": "transform",
                "config": {"expression": "Order #{{ trigger.payload.order_id }}"},
                "depends_on": [],
            },
            {
                "id": "check_amount",
                "type": "condition",
                "config": {
                    "expression": "{{ trigger.payload.amount > 100 }}",
                    "true_branch": ["high_value"],
                    "false_branch": ["standard"],
                },
                "depends_on": ["validate"],
            },
        ],
    }

    found = validate_document(document)

    # There a branch may lead nowhere; in our own words it would be a mistake.
    assert [(problem.path, problem.code, problem.severity) for problem in found] == [
        (f"steps[1].config.{branch}[0]", "unknown_branch_target", "warning")
        for branch in ("true_branch", "false_branch")
    ]
    assert '"check_amount" leads to "high_value"' in found[0].message
    assert "this branch ends here" in found[0].message
    del document["trigger_type"]
    assert [problem.code for problem in validate_document(document)] == ["unknown_step", "unknown_step"]


def test_header_of_a_workflow_is_accepted() -> None:
    header = {"name": "w", "version": 1, "metadata": {}}

    assert validate_document({"workflow": header, "steps": [step("a")]}) == []


def test_words_of_replaced_systems_are_accepted() -> None:
    steps = [
        {"name": "fetch", "task_type": "http_request", "url": "https://x.example/", "max_retries": 2, "step_order": 1},
        {
            "id": "check",
            "name": "Check it",
            "type": "conditional",
            "condition": {"field": "steps.fetch.output.status", "operator": "eq", "value": 200},
            "on_true": "done",
        },
        {"id": "done", "type": "log", "message": "ok", "timeout_seconds": 5},
    ]

    assert problems_of(*steps) == []


def test_a_dropped_branch_target_has_its_own_line_and_leaves_the_others_theirs() -> None:
    text = """
name: w
trigger_type: manual
steps:
- {id: b, type: log, config: {message: x}, step_order: 2}
- id: c
  type: conditional
  step_order: 1
  condition: "{{ input.x }}"
  on_true: ghost
  on_false:
  - wraith
  - c
"""
    loaded = load_yaml(text)

    found = [(p.path, p.code, p.line) for p in validate_document(loaded.document, loaded.positions)]

    assert found == [
        ("steps[1].on_true", "unknown_branch_target", 10),
        ("steps[1].on_false[0]", "unknown_branch_target", 12),
        ("steps[1].on_false[1]", "self_dependency", 13),
    ]


def test_moved_values_keep_the_place_where_they_were_written() -> None:
    text = "name: w\nsteps:\n- id: a\n  type: http_request\n  url: ftp://x\n  max_retries: many\n"
    loaded = load_yaml(text)

    found = {(problem.path, problem.line) for problem in validate_document(loaded.document, loaded.positions)}

    assert found == {("steps[0].url", 5), ("steps[0].max_retries", 6)}


def test_all_problems_are_told_at_once_in_the_order_of_the_text() -> None:
    text = """
name: w
stepz: []
steps:
  - id: A
    type: transform
    confg: {}
    config: {expression: "{{ inptu.x }}"}
  - id: b
    type: htp
    depends_on: [c]
    on_error: contine
"""
    loaded = load_yaml(text)

    found = validate_document(loaded.document, loaded.positions)

    assert [(problem.line, problem.code, problem.hint) for problem in found] == [
        (3, "unknown_key", 'Did you mean "steps"?'),
        (5, "invalid_name", "A lower-case letter, then letters, digits and _, 63 at most."),
        (7, "unknown_key", 'Did you mean "config"?'),
        (8, "expression_name", 'Did you mean "input"?'),
        (10, "unknown_step_type", 'Did you mean "http"?'),
        (11, "unknown_step", found[5].hint),
        (12, "unknown_word", 'Did you mean "continue"?'),
    ]
    told = 'w.yaml:3:1: stepz: the key "stepz" is not known here (Did you mean "steps"?)'
    assert found[0].describe("w.yaml") == told


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"config": {}}, "steps[0].config", "missing_key"),
        ({"config": {"expression": 1, "output": {}}}, "steps[0].config", "conflicting_keys"),
        ({"config": []}, "steps[0].config", "wrong_kind"),
        ({"id": "a\n"}, "steps[0].id", "invalid_name"),
        ({"id": "on"}, "steps[0].id", "reserved_name"),
        ({"id": 5}, "steps[0].id", "wrong_kind"),
        ({"timeout": "5 minutes"}, "steps[0].timeout", "duration_invalid"),
        ({"timeout": 0}, "steps[0].timeout", "out_of_range"),
        ({"retry": {"attempts": 0}}, "steps[0].retry.attempts", "out_of_range"),
        ({"retry": {"delay": "soon"}}, "steps[0].retry.delay", "duration_invalid"),
        ({"depends_on": {}}, "steps[0].depends_on", "wrong_kind"),
        ({"depends_on": ["a"]}, "steps[0].depends_on[0]", "self_dependency"),
        ({"when": "yes"}, "steps[0].when", "expression_not_boolean"),
        ({"when": "{{ input.a }} and {{ input.b }}"}, "steps[0].when", "expression_not_boolean"),
        ({"when": "{{ secrets.K }}"}, "steps[0].when", "secret_misuse"),
        ({"config": {"expression": "{{ secrets.K }}"}}, "steps[0].config.expression", "secret_misuse"),
        ({"config": {"expression": "{% if x %}"}}, "steps[0].config.expression", "expression_unsafe"),
        ({"config": {"output": {"a": ["{{ 1 + }}"]}}}, "steps[0].config.output.a[0]", "expression_syntax"),
        ({"config": {"expression": "{{ response.body }}"}}, "steps[0].config.expression", "expression_name"),
        ({"config": {"expression": "{{ steps.a.output }}"}}, "steps[0].config.expression", "reference_not_ancestor"),
        ({"output": "{{ response.body }}"}, "steps[0].output", "expression_name"),
    ],
)
def test_step_problem_has_path_and_code(changes: dict[str, Any], path: str, code: str) -> None:
    assert (path, code) in told({**step("a"), **changes})


@pytest.mark.parametrize(
    ("document", "path", "code"),
    [
        ({"steps": [step("a")]}, "name", "missing_key"),
        ({"name": "w"}, "steps", "missing_key"),
        ({"name": "w", "steps": []}, "steps", "no_steps"),
        ({"name": "w", "steps": {}}, "steps", "wrong_kind"),
        ({"name": "w", "steps": ["a"]}, "steps[0]", "wrong_kind"),
        ({"name": "w", "steps": [step("a")], "states": []}, "states", "conflicting_keys"),
        ({"name": "w", "states": []}, "states", "no_states"),
        ({"name": "a.b", "steps": [step("a")]}, "name", "invalid_name"),
        ({"name": "w", "version": 1.1, "steps": [step("a")]}, "version", "wrong_kind"),
        ({"name": "w", "steps": [step("a")], "outputs": {"x": "{{ steps.b.output }}"}}, "outputs.x", "unknown_step"),
        ({"name": "w", "steps": [step("a")], "cron_expression": "* *"}, "cron_expression", "cron_invalid"),
        ([], "", "wrong_kind"),
        (None, "", "wrong_kind"),
    ],
)
def test_document_problem_has_path_and_code(document: Any, path: str, code: str) -> None:
    assert (path, code) in [(problem.path, problem.code) for problem in validate_document(document)]


@pytest.mark.parametrize(
    ("path", "code"), [("{{ input.x }}", "expression_not_allowed"), ("input.x", "jsonpath_invalid")]
)
def test_jsonpath_settings_take_no_expression(path: str, code: str) -> None:
    assert told(step("a"), settings={"correlation_id": path}) == [("settings.correlation_id", code)]


def test_cron_trigger_is_checked() -> None:
    triggers = [{"type": "cron", "cron": "0 0 31 2 *", "timezone": "Mars/Olympus"}]

    assert told(step("a"), triggers=triggers) == [
        ("triggers[0].cron", "cron_invalid"),
        ("triggers[0].timezone", "timezone_unknown"),
    ]


@pytest.mark.parametrize("key", ["url", "headers", "query", "json", "body", "form", "auth"])
def test_secrets_may_be_named_in_what_an_http_step_sends(key: str) -> None:
    values: dict[str, Any] = {
        "url": "https://x.example/{{ secrets.K }}",
        "headers": {"a": "{{ secrets.K }}"},
        "auth": {"type": "bearer", "token": "{{ secrets.K }}"},
    }
    config = {"url": "https://x.example/", key: values.get(key, {"a": "{{ secrets.K }}"})}

    assert told({"id": "a", "type": "http", "config": config}) == []


def test_secrets_in_other_configuration_of_http_are_a_misuse() -> None:
    config = {"url": "https://x.example/", "method": "{{ secrets.K }}"}

    assert told({"id": "a", "type": "http", "config": config}) == [("steps[0].config.method", "secret_misuse")]


def test_custom_types_are_accepted_when_they_are_known() -> None:
    document = {"name": "w", "steps": [{"id": "a", "type": "fax", "config": {"number": 1}}]}

    assert [problem.code for problem in validate_document(document)] == ["unknown_step_type"]
    assert validate_document(document, custom_types=["fax"]) == []


def test_list_order_makes_ancestors_and_branches_are_joined() -> None:
    steps = [
        step("first"),
        condition("fork", ["left"], ["right"]),
        step("left", config={"expression": "{{ steps.first.output }}"}),
        step("right"),
        step("last", config={"expression": "{{ steps.left.output | default(steps.right.output) }}"}),
    ]

    assert problems_of(*steps) == []
    steps[2]["config"]["expression"] = "{{ steps.right.output }}"
    assert told(*steps) == [("steps[2].config.expression", "reference_not_ancestor")]


def test_listed_step_depends_on_its_condition() -> None:
    steps = [
        step("start", depends_on=[]),
        condition("fork", ["left"], [], depends_on=["start"]),
        step("left", config={"expression": "{{ steps.start.output }}"}),
    ]

    assert problems_of(*steps) == []


@pytest.mark.parametrize(
    ("yes", "no", "expected"),
    [
        (["ghost"], ["x"], ("steps[0].config.true_branch[0]", "unknown_step")),
        (["c"], ["x"], ("steps[0].config.true_branch[0]", "self_dependency")),
        (["x"], ["x"], ("steps[0].config.false_branch[0]", "ambiguous_branch")),
    ],
)
def test_branch_problem_has_path_and_code(yes: list[str], no: list[str], expected: tuple[str, str]) -> None:
    assert expected in told(condition("c", yes, no), step("x"))


def test_branch_to_an_ancestor_is_a_cycle() -> None:
    found = told(step("a", depends_on=[]), condition("c", ["a"], [], depends_on=["a"]))

    assert [code for _, code in found] == ["cycle"]


def test_cycle_is_told_with_its_path() -> None:
    steps = [step("a", depends_on=[]), step("b", depends_on=["a", "d"]), step("c", depends_on=["b"])]
    (problem,) = problems_of(*steps, step("d", depends_on=["c"]))

    assert "b -> c -> d -> b" in problem.message
    assert problem.path == "steps[1].depends_on"


def test_too_many_steps_are_told_fast_with_their_cycle() -> None:
    count = 10_000
    steps = [step(f"s{n}", depends_on=[f"s{(n + 1) % count}"]) for n in range(count)]
    started = time.process_time()

    found = problems_of(*steps)

    assert {problem.code for problem in found} == {"too_many_steps", "cycle"}
    assert all(len(problem.message) < 1000 for problem in found)
    assert time.process_time() - started < 1


def test_dense_graph_is_checked_in_time() -> None:
    steps = [step(f"s{n}", depends_on=[f"s{m}" for m in range(n)]) for n in range(49)]
    started = time.process_time()

    assert problems_of(*steps, step("repeated", depends_on=["s0", "s0"])) == []
    assert time.process_time() - started < 1
