"""A tenant with limits: steps that name them, and workflows of which so many executions run at once."""

from __future__ import annotations

from typing import Any

from tests.support.database import Clock, Database, Db, Row
from tests.support.definitions import Author, log_step, workflow
from tests.support.engine import Hands

Json = dict[str, Any]


class Limits:
    """A tenant and its calls, on one connection."""

    def __init__(self, database: Database, db: Db, clock: Clock) -> None:
        self.database, self.db, self.clock = database, db, clock
        self.author = Author(database, db)

    def set(self, name: str = "m", capacity: int = 1, **more: Any) -> Json:
        """Set a limit of steps."""
        answer: Json = self.db.call("flowgres_api.set_limit", name=name, capacity=capacity, **more)
        return answer

    def shown(self, name: str = "m") -> Row:
        """A limit as its tenant sees it."""
        return self.db.one("select * from flowgres_api.limits where name = %s", name)

    def define(self, *steps: Json, name: str = "w", **settings: Any) -> Json:
        """Make a workflow the active one."""
        more = {"settings": settings} if settings else {}
        made = self.author.import_(workflow(*(steps or (log_step("a"),)), name=name, **more))
        self.author.confirm(made["version_id"])
        return made

    def start(self, count: int = 1, *, workflow: str = "w", db: Db | None = None, **members: Any) -> list[str]:
        """Start so many executions; `members` are their input."""
        answers = [
            (db or self.db).call("flowgres_api.start_execution", workflow=workflow, input=members) for _ in range(count)
        ]
        return [answer["execution_id"] for answer in answers]

    def status(self, execution_id: str) -> str:
        """What has become of an execution, with the code of its error."""
        row = self.db.one("select status, error from flowgres.executions where id = %s", execution_id)
        return row["status"] if row["error"] is None else f"{row['status']} {row['error']['code']}"


def drain(runner: Hands) -> None:
    """Work, sweep and work until nothing is left to be done."""
    while True:
        ran = bool(runner.work())
        admitted = runner.db.call("flowgres.admit", p_limit=1000)
        ended = runner.db.call("flowgres.cancel_orphan")
        if not (ran or admitted or ended):
            return
