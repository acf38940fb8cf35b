"""What the machine knows while it plays: its tenant, its runners with their leases, its executions by short names."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import import_workflow
from tests.support.machine.definitions import definitions

RUNNERS = 2
SYSTEM = "00000000-0000-0000-0000-000000000000"


@dataclass
class Lease:
    """A step that a runner was given, and whether somebody has reported its end since."""

    row: Row
    step: str
    name: str
    is_over: bool = False

    @property
    def key(self) -> list[Any]:
        """How the SQL functions name it."""
        return [str(self.row["tenant_id"]), str(self.row["execution_id"]), self.row["queue_id"], self.row["token"]]


@dataclass
class Runner:
    """A registered runner."""

    id: str
    name: str
    leases: list[Lease] = field(default_factory=list)
    is_gone: bool = False

    def pick(self, numbers: tuple[int, ...], tree: set[str]) -> list[Lease]:
        """Leases by number, each once: those that may still be reported, from 12 on those that are over.

        As long as there are any, only those of a tree.
        """
        chosen: dict[int, Lease] = {}
        for number in numbers:
            pool = [lease for lease in self.leases if lease.is_over == (number >= 12)]
            pool = [lease for lease in pool if str(lease.row["execution_id"]) in tree] or pool
            if pool:
                lease = pool[number % len(pool)]
                chosen[id(lease)] = lease
        return list(chosen.values())


@dataclass(frozen=True)
class Finding:
    """Something that must not be: its kind groups it with others, the detail speaks of this one."""

    kind: str
    detail: str


def make_tenants(database: Database, count: int) -> list[Tenant]:
    """Tenants with all the workflows, one for each script that is played on a copy of the database."""
    tenants = [database.make_tenant(f"Machine {number}") for number in range(count)]
    with database.connect() as owner:
        for tenant in tenants:
            for definition in definitions():
                import_workflow(owner, tenant, definition)
    return tenants


class World:
    """One tenant's part of a database, while a script is played on it."""

    def __init__(self, tenant: Tenant, owner: Db, runner_db: Db) -> None:
        self.tenant = tenant
        self.owner = owner
        self._runner_db = runner_db
        self.runners: list[Runner] = []
        self._names = (chr(ord("a") + n) if n < 26 else f"r{n}" for n in itertools.count())
        self._numbers = itertools.count(1)
        self.outputs: dict[int, tuple[str, str]] = {}
        self.skipped: set[tuple[str, str]] = set()
        self.labels: dict[str, str] = {}
        self.parents: dict[str, str | None] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.tree: set[str] = set()
        self.open: list[str] = []
        self.ended: list[str] = []
        self.accepted: set[str] = set()
        self.cancelled: set[str] = set()
        self.deleted: set[str] = set()
        self.findings: list[Finding] = []
        self.look()

    def find(self, kind: str, detail: str) -> None:
        """Note something that must not be."""
        self.findings.append(Finding(kind, detail))

    def look(self) -> None:
        """See which executions there are, and make sure that two runners live."""
        rows = self.owner.all(
            "select e.id::text, e.parent_execution_id::text as parent, e.finished_at is not null as is_ended, w.name"
            " from flowgres.executions as e"
            " join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id"
            " where e.tenant_id = %s order by e.created_at, e.id",
            self.tenant.tenant_id,
        )
        for row in rows:
            self.labels.setdefault(row["id"], f"{row['name']}{len(self.labels) + 1}")
            self.parents[row["id"]] = row["parent"]
        self.open = [row["id"] for row in rows if not row["is_ended"]]
        self.ended = [row["id"] for row in rows if row["is_ended"]]
        while len(self.alive()) < RUNNERS:
            self.register()

    def alive(self) -> list[Runner]:
        """The runners that have not signed off."""
        return [runner for runner in self.runners if not runner.is_gone]

    def register(self) -> Runner:
        """One runner more."""
        runner = Runner(str(uuid.uuid4()), next(self._names))
        self._runner_db.call(
            "flowgres.register_runner",
            p_runner_id=runner.id,
            p_info={"name": runner.name, "version": "0", "protocol": 2, "environment": "development"},
        )
        self.runners.append(runner)
        return runner

    def lease(self, row: Row) -> Lease:
        """A claimed row, with the names of its step and execution."""
        version = self.version(str(row["version_id"]))
        step = version["steps"][row["step_index"]]["id"]
        execution = str(row["execution_id"])
        if execution not in self.labels:
            self.labels[execution] = f"{version['workflow_name']}{len(self.labels) + 1}"
        return Lease(row, step, f"{self.labels[execution]}.{step}")

    def version(self, version_id: str) -> dict[str, Any]:
        """A compiled version as runners get it."""
        if version_id not in self.versions:
            self.versions[version_id] = self._runner_db.call("flowgres.get_version", p_version_id=version_id)
        return self.versions[version_id]

    def number(self, execution: str, step: str) -> int:
        """An output that no other report has, and whose it is."""
        number = next(self._numbers)
        self.outputs[number] = (execution, step)
        return number

    def busy(self) -> list[str]:
        """Open executions of which a step may be reported, and those above them: where calls meet."""
        found: set[str | None] = set()
        for runner in self.runners:
            for lease in runner.leases:
                execution: str | None = None if lease.is_over else str(lease.row["execution_id"])
                while execution is not None:
                    found.add(execution)
                    execution = self.parents.get(execution)
        busy = [execution for execution in self.open if execution in found]
        return [execution for execution in busy if execution in self.tree] or busy

    def focus(self, number: int) -> None:
        """Choose the tree of executions that the next calls are about, or none (0)."""
        self.tree = set()
        busy = self.busy() if number else []
        if busy:
            root = self._root(busy[number % len(busy)])
            self.tree = {execution for execution in self.parents if self._root(execution) == root}

    def _root(self, execution: str) -> str:
        while (parent := self.parents.get(execution)) is not None:
            execution = parent
        return execution

    def is_cancelled(self, execution: str | None) -> bool:
        """Whether a cancel of it, or of one that it descends from, has been answered."""
        while execution is not None:
            if execution in self.cancelled:
                return True
            execution = self.parents.get(execution)
        return False
