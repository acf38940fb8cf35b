"""Definitions that show only what matters, and a tenant that checks and imports them through SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from flowgres_definitions.dialects import translate
from tests.support.database import Database, Db

Definition = dict[str, Any]

_numbers = count(1)


def log_step(step_id: str, *depends_on: str, **changes: Any) -> Definition:
    """A step that logs; its dependencies are written out."""
    return {"id": step_id, "type": "log", "config": {"message": "x"}, "depends_on": list(depends_on)} | changes


def listed_step(step_id: str, **changes: Any) -> Definition:
    """A step that logs and says nothing of its dependencies: list order."""
    return {"id": step_id, "type": "log", "config": {"message": "x"}} | changes


def condition(step_id: str, *, true: list[str], false: list[str], **changes: Any) -> Definition:
    """A condition with two branches; without `depends_on` unless given."""
    config = {"expression": "{{ input.yes }}", "true_branch": true, "false_branch": false}
    return {"id": step_id, "type": "condition", "config": config} | changes


def sub_workflow(step_id: str, workflow: str, **config: Any) -> Definition:
    """A step that calls another workflow."""
    return {"id": step_id, "type": "sub_workflow", "config": {"workflow": workflow} | config}


def workflow(*steps: Any, name: str = "w", **members: Any) -> Definition:
    """A definition with these steps."""
    return {"name": name, "steps": list(steps)} | members


def from_edges(edges: list[str], steps: list[str] | None = None) -> Definition:
    """A definition from edges such as `a>b` (b depends on a), of steps that log."""
    pairs = [edge.split(">") for edge in edges]
    ids = steps if steps is not None else list(dict.fromkeys(step for pair in pairs for step in pair))
    parents: dict[str, list[str]] = {}
    for parent, child in pairs:
        parents.setdefault(child, []).append(parent)
    return workflow(*(log_step(step, *parents.get(step, ())) for step in ids))


class Author:
    """A tenant of a database, and its calls. `check` and `import_` answer with the decoded JSON."""

    def __init__(self, database: Database, db: Db) -> None:
        self.database = database
        self.db = db
        self.tenant_id: UUID = uuid4()
        db.run(
            "insert into flowgres.tenants (tenant_id, slug, name) values (%s, %s, 'Tenant')",
            self.tenant_id,
            f"t{next(_numbers)}-{self.tenant_id.hex[:8]}",
        )
        self.use()

    def use(self, db: Db | None = None) -> None:
        """Make a connection work for this tenant."""
        (db or self.db).run("select set_config('flowgres.tenant_id', %s, false)", str(self.tenant_id))

    @contextmanager
    def connect(self) -> Iterator[Db]:
        """One more connection of this tenant."""
        with self.database.connect() as db:
            self.use(db)
            yield db

    def check(self, definition: Any) -> Definition:
        """Validate a definition: {valid, errors, warnings, definition}."""
        result: Definition = self.db.call("flowgres.validate_workflow", p_definition=definition)
        return result

    def errors(self, definition: Any) -> dict[str, str]:
        """The codes of the errors by path."""
        return {error["path"]: error["code"] for error in self.check(definition)["errors"]}

    def canonical(self, definition: Any) -> Definition:
        """The canonical form of a definition that must be valid."""
        result = self.check(definition)
        assert result["errors"] == []
        canonical: Definition = result["definition"]
        return canonical

    def dependencies(self, *steps: Any) -> dict[str, list[str]]:
        """What each step of a workflow waits for."""
        return {step["id"]: step["depends_on"] for step in self.canonical(workflow(*steps))["steps"]}

    def import_(self, definition: Any, *, activate: bool = True) -> Definition:
        """Import a definition."""
        result: Definition = self.db.call("flowgres.import_workflow", p_definition=definition, p_activate=activate)
        return result

    def import_translated(self, definition: Definition) -> Definition:
        """Import a definition in the words of another system, as the front does."""
        translation = translate(definition)
        result: Definition = self.db.call(
            "flowgres.import_checked_workflow", p_definition=translation.document, p_source=translation.source
        )
        return result

    def confirm(self, version_id: str, *errors: Definition) -> bool:
        """Say what a runner found when it parsed the expressions of a version."""
        return bool(self.db.value("select flowgres.confirm_version(%s, %s::jsonb)", version_id, list(errors)))

    def steps(self, version_id: str) -> dict[str, Definition]:
        """The compiled steps of a version, by id."""
        rows = self.db.all(
            "select * from flowgres.workflow_steps where tenant_id = %s and version_id = %s order by index",
            self.tenant_id,
            version_id,
        )
        return {row["id"]: row for row in rows}

    def version(self, version_id: str) -> Definition:
        """The row of a version."""
        return self.db.one(
            "select * from flowgres.workflow_versions where tenant_id = %s and id = %s", self.tenant_id, version_id
        )
