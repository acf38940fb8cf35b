"""The workflows that are measured."""

from __future__ import annotations

from typing import Any

Definition = dict[str, Any]

CHAIN_LENGTH = 6
FAN_WIDTH = 50
HTTP_LENGTH = 3


def chain(*, length: int = CHAIN_LENGTH) -> Definition:
    """W1, W7: sequential transforms, each of which renders one expression on the output of the one before."""
    steps = [_transform("s1", "{{ input.v + 1 }}")]
    for number in range(2, length + 1):
        steps.append(_transform(f"s{number}", f"{{{{ steps.s{number - 1}.output.v + 1 }}}}"))
    return {"name": "chain", "steps": steps}


def fan(*, width: int = FAN_WIDTH) -> Definition:
    """W2, W7: one step, then many that depend on it, then one that depends on all of them."""
    branches = [f"b{number}" for number in range(1, width + 1)]
    return {
        "name": "fan",
        "steps": [
            {**_transform("first", "{{ input.v + 1 }}"), "depends_on": []},
            *({**_transform(name, "{{ steps.first.output.v + 1 }}"), "depends_on": ["first"]} for name in branches),
            {**_transform("last", f"{{{{ steps.b1.output.v + steps.b{width}.output.v }}}}"), "depends_on": branches},
        ],
    }


def items() -> Definition:
    """W9: one step that renders an expression on each item of a list."""
    foreach = {"items": "{{ input.items }}", "max_parallel": 1000}
    return {"name": "items", "steps": [{**_transform("each", "{{ item + 1 }}"), "foreach": foreach}]}


def single() -> Definition:
    """W9: the same step by itself."""
    return {"name": "single", "steps": [_transform("one", "{{ input.v + 1 }}")]}


def chain_on_lines() -> Definition:
    """W6: the chain, each step of which also looks into the `lines` of the input."""
    steps = [_transform("s1", "{{ input.v + input.lines[0].quantity }}")]
    for number in range(2, CHAIN_LENGTH + 1):
        expression = f"steps.s{number - 1}.output.v + input.lines[{number}].quantity"
        steps.append(_transform(f"s{number}", f"{{{{ {expression} }}}}"))
    return {"name": "lines", "steps": steps}


def posts(url: str) -> Definition:
    """W3: sequential POSTs, each of which sends what the one before got back."""
    steps = [_post("s1", url, "{{ input.v }}")]
    for number in range(2, HTTP_LENGTH + 1):
        steps.append(_post(f"s{number}", url, f"{{{{ steps.s{number - 1}.output.body.v }}}}"))
    return {"name": "posts", "steps": steps}


def waiting() -> Definition:
    """Executions that have begun and stay: a step, then an hour of delay, then a step."""
    return {
        "name": "waiting",
        "steps": [
            _transform("before", "{{ input.v + 1 }}"),
            {"id": "pause", "type": "delay", "config": {"seconds": 3600}},
            _transform("after", "{{ steps.before.output.v + 1 }}"),
        ],
    }


def _transform(step_id: str, expression: str) -> Definition:
    return {"id": step_id, "type": "transform", "config": {"output": {"v": expression}}}


def _post(step_id: str, url: str, expression: str) -> Definition:
    return {"id": step_id, "type": "http", "config": {"method": "POST", "url": url, "json": {"v": expression}}}
