"""A tenant whose starts go by the rule of a workflow, on a clock that the test moves."""

from __future__ import annotations

from typing import Any

from tests.support.database import Clock, Database, Db, Row
from tests.support.definitions import Author, log_step, workflow
from tests.support.engine import Hands, assert_invariants, hands

Json = dict[str, Any]


class Starts:
    """A tenant with a workflow `w` of one step that logs."""

    def __init__(self, database: Database, db: Db, clock: Clock) -> None:
        self.database, self.db, self.clock = database, db, clock
        self.author = Author(database, db)

    def rule(self, name: str = "w", **start: Any) -> Json:
        """Make a version with this rule the active one."""
        definition = workflow(log_step("a"), name=name, settings={"start": start} if start else {})
        made = self.author.import_(definition)
        self.author.confirm(made["version_id"])
        return made

    def start(self, db: Db | None = None, *, workflow: str = "w", options: Json | None = None, **members: Any) -> Json:
        """Start an execution; `members` are its input, `options` other arguments of the call."""
        answer: Json = (db or self.db).call(
            "flowgres_api.start_execution", workflow=workflow, input=members, **(options or {})
        )
        return answer

    def rows(self) -> list[Row]:
        """The executions of the tenant, by age."""
        return self.db.all(
            "select * from flowgres.executions where tenant_id = %s order by created_at, id", self.author.tenant_id
        )

    def run(self) -> list[Json]:
        """Run what is ready; the inputs of the executions that ended by it, by their ids."""
        before = {row["id"] for row in self.rows() if row["finished_at"] is not None}
        with hands(self.database) as runner:
            self._work(runner)
        assert_invariants(self.db, drained=False)
        return [row["input"] for row in self.rows() if row["finished_at"] is not None and row["id"] not in before]

    @staticmethod
    def _work(runner: Hands) -> None:
        while runner.work():
            pass
