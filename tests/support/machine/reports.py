"""What runners say of their leases: the truth, half of it, twice, or too late."""

from __future__ import annotations

from typing import Any

from tests.support.database import Row
from tests.support.engine import completed, failed
from tests.support.machine.world import Lease, World

Outcome = dict[str, Any]

MOST_AHEAD = 3


def natural(world: World, row: Row) -> Outcome:
    """What a real runner says of a step that goes well."""
    version = world.version(str(row["version_id"]))
    step = version["steps"][row["step_index"]]
    execution = str(row["execution_id"])
    if step["type"] == "sub_workflow":
        resume = row["resume"]
        if not resume or "status" not in resume:
            return {"o": "child", "workflow": step["config"]["workflow"], "input": {}}
        if resume["status"] != "completed":
            return failed("child")
    if step["type"] == "delay" and row["resume"] is None:
        return {"o": "suspended", "seconds": 30}
    return _completed(world, execution, step)


def _completed(world: World, execution: str, step: dict[str, Any]) -> Outcome:
    number = world.number(execution, step["id"])
    if step["type"] == "condition":
        return completed(number, taken=step["branches"]["true" if number % 2 else "false"])
    return completed(number)


def chain_of(world: World, lease: Lease) -> list[int]:
    """Outputs of a leased step and of all that a runner runs ahead behind it."""
    steps = world.version(str(lease.row["version_id"]))["steps"]
    index: int | None = lease.row["step_index"]
    outputs: list[int] = []
    while index is not None and steps[index]["type"] == "transform":
        outputs.append(world.number(str(lease.row["execution_id"]), steps[index]["id"]))
        index = steps[index].get("next")
    return outputs


def _ahead(world: World, row: Row, says: str) -> list[Outcome]:
    """Steps run ahead behind a completed one; the last of them goes as it is said."""
    steps = world.version(str(row["version_id"]))["steps"]
    execution = str(row["execution_id"])
    members: list[Outcome] = []
    index = steps[row["step_index"]].get("next")
    if says == "ahead-leaps" and index is not None:
        index = steps[index].get("next")
    while index is not None and len(members) < MOST_AHEAD:
        members.append({"s": index, "ms": 1.0, **_completed(world, execution, steps[index])})
        index = steps[index].get("next")
    if members and says != "ahead":
        last = members[-1]
        ending: dict[str, Outcome] = {
            "ahead-fails": failed(),
            "ahead-retries": failed("timeout"),
            "ahead-skips": {"o": "skipped"},
        }
        if says in ending:
            members[-1] = {"s": last["s"], "ms": 1.0, **ending[says]}
        if says == "ahead-skips":
            world.skipped.add((execution, steps[last["s"]]["id"]))
    return members


def reports_of(world: World, lease: Lease, says: str) -> tuple[list[Outcome], str]:
    """The objects of the batch that speak of a lease, and in short what they say."""
    row = lease.row
    if says == "down" and not lease.step.startswith(("call_", "before", "left")):
        return [], says
    outcomes, token = [natural(world, row)], row["token"]
    if says.startswith("ahead") and outcomes[0]["o"] == "completed":
        outcomes[0]["ahead"] = _ahead(world, row, says)
        steps = world.version(str(row["version_id"]))["steps"]
        says += "(" + ",".join(steps[member["s"]]["id"] for member in outcomes[0]["ahead"]) + ")"
    elif says == "fails":
        outcomes = [failed()]
    elif says == "retries":
        outcomes = [failed("timeout")]
    elif says == "unretryable":
        outcomes = [failed("expression")]
    elif says == "skips":
        outcomes = [{"o": "skipped"}]
        world.skipped.add((str(row["execution_id"]), lease.step))
    elif says == "sleeps":
        outcomes = [{"o": "suspended", "seconds": 5}]
    elif says == "started":
        outcomes = [{"o": "started"}]
    elif says == "started-done":
        outcomes.insert(0, {"o": "started"})
    elif says == "logs" and outcomes[0]["o"] == "completed":
        outcomes[0]["logs"] = [{"level": "info", "message": "one"}, {"level": "warning", "message": "two"}]
    elif says == "detail":
        outcomes[0]["detail"] = {"request": "GET /"}
    elif says == "stale":
        token -= 1
    elif says == "ghost":
        outcomes = [{"o": "child", "workflow": "ghost", "input": {}}] if outcomes[0]["o"] == "child" else [failed()]
    head = {"t": str(row["tenant_id"]), "x": str(row["execution_id"]), "q": row["queue_id"], "k": token}
    said = says if says not in ("done", "down", "stale") else f"{says}:{outcomes[-1]['o']}"
    return [{**head, "s": row["step_index"], "ms": 1.0, **outcome} for outcome in outcomes], said
