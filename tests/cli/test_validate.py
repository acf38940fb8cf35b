"""`flowgres validate` and `flowgres schema`: no server is needed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flowgres_cli.definitions import DefinitionFile, in_dependency_order
from flowgres_definitions.dialects import translate

from .conftest import Flowgres

CASES = Path(__file__).parents[1] / "cases" / "cases.jsonl"
# What a start of the interpreter costs on a busy machine, on top of the case's own bound.
START_SECONDS = 4.0

GOOD = """\
name: greet
steps:
  - id: hello
    type: transform
    config: {expression: "Hello {{ input.name }}"}
"""


def _yaml_cases() -> list[Any]:
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    return [pytest.param(case, id=case["id"]) for case in cases if case["kind"] == "yaml"]


def _text_of(given: dict[str, Any]) -> str:
    if given.get("gen") == "yaml_nest":
        return f"name: w\nmeta: {given['open'] * given['n']}1{given['close'] * given['n']}\nsteps: []\n"
    if given.get("gen") == "yaml_text":
        return f"{given['prefix']}{given['unit'] * given['n']}{given['suffix']}"
    return str(given["yaml"])


@pytest.mark.parametrize("case", _yaml_cases())
def test_yaml_case(flowgres: Flowgres, write: Callable[..., Path], case: dict[str, Any]) -> None:
    write("case.yaml", _text_of(case["input"]))
    expectation = case["expectation"]
    began = time.monotonic()
    answer = flowgres("validate", "case.yaml")
    elapsed = time.monotonic() - began
    if "accept" in expectation["outcome"]:
        assert answer.code == 0, answer.err
        return
    assert answer.code == 4
    assert elapsed < START_SECONDS + expectation["max_ms"] / 1000
    assert "case.yaml:" in answer.err
    if expectation["line_number_in_message"]:
        assert any(finding["line"] and finding["column"] for finding in answer.json)
        assert f"case.yaml:{answer.json[0]['line']}:{answer.json[0]['column']}" in answer.err


def test_valid_file_is_exit_0(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("greet.yaml", GOOD)
    answer = flowgres("validate", "greet.yaml")
    assert (answer.code, answer.json) == (0, [])
    assert "1 file valid" in answer.err


def test_what_no_file_can_tell_is_said(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    calls = """\
name: caller
steps:
  - {id: here, type: sub_workflow, config: {workflow: greet}}
  - {id: there, type: sub_workflow, config: {workflow: elsewhere}}
  - {id: any, type: sub_workflow, config: {workflow: "{{ input.name }}"}}
  - {id: send, type: http, config: {url: "https://x.example", headers: {Key: "{{ secrets.SHOP_KEY }}"}}}
"""
    write("greet.yaml", GOOD.replace("hello", "greet"))
    write("caller.yaml", calls)
    answer = flowgres("validate", "greet.yaml", "caller.yaml")
    assert answer.code == 0
    assert "whether the workflow elsewhere and the secret SHOP_KEY are there: --server asks it" in answer.err
    assert "Only a server" not in flowgres("validate", "greet.yaml").err


def test_every_problem_is_told_at_once_with_its_place(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    text = GOOD.replace("hello", "Hello").replace("}}", "") + "  - {id: b, type: transfrom, config: {}}\n"
    write("greet.yaml", text)
    answer = flowgres("validate", "greet.yaml")
    assert answer.code == 4
    assert {finding["line"] for finding in answer.json} >= {3, 5, 6}
    assert "transform" in answer.err
    for finding in answer.json:
        assert f"greet.yaml:{finding['line']}:{finding['column']}: " in answer.err


def test_unknown_key_comes_with_a_suggestion(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("greet.yaml", GOOD.replace("config:", "confg:"))
    answer = flowgres("validate", "greet.yaml")
    assert answer.code == 4
    assert '"config"' in answer.err


def test_stdin_is_read_for_a_dash(flowgres: Flowgres) -> None:
    assert flowgres("validate", "-", stdin=GOOD).code == 0
    broken = flowgres("validate", "-", stdin="name: [w\n")
    assert broken.code == 4
    assert "stdin:2:1" in broken.err


def test_directory_is_walked_for_definitions_alone(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("flows/a.yaml", GOOD)
    write("flows/deep/b.yml", GOOD)
    write("flows/c.json", json.dumps({"name": "c", "steps": [{"id": "x", "type": "delay", "config": {"seconds": 1}}]}))
    write("flows/input.json", '{"order_id": "1"}')
    write("flows/notes.txt", "no definition")
    write("flows/.hidden/d.yaml", "[")
    write("flows/broken.json", '{"name": "e", "steps": [}')
    answer = flowgres("validate", "flows")
    assert answer.code == 4
    assert {finding["file"] for finding in answer.json} == {"flows/broken.json"}
    assert "4 files" in answer.err


def test_json_in_a_directory_is_taken_when_it_looks_like_a_definition(
    flowgres: Flowgres, write: Callable[..., Path]
) -> None:
    step = {"id": "x", "type": "delay", "config": {"seconds": 1}}
    write("flows/nameless.json", json.dumps({"steps": [step]}))
    write("flows/machine.json", json.dumps({"states": []}))
    write("flows/header.json", json.dumps({"workflow": {"name": "w"}}))
    write("flows/expected.json", json.dumps({"status": "completed", "steps": {"x": {"status": "completed"}}}))
    write("flows/call.json", json.dumps({"workflow": "w", "input": {}}))
    write("flows/list.json", json.dumps([{"steps": []}]))
    answer = flowgres("validate", "flows")
    assert answer.code == 4
    assert {finding["file"] for finding in answer.json} == {
        f"flows/{name}.json" for name in ("nameless", "machine", "header")
    }


def test_foreign_yaml_in_a_directory_is_passed_over_and_said(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("flows/greet.yaml", GOOD)
    write("flows/docker-compose.yml", "services:\n  db: {image: postgres}\n")
    write("flows/ci.yaml", "name: ci\non: push\njobs:\n  test:\n    steps:\n      - run: x\n")
    write("flows/values.yaml", "a: &x 1\nb: *x\n--- \nc: [")
    answer = flowgres("validate", "flows")
    assert answer.code == 0, answer.err
    assert "flows/ci.yaml, flows/docker-compose.yml, flows/values.yaml" in answer.err
    assert "1 file valid" in answer.err
    # What is named is checked.
    assert flowgres("validate", "flows/ci.yaml").code == 4


def test_broken_workflow_in_a_directory_is_told(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("flows/a.yaml", "name: a\nsteps:\n  - {id: x, type: log, config: {message: {{ input.x }}}}\n")
    answer = flowgres("validate", "flows")
    assert answer.code == 4
    assert "flows/a.yaml:3:" in answer.err
    assert "quote it" in answer.err


def test_examples_are_valid_as_a_directory(flowgres: Flowgres) -> None:
    answer = flowgres("validate", str(Path(__file__).parents[2] / "examples"))
    assert answer.code == 0, answer.err


MACHINE = """\
workflow:
  name: order_state
  version: "1.0"
triggers: [{type: webhook, secret: KEY}]
states:
  - {name: new, initial: true}
  - name: open
    sla: {after: soon, to: clsoed}
  - {name: closed, final: true, colour: red}
transitions:
  - {from: new, to: open}
  - from: opne
    to: closed
    enforce: true
"""


def test_what_is_wrong_in_a_machine_is_told_where_it_stands(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("flows/machine.yaml", MACHINE)
    answer = flowgres("validate", "flows")
    assert answer.code == 4
    assert [(one["line"], one["column"], one["path"], one["code"]) for one in answer.json] == [
        (4, 1, "triggers", "conflicting_keys"),
        (8, 11, "states[1].sla.after", "duration_invalid"),
        (8, 24, "states[1].sla.to", "unknown_state"),
        (9, 33, "states[2].colour", "unknown_key"),
        (12, 5, "transitions[1].from", "unknown_state"),
        (14, 5, "transitions[1].enforce", "nothing_to_enforce"),
    ]
    assert 'no state is called "opne" (Did you mean "open"?)' in answer.err


def test_what_only_a_server_can_tell_of_a_machine_is_said(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    ways = '{from: a, to: b, guard: "$.metadata.amount <", start: {workflow: ship}}'
    write("m.yaml", f"name: m\nstates:\n  - {{name: a, initial: true}}\n  - {{name: b}}\ntransitions:\n  - {ways}\n")
    answer = flowgres("validate", "m.yaml")
    assert answer.code == 0
    assert "Only a server can tell whether the workflow ship is there" in answer.err
    assert "Only a server can read the guards of transitions" in answer.err


def test_odd_machines_are_valid_with_warnings(flowgres: Flowgres) -> None:
    answer = flowgres("validate", str(Path(__file__).parents[2] / "examples" / "order_state_machine"))
    assert answer.code == 0
    assert [(one["code"], one["severity"]) for one in answer.json] == [
        ("leaves_final_state", "warning"),
        ("repeated_transition", "warning"),
    ]
    assert "1 file valid, 2 warnings" in answer.err


def test_a_workflow_goes_before_the_machine_that_starts_it() -> None:
    ways = [{"from": "a", "to": "b", "start": {"workflow": "ship"}}]
    first = DefinitionFile("m.yaml", b"", translate({"name": "m", "states": [], "transitions": ways}), {})
    second = DefinitionFile("ship.yaml", b"", translate({"name": "ship", "steps": []}), {})
    assert [one.name for one in in_dependency_order([first, second])] == ["ship", "m"]


def test_a_machine_goes_before_the_workflow_that_moves_it() -> None:
    step = {"id": "a", "type": "transition", "config": {"workflow": "m"}}
    first = DefinitionFile("a.yaml", b"", translate({"name": "a", "steps": [step]}), {})
    second = DefinitionFile("m.yaml", b"", translate({"name": "m", "states": []}), {})
    assert [one.name for one in in_dependency_order([first, second])] == ["m", "a"]


def test_documented_json_of_the_replaced_system_is_valid_with_warnings(flowgres: Flowgres) -> None:
    answer = flowgres("validate", str(CASES.parent / "documents" / "a_order_pipeline.json"))
    assert answer.code == 0, answer.err
    assert [(finding["code"], finding["severity"], finding["line"]) for finding in answer.json] == [
        ("unknown_branch_target", "warning", 4)
    ] * 2
    assert "this branch ends here" in answer.err


def test_directory_without_definitions_is_exit_2(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("flows/notes.txt", "nothing")
    assert flowgres("validate", "flows").code == 2


def test_file_that_cannot_be_decoded_says_where(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("greet.yaml", GOOD.encode() + b"# \xff\n")
    answer = flowgres("validate", "greet.yaml")
    assert answer.code == 4
    assert "greet.yaml:6:" in answer.err


def test_schema_is_one_that_accepts_a_good_definition(flowgres: Flowgres) -> None:
    schema = flowgres("schema").json
    Draft202012Validator.check_schema(schema)
    document = {"name": "greet", "steps": [{"id": "a", "type": "delay", "config": {"seconds": 1}}]}
    assert Draft202012Validator(schema).is_valid(document)
    assert not Draft202012Validator(schema).is_valid({"name": "greet", "steps": "none"})


def _definition(name: str, *calls: str) -> DefinitionFile:
    steps = [{"id": f"s{n}", "type": "sub_workflow", "config": {"workflow": call}} for n, call in enumerate(calls)]
    return DefinitionFile(f"{name}.yaml", b"", translate({"name": name, "steps": steps}), {})


def test_sub_workflows_go_before_their_callers() -> None:
    given = [_definition("top", "mid-way"), _definition("mid-way", "leaf"), _definition("other"), _definition("leaf")]
    assert [one.name for one in in_dependency_order(given)] == ["leaf", "mid-way", "top", "other"]


def test_workflows_that_call_each_other_are_all_kept() -> None:
    given = [_definition("a", "b"), _definition("b", "a", "elsewhere")]
    assert {one.name for one in in_dependency_order(given)} == {"a", "b"}


def test_a_thousand_nested_workflows_do_not_exhaust_the_stack() -> None:
    given = [_definition(f"w{n}", f"w{n + 1}") for n in range(3000)]
    assert in_dependency_order(given)[0].name == "w2999"
