"""Random graphs with lists, and random ends of their steps and items."""

from __future__ import annotations

import random
from typing import Any

from tests.support.database import Row
from tests.support.engine import completed, dag, failed

JOINS = ["default", "default", "default", "all", "any", "always", "failed", "at_least"]


def random_graph(dice: random.Random, *, name: str = "lists") -> dict[str, Any]:
    """A definition whose steps may be lists, may end the execution, and may cancel or compensate each other."""
    count = dice.randint(2, 8)
    steps = [_step(dice, number, count) for number in range(count)]
    more: dict[str, Any] = {"outputs": {"x": "1"}} if dice.random() < 0.5 else {}
    if dice.random() < 0.5:
        more["on_failure"] = [{"id": f"f{n}", "type": "log", "config": {"message": "x"}} for n in range(2)]
    return dag(name, steps, **more)


def random_outcome(dice: random.Random, lease: Row, step: dict[str, Any]) -> dict[str, Any]:
    """What a runner says of a lease of such a step."""
    if lease["iteration"] == -1 and "foreach" in step:
        return {"o": "expand", "out": step["foreach"]["items"]} if dice.random() < 0.95 else failed()
    if step.get("type") == "stop":
        return completed({"status": step["config"]["status"]})
    said: list[dict[str, Any]] = [failed(), failed("timeout"), {"o": "suspended", "seconds": 0}, {"o": "started"}]
    return completed(lease["item"]) if dice.random() < 0.6 else dice.choice(said)


def _step(dice: random.Random, number: int, count: int) -> dict[str, Any]:
    parents = dice.sample([f"s{n}" for n in range(number)], min(number, dice.choice([0, 1, 1, 2, 3])))
    step: dict[str, Any] = {
        "id": f"s{number}",
        "depends_on": parents,
        "on_error": dice.choice(["fail", "fail", "continue", "skip"]),
        "retry": {"attempts": dice.choice([1, 2]), "delay": 0, "errors": ["timeout"]},
    }
    join = dice.choice(JOINS)
    if parents:
        rest = dice.choice(["continue", "cancel"])
        step["join"] = {"at_least": dice.randint(1, len(parents)), "rest": rest} if join == "at_least" else join
    if dice.random() < 0.6:
        step["foreach"] = {"items": list(range(dice.randint(0, 7))), "max_parallel": dice.randint(1, 4)}
        if dice.random() < 0.5:
            step["foreach"]["tolerate"] = dice.choice([0, 1, 2, "50%"])
        if dice.random() < 0.5:
            step["foreach"] |= {"at_least": dice.randint(1, 5), "rest": dice.choice(["continue", "cancel"])}
    elif dice.random() < 0.12:
        step |= {"type": "stop", "config": {"status": dice.choice(["completed", "failed", "cancelled"])}}
    if dice.random() < 0.3 and "type" not in step:
        step["compensate"] = {"type": "log", "config": {"message": "x"}}
    if dice.random() < 0.25:
        others = [f"s{n}" for n in range(count) if n != number]
        step["cancels"] = dice.sample(others, min(len(others), dice.randint(1, 3)))
    return step
