"""The workflows on which the machine plays."""

from __future__ import annotations

from typing import Any

from tests.support.engine import dag

Steps = list[dict[str, Any]]

RETRY = {"attempts": 3, "delay": "1s", "errors": ["timeout"]}


def _line(*names: str, **of: dict[str, Any]) -> Steps:
    """Steps one after the other; keywords give some of them more."""
    return [
        {"id": name, "depends_on": [before] if before else [], **of.get(name, {})}
        for before, name in zip((None, *names), names, strict=False)
    ]


def _call(workflow: str, **more: Any) -> dict[str, Any]:
    return {"type": "sub_workflow", "config": {"workflow": workflow}, **more}


def _branching() -> Steps:
    branches = {"expression": "{{ true }}", "true_branch": ["high", "higher"], "false_branch": ["low"]}
    return [
        {"id": "check", "type": "condition", "config": branches},
        {"id": "high", "depends_on": ["check"]},
        {"id": "higher", "depends_on": ["check"], "on_error": "skip"},
        {"id": "low", "depends_on": ["check"]},
        {"id": "after", "depends_on": ["high", "low"]},
        {"id": "tail", "depends_on": ["after", "higher"]},
    ]


def _joining() -> Steps:
    roots = ["one", "two", "three"]
    return [
        {"id": "one"},
        {"id": "two", "on_error": "continue"},
        {"id": "three", "on_error": "skip"},
        {"id": "any_of", "depends_on": roots, "join": "any"},
        {"id": "all_of", "depends_on": roots, "join": "all"},
        {"id": "always", "depends_on": roots, "join": "always"},
        {"id": "handler", "depends_on": ["one"], "join": "failed"},
        {"id": "last", "depends_on": ["any_of", "all_of"]},
    ]


def definitions() -> list[dict[str, Any]]:
    """All of them, children before the parents that call them."""
    workers = [f"w{n}" for n in range(8)]
    fan: Steps = [
        {"id": "split"},
        *({"id": name, "depends_on": ["split"], "on_error": "continue"} for name in workers),
        {"id": "gather", "depends_on": workers},
    ]
    top: Steps = [
        {"id": "call_middle", **_call("middle")},
        {"id": "side"},
        {"id": "after", "depends_on": ["call_middle", "side"]},
        {"id": "clean", "depends_on": ["call_middle", "side"], "join": "always"},
    ]
    pair: Steps = [{"id": "left", **_call("leaf")}, {"id": "right", **_call("leaf", on_error="continue")}]
    return [
        dag("leaf", _line("first", "second", "third")),
        dag(
            "middle",
            _line("before", "call_leaf", "behind", call_leaf=_call("leaf", retry={"attempts": 2, "errors": ["child"]})),
        ),
        dag("top", top),
        dag("pair", [*pair, {"id": "both", "depends_on": ["left", "right"]}]),
        dag("chain", _line(*"abcdef", b={"retry": RETRY}, d={"retry": RETRY, "on_error": "continue"})),
        dag("fan", fan, outputs={"total": "{{ steps.gather.output }}"}),
        dag("branch", _branching()),
        dag("joins", _joining()),
        dag(
            "retrying",
            _line(
                "flaky", "tell", "end", flaky={"retry": RETRY}, tell={"type": "log", "config": {"message": "so far"}}
            ),
        ),
        dag("delayed", _line("first", "pause", "last", pause={"type": "delay", "config": {"seconds": 30}})),
        dag("hasty", _line("one", "two", "three"), settings={"timeout": 20}),
    ]


STARTED = ["top", "chain", "middle", "fan", "pair", "branch", "joins", "retrying", "delayed", "hasty", "leaf"]
"""In the order in which a script counts them: those that have most to say come first."""
