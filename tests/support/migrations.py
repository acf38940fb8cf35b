"""Two versions of a machine, and instances that move from the first to the second."""

from __future__ import annotations

from typing import Any

from tests.support.database import Db
from tests.support.machines import Machines, machine

OLD = machine("new>paid", "paid>checked", "checked>sent", "*>lost", final="sent lost")
NEW = machine("new>paid", "paid>packed", "packed>sent", "*>gone", final="sent gone")
MAP = {"checked": "packed", "lost": "gone"}


def migrate(machines: Machines, to_version: int = 2, db: Db | None = None, **arguments: Any) -> dict[str, Any]:
    answer = (db or machines.db).call(
        "flowgres_api.migrate_instances", workflow="m", to_version=to_version, **arguments
    )
    return dict(answer)


def standing(machines: Machines, *states: str) -> str:
    """An instance that has gone through these states."""
    instance = machines.start("-".join(states) or "new")
    for state in states:
        machines.move(instance, state)
    return instance


def versions(machines: Machines) -> dict[str, tuple[int, str, str]]:
    """Version, state and status of each instance."""
    rows = machines.db.all(
        "select i.id::text, v.version, i.current_state, i.status from flowgres_api.entity_workflows as i"
        " join flowgres.workflow_versions as v on v.id = i.version_id"
    )
    return {row["id"]: (row["version"], row["current_state"], row["status"]) for row in rows}


def assert_sound(machines: Machines) -> None:
    assert machines.db.call("flowgres_api.verify_history")["problems"] == []
