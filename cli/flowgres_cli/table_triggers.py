"""Triggers on tables of applications, as an operator is told of them: what each is, and the command that helps."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

Row = Mapping[str, Any]
MOST_TOLD = 20
_QUERY = "select flowgres.list_table_triggers()"
_STATES = {
    "installed": "installed",
    "inactive": "installed",
    "missing": "not installed",
    "no_table": "there is no such table",
    "unused": "installed",
    "disabled": "installed and disabled",
    "renamed": "installed on {relation}, as the table is called now",
}
_FAULTS = frozenset({"missing", "no_table", "disabled"})


@dataclass(frozen=True, slots=True)
class TableTriggers:
    """The triggers of one table and tenant that are in the same state, as `flowgres.list_table_triggers()` tells it.

    `is_wanted`: an active workflow starts nothing without them.
    """

    table: str
    changes: tuple[str, ...]
    tenant: str
    workflows: tuple[str, ...]
    status: str
    is_wanted: bool
    relation: str | None

    @property
    def is_fault(self) -> bool:
        """Whether an active workflow waits for changes that nobody tells it of."""
        return self.is_wanted and self.status in _FAULTS

    @property
    def fix(self) -> str:
        """The command that helps; nothing where nobody waits for one."""
        if self.status == "unused":
            return f"flowgres triggers remove --tenant {self.tenant}"
        if not self.is_fault:
            return ""
        install = f"flowgres triggers install {self.table} --tenant {self.tenant}"
        return f"create the table, then {install}" if self.status == "no_table" else install

    def __str__(self) -> str:
        state = _STATES.get(self.status, self.status).format(relation=self.relation)
        wanted = f"wanted by {', '.join(self.workflows)}" if self.workflows else "wanted by no workflow"
        idle = "" if self.is_wanted or not self.workflows else " (inactive)"
        return f"{self.table}, {' and '.join(self.changes)}: {state}, {wanted}{idle} of tenant {self.tenant}"


def amiss(found: Sequence[TableTriggers]) -> tuple[list[TableTriggers], int]:
    """Those with a fix, faults first, and how many more there are than MOST_TOLD: any tenant may ask for very many."""
    wrong = sorted((one for one in found if one.fix), key=lambda one: not one.is_fault)
    return wrong[:MOST_TOLD], len(wrong[MOST_TOLD:])


def read_table_triggers(connection: psycopg.Connection[Any]) -> tuple[TableTriggers, ...]:
    """Those that there are and those that workflows ask for, by table; nothing where the login may not ask.

    Whoever may install flowgres or is an operator may. What was installed may be a part of it, without triggers.
    """
    from psycopg import errors

    rows: list[Row] = []
    with contextlib.suppress(errors.InsufficientPrivilege, errors.UndefinedFunction), connection.transaction():
        found = connection.execute(_QUERY).fetchone()
        rows = found[0] if found else []
    return tuple(_joined(rows))


def _joined(rows: list[Row]) -> list[TableTriggers]:
    def state(row: Row) -> tuple[str, ...]:
        return (row["table"], row["tenant"] or "", row["status"], str(row["is_wanted"]), row["relation"] or "")

    joined = []
    for _, group in groupby(sorted(rows, key=state), key=state):
        same = list(group)
        first = same[0]
        joined.append(
            TableTriggers(
                table=first["table"],
                changes=tuple(row["event"] for row in same),
                tenant=first["tenant"] or "nobody",
                workflows=tuple(sorted({name for row in same for name in row["workflows"]})),
                status=first["status"],
                is_wanted=first["is_wanted"],
                relation=first["relation"],
            )
        )
    return joined
