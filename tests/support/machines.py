"""State machines of a tenant, and their instances, through SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.database import Db, Row
from tests.support.definitions import Author, Definition
from tests.support.engine import dag

PAGE = Path(__file__).parents[2] / "runner/flowgres_definitions/MACHINES.md"


def machine(*ways: str, name: str = "m", final: str = "", **members: Any) -> Definition:
    """A machine in its canonical form from ways such as `a>b`.

    The first state is the initial one; `final` lists the final ones.
    """
    pairs = [given.split(">") for given in ways]
    names = list(dict.fromkeys(state for pair in pairs for state in pair if state != "*"))
    return {
        "name": name,
        "metadata": {},
        "states": [
            {"name": state, "initial": place == 0, "final": state in final.split(), "metadata": {}}
            for place, state in enumerate(names)
        ],
        "transitions": [way(source, target) for source, target in pairs],
    } | members


def way(source: str, target: str, name: str | None = None, **members: Any) -> Definition:
    """A transition in its canonical form."""
    base = {"from": source, "to": target, "name": name or f"{source}_to_{target}".replace("*", "any")}
    return base | {"conditions": {}, "context": {}, "metadata": {}} | members


def going(*ways: str, final: str = "", **starts: dict[str, Any]) -> Definition:
    """A machine whose transitions to the states that `starts` names start the workflow `work`, changed like that."""
    definition = machine(*ways, final=final)
    for transition in definition["transitions"]:
        if transition["to"] in starts:
            transition["start"] = {"workflow": "work", "input": {}, **starts[transition["to"]]}
    return definition


WORK = dag("work", [{"id": "do"}])
"""The workflow that the machines of `going` start."""


class Machines:
    """A tenant's machines."""

    def __init__(self, author: Author) -> None:
        self.author, self.db = author, author.db

    def add(self, definition: Definition) -> Row:
        """Make a version with this definition the active one."""
        return store_machine(self.db, str(self.author.tenant_id), definition)

    def start(self, entity_id: str = "1", name: str = "m", db: Db | None = None, **arguments: Any) -> str:
        """Start an instance for an entity of the table `orders`; returns its id."""
        return str(
            (db or self.db).call(
                "flowgres_api.start_workflow",
                workflow_name=name,
                entity_table="orders",
                entity_id=entity_id,
                **arguments,
            )
        )

    def move(self, instance: str, to: str, db: Db | None = None, **arguments: Any) -> Any:
        """Move an instance, in SQL."""
        return (db or self.db).call("flowgres_api.execute_transition", instance_id=instance, to_state=to, **arguments)

    def row(self, instance: str) -> Row:
        """An instance as clients see it."""
        return self.db.one("select * from flowgres_api.entity_workflows where id = %s", instance)

    def history(self, instance: str) -> list[Row]:
        """Its history as clients see it."""
        return self.db.all(
            "select * from flowgres_api.workflow_history where entity_workflow_instance_id = %s order by seq", instance
        )

    def refusals(self) -> list[Row]:
        """What the audit log tells of refused transitions, oldest first."""
        return self.db.all(
            "select subject, actor, details from flowgres.audit_log"
            " where tenant_id = %s and action = 'transition_refused' order by at, id",
            self.author.tenant_id,
        )


def store_machine(db: Db, tenant_id: str, definition: Definition) -> Row:
    """Store, compile and activate a machine for a tenant, as an import does once it was checked."""
    db.run("select set_config('flowgres.tenant_id', %s, false)", tenant_id)
    answer = db.call(
        "flowgres.store_definition",
        p_tenant_id=tenant_id,
        p_definition=definition,
        p_source=definition,
        p_warnings=[],
        p_activate=True,
        p_checked=False,
    )
    return dict(answer)


def links(machines: Machines, columns: str, instance: str | None = None) -> list[Any]:
    """These columns of what transitions have started, oldest first: of all instances, or of one."""
    rows = machines.db.all(
        f"select {columns} from flowgres_api.instance_executions where instance_id = coalesce(%s, instance_id)"
        " order by started_at, seq",
        instance,
    )
    return [tuple(row.values()) for row in rows]


def faults_of_export(lines: Iterable[str]) -> list[tuple[str, int, str]]:
    """What the program of the page about machines, which knows no SQL, finds wrong with an export."""
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102
    return list(names["faults"](lines))
