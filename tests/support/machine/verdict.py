"""What must hold at the end of a script: the engine's own checker, and what only somebody who was there can know."""

from __future__ import annotations

from typing import Any

from tests.support.database import Row
from tests.support.machine.world import World

CHECK = (
    "select rule, execution_id::text, detail from flowgres.check_invariants(p_is_drained => true) where tenant_id = %s"
)
STEPS = """
select
  e.id::text as execution, e.status as execution_status, s.step_index, s.step, s.status, s.edge, s.untaken, s.output,
  w.join_rule, w.dependencies, w.gates
from flowgres.executions as e
join flowgres.step_executions as s on s.tenant_id = e.tenant_id and s.execution_id = e.id
join flowgres.workflow_steps as w
  on w.tenant_id = e.tenant_id and w.version_id = e.version_id and w.index = s.step_index
where e.tenant_id = %s and w.type <> 'outputs'
"""


def judge(world: World) -> None:
    """Add everything that must not be to the findings of the world."""
    world.look()
    tenant_id = world.tenant.tenant_id
    for row in world.owner.all(CHECK, tenant_id):
        name = world.labels.get(row["execution_id"], row["execution_id"])
        world.find(f"invariant {row['rule']}", f"{name}: {row['detail']}")
    _judge_answers(world)
    executions: dict[str, dict[int, Row]] = {}
    for row in world.owner.all(STEPS, tenant_id):
        executions.setdefault(row["execution"], {})[row["step_index"]] = row
    for execution, steps in executions.items():
        for step in steps.values():
            _judge_step(world, execution, step, steps)


def _judge_answers(world: World) -> None:
    """What callers were told is so: started executions are there, cancelled ones are cancelled."""
    status = {
        row["id"]: row["status"]
        for row in world.owner.all(
            "select id::text, status from flowgres.executions where tenant_id = %s", world.tenant.tenant_id
        )
    }
    for execution in sorted(world.accepted):
        if execution not in status:
            world.find("an accepted start is lost", execution)
    for execution in sorted(world.cancelled):
        if status.get(execution) != "cancelled":
            name = world.labels.get(execution, execution)
            world.find("a cancelled execution is not cancelled", f"{name} is {status.get(execution)}")
    late = world.owner.all(
        "select v.execution_id::text as id, v.type from flowgres.all_events as v join flowgres.all_events as f"
        " on f.tenant_id = v.tenant_id and f.execution_id = v.execution_id and f.seq < v.seq"
        " where v.tenant_id = %s and f.type in ('execution_completed', 'execution_failed', 'execution_cancelled')",
        world.tenant.tenant_id,
    )
    for row in late:
        world.find("an event follows the end", f"{world.labels.get(row['id'], row['id'])}: {row['type']}")


def _judge_step(world: World, execution: str, step: Row, steps: dict[int, Row]) -> None:
    name = f"{world.labels.get(execution, execution)}.{step['step']}"
    if step["status"] == "completed" and world.outputs.get(_number(step["output"])) != (execution, step["step"]):
        world.find("a step has an output that nobody reported for it", f"{name}: {step['output']}")
    if step["status"] == "cancelled" and step["execution_status"] == "completed":
        world.find("a completed execution has a cancelled step", name)
    if step["status"] not in ("completed", "failed", "skipped"):
        return
    edges = {}
    for index in step["dependencies"]:
        before = steps.get(index)
        if before is not None and before["edge"] is not None:
            edges[index] = "dead" if step["step_index"] in (before["untaken"] or ()) else before["edge"]
    may_run = _may_run(step["join_rule"], edges, step)
    was_asked_to_skip = (execution, step["step"]) in world.skipped
    if step["status"] != "skipped" and not may_run:
        world.find("a step ran against its join", f"{name} ({step['join_rule']}): {edges}")
    # What was cancelled later is dead now, and was not when the step was skipped or not.
    elif step["status"] == "skipped" and may_run and not was_asked_to_skip and step["execution_status"] == "completed":
        world.find("a step was skipped against its join", f"{name} ({step['join_rule']}): {edges}")


def _may_run(rule: str, edges: dict[int, str], step: Row) -> bool:
    found = list(edges.values())
    if step["gates"] and all(edges.get(gate) == "dead" for gate in step["gates"]):
        return False
    is_whole = len(found) == len(step["dependencies"])
    rules: dict[str, Any] = {
        "any": "taken" in found,
        "failed": "failed" in found,
        "all": is_whole and all(edge == "taken" for edge in found),
        "default": is_whole and "failed" not in found and ("taken" in found or not found),
    }
    return bool(rules.get(rule, is_whole))


def _number(output: Any) -> int:
    return output if isinstance(output, int) else -1
