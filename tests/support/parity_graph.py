"""Definitions with joins that count, steps that cancel or end others, and what is for failures; see `parity`."""

from __future__ import annotations

from typing import Any

from tests.support.definitions import listed_step, log_step, workflow

Definition = dict[str, Any]
Said = dict[str, str]

SECRET = "{{ secrets.KEY }}"
CALL = {"type": "http", "config": {"url": f"https://x.example/{SECRET}"}}


def logs(step_id: str, message: str = "x", **changes: Any) -> Definition:
    """A step that logs, and says nothing of its dependencies."""
    return listed_step(step_id, config={"message": message}, **changes)


def joined(join: Any, **more: Any) -> Definition:
    """A workflow whose last step joins two others."""
    return workflow(log_step("a"), log_step("b"), log_step("c", "a", "b", join=join, **more))


def undone(**members: Any) -> Definition:
    """A workflow of one step with a compensation that logs, with other members."""
    return workflow(log_step("a", compensate={"type": "log", "config": {"message": "x"}} | members))


def late(*steps: Any) -> Definition:
    """A workflow of one step, with steps for failures."""
    return workflow(log_step("a"), on_failure=list(steps))


def stop(**config: Any) -> Definition:
    """A workflow of one step that ends it."""
    return workflow({"id": "a", "type": "stop", "config": config})


def each(foreach: Any, **changes: Any) -> Definition:
    """A workflow of one step that logs each item."""
    return workflow(logs("a", "{{ item }}", foreach=foreach, **changes))


def rounds(repeat: Any, **changes: Any) -> Definition:
    """A workflow of one step that logs round after round."""
    return workflow(logs("a", "{{ round }} {{ previous }}", repeat=repeat, **changes))


def condition(expression: Any) -> Definition:
    """A workflow of one step that decides nothing."""
    return workflow({"id": "a", "type": "condition", "config": {"expression": expression}})


def calls(**config: Any) -> Definition:
    """A workflow of one step that calls another."""
    return workflow({"id": "a", "type": "sub_workflow", "config": {"workflow": "{{ input.name }}"} | config})


# A line each, as a table.
# fmt: off
GRAPH: list[tuple[Definition, Said]] = [
    *((workflow(first, {"id": "b", "type": "log", "config": {"message": "x"}, "join": "all"}),
        {"steps[1].join": "join_without_dependencies"} | said) for first, said in (
            ({"type": "log", "config": {"message": "x"}}, {"steps[0].id": "missing_key"}),
            ({"id": 5, "type": "log", "config": {"message": "x"}}, {"steps[0].id": "wrong_kind"}),
            ([], {"steps[0]": "wrong_kind"}))),
    (joined({"at_least": 1}), {}),
    (joined({"at_least": 2, "rest": "cancel"}), {}),
    (joined({"at_least": 2.0}), {}),
    (joined({"at_least": 3}), {"steps[2].join.at_least": "join_out_of_reach"}),
    (joined({"at_least": 0}), {"steps[2].join.at_least": "out_of_range"}),
    (joined({"at_least": "2"}), {"steps[2].join.at_least": "wrong_kind"}),
    (joined({"at_least": 1, "rest": "stop"}), {"steps[2].join.rest": "unknown_word"}),
    (joined({"rest": "cancel"}), {"steps[2].join.at_least": "missing_key"}),
    (joined({"at_least": 1, "count": 2}), {"steps[2].join.count": "unknown_key"}),
    (joined("most"), {"steps[2].join": "unknown_word"}),
    (joined(2), {"steps[2].join": "wrong_kind"}),
    (workflow(log_step("a", join={"at_least": 1}, depends_on=[])), {"steps[0].join": "join_without_dependencies"}),
    (workflow(log_step("a"), logs("b", depends_on={}, join={"at_least": 1})), {"steps[1].depends_on": "wrong_kind"}),
    (joined("any", cancels=["a", "b"]), {}),
    (joined("any", cancels="a"), {}),
    (joined("any", cancels=["z"]), {"steps[2].cancels[0]": "unknown_step"}),
    (joined("any", cancels=["a", "c"]), {"steps[2].cancels[1]": "self_cancel"}),
    (joined("any", cancels=[1]), {"steps[2].cancels[0]": "wrong_kind"}),
    (stop(), {}),
    (stop(status="failed", output={"n": "{{ input.n }}"}, message="{{ input.why }}"), {}),
    (stop(status="done"), {"steps[0].config.status": "unknown_word"}),
    (stop(reason="x"), {"steps[0].config.reason": "unknown_key"}),
    (workflow({"id": "a", "type": "stop", "output": 1}), {"steps[0]": "output_not_allowed"}),
    (stop(output="{{ nothing }}"), {"steps[0].config.output": "expression_name"}),
    (each({"items": [1, 2]}), {}),
    (rounds({"until": "{{ round > 2 and output.n == previous.n }}", "max_times": 5, "delay": "1m"}), {}),
    (rounds({"until": "{{ item_index == round }}"}, foreach={"items": [1]}, output="{{ previous }} {{ output }}"), {}),
    (rounds({}), {"steps[0].repeat.until": "missing_key"}),
    (rounds(3), {"steps[0].repeat": "wrong_kind"}),
    (rounds({"until": True}), {"steps[0].repeat.until": "wrong_kind"}),
    (rounds({"until": ["{{ steps.b.output }}"]}), {"steps[0].repeat.until": "wrong_kind"}),
    (rounds({"until": "done"}), {"steps[0].repeat.until": "expression_not_boolean"}),
    (rounds({"until": "{{ round }} or more"}), {"steps[0].repeat.until": "expression_not_boolean"}),
    (rounds({"until": "{{ response.status == 200 }}"}), {"steps[0].repeat.until": "expression_name"}),
    (rounds({"until": "{{ steps.b.output }}"}), {"steps[0].repeat.until": "unknown_step"}),
    (rounds({"until": f"{SECRET}"}), {"steps[0].repeat.until": "secret_misuse"}),
    (rounds({"until": "{{ true }}", "max_times": 0}), {"steps[0].repeat.max_times": "out_of_range"}),
    (rounds({"until": "{{ true }}", "max_times": 10001}), {"steps[0].repeat.max_times": "out_of_range"}),
    (rounds({"until": "{{ true }}", "delay": "soon"}), {"steps[0].repeat.delay": "duration_invalid"}),
    (rounds({"until": "{{ true }}", "times": 2}), {"steps[0].repeat.times": "unknown_key"}),
    (rounds({"until": "{{ true }}"}, when="{{ round == 1 }}"), {"steps[0].when": "expression_name"}),
    (condition(["{{ input.x }}"]), {"steps[0].config.expression": "wrong_kind"}),
    (condition("{{ input.x }}"), {}),
    (workflow(logs("a", "{{ previous }}")), {"steps[0].config.message": "expression_name"}),
    (workflow({"id": "a", "type": "stop", "repeat": {"until": "{{ true }}"}}), {"steps[0]": "repeat_not_allowed"}),
    (each({"items": "{{ input.rows }}", "max_parallel": 5, "tolerate": "10%", "at_least": 2, "rest": "cancel"}), {}),
    (each({"items": "{{ input.rows }}", "tolerate": 3}, output={"n": "{{ item_index }} {{ output }}"}), {}),
    (each({}), {"steps[0].foreach.items": "missing_key"}),
    (each([1, 2]), {"steps[0].foreach": "wrong_kind"}),
    (each({"items": 5}), {"steps[0].foreach.items": "wrong_kind"}),
    (each({"items": "rows"}), {"steps[0].foreach.items": "wrong_kind"}),
    (each({"items": "{{ item }}"}), {"steps[0].foreach.items": "expression_name"}),
    (each({"items": "{{ steps.b.output }}"}), {"steps[0].foreach.items": "unknown_step"}),
    (each({"items": SECRET}), {"steps[0].foreach.items": "secret_misuse"}),
    (each({"items": []}, when="{{ item == 1 }}"), {"steps[0].when": "expression_name"}),
    (each({"items": [], "max_parallel": 0}), {"steps[0].foreach.max_parallel": "out_of_range"}),
    (each({"items": [], "tolerate": "half"}), {"steps[0].foreach.tolerate": "invalid_text"}),
    (each({"items": [], "tolerate": "101%"}), {"steps[0].foreach.tolerate": "invalid_text"}),
    (each({"items": [], "rest": "cancel"}), {"steps[0].foreach.at_least": "missing_key"}),
    (workflow({"id": "a", "type": "stop", "foreach": {"items": []}}), {"steps[0]": "foreach_not_allowed"}),
    (each({"items": []}, compensate={"type": "log", "config": {"message": "{{ item }} {{ error.step }}"}}), {}),
    (each({"items": []}, compensate={"type": "log", "config": {"message": "{{ items }}"}}),
        {"steps[0].compensate.config.message": "expression_name"}),
    (calls(detach=True), {}),
    (calls(detach="yes"), {"steps[0].config.detach": "wrong_kind"}),
    (undone(), {}),
    (undone(timeout="30s", retry=5, description="x"), {}),
    (undone(type="switch", config={"value": 1, "cases": [{"equals": 1, "next": []}]}),
        {"steps[0].compensate.type": "type_not_allowed"}),
    (undone(type="stop"), {"steps[0].compensate.type": "type_not_allowed"}),
    (undone(type="transition", config={"instance": "{{ input.i }}", "to": "new"}), {}),
    (undone(type="wait", config={"signal": "go"}), {}),
    (undone(type="scan_invoice"), {"steps[0].compensate.type": "unknown_step_type"}),
    (undone(config={}), {"steps[0].compensate.config.message": "missing_key"}),
    (undone(config={"message": "{{ error.message }} {{ steps.a.output }}"}), {}),
    (undone(config={"message": "{{ steps.z.output }}"}), {"steps[0].compensate.config.message": "unknown_step"}),
    (undone(config={"message": SECRET}), {"steps[0].compensate.config.message": "secret_misuse"}),
    (undone(config={"message": "{{ item }}"}), {"steps[0].compensate.config.message": "expression_name"}),
    (undone(join="any"), {"steps[0].compensate.join": "unknown_key"}),
    (undone(**CALL), {}),
    (workflow(log_step("a", compensate=[])), {"steps[0].compensate": "wrong_kind"}),
    (workflow(log_step("a", compensate={})), {"steps[0].compensate.type": "missing_key"}),
    (late(), {}),
    (late(logs("b", message="{{ error.step }} {{ steps.a.status }}")), {}),
    (late(logs("b"), logs("c", message="{{ steps.b.status }}")), {}),
    (late(logs("b", message="{{ steps.c.status }}"), logs("c")),
        {"on_failure[0].config.message": "reference_not_ancestor"}),
    (late(logs("b", message="{{ steps.b.status }}")), {"on_failure[0].config.message": "reference_not_ancestor"}),
    (late(logs("b", message="{{ steps.d.status }}")), {"on_failure[0].config.message": "unknown_step"}),
    (late(logs("a")), {"on_failure[0].id": "duplicate_step"}),
    (late(logs("b"), logs("b")), {"on_failure[1].id": "duplicate_step"}),
    (late(logs("error")), {"on_failure[0].id": "reserved_name"}),
    (late(logs("b", when="{{ error.code == 'x' }}")), {}),
    (late(logs("b", when="{{ error }} x")), {"on_failure[0].when": "expression_not_boolean"}),
    (late(logs("b", depends_on=["a"])), {"on_failure[0].depends_on": "unknown_key"}),
    (late({"id": "b", "type": "condition", "config": {"expression": "{{ true }}", "true_branch": ["a"]}}),
        {"on_failure[0].type": "type_not_allowed"}),
    (late({"id": "b"} | CALL), {}),
    (late(*(logs(f"f{n}") for n in range(51))), {"on_failure[50]": "too_many_steps"}),
    (late(7), {"on_failure[0]": "wrong_kind"}),
    (workflow(log_step("a"), on_failure={}), {"on_failure": "wrong_kind"}),
    (workflow(logs("a", message="{{ error.step }}"), on_failure=[]), {"steps[0].config.message": "expression_name"}),
    (workflow(log_step("a"), logs("b", message="{{ steps.late.status }}"), on_failure=[logs("late")]),
        {"steps[1].config.message": "unknown_step"}),
    (workflow(log_step("a"), outputs={"x": "{{ steps.late.status }}"}, on_failure=[logs("late")]),
        {"outputs.x": "unknown_step"}),
]
# fmt: on
