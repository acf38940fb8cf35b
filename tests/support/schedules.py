"""A tenant's schedules at noon of a Monday, and what they have started."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tests.support.database import Clock, Db, Row
from tests.support.definitions import Author, Definition, log_step, workflow

UTC = dt.UTC
NOON = dt.datetime(2026, 6, 1, 12, 0, 10, tzinfo=UTC)
"""A Monday, ten seconds after a slot."""


def cron(expression: str = "* * * * *", **members: Any) -> Definition:
    """A trigger, of each minute unless told."""
    return {"type": "cron", "cron": expression, **members}


def scheduled(*triggers: Definition, name: str = "w", **members: Any) -> Definition:
    """A workflow with these triggers and a step that logs."""
    return workflow(log_step("a"), name=name, triggers=list(triggers), **members)


class Schedules:
    """A tenant's schedules, at noon."""

    def __init__(self, author: Author, clock: Clock) -> None:
        self.author, self.db, self.clock = author, author.db, clock
        clock.set(NOON)

    def rows(self, name: str = "w") -> list[Row]:
        """The rows of a workflow, as clients see them."""
        return self.db.all(
            "select * from flowgres_api.schedules where tenant_id = %s and workflow_name = %s order by place",
            self.author.tenant_id,
            name,
        )

    def row(self, name: str = "w") -> Row:
        """The only one of them."""
        (row,) = self.rows(name)
        return row

    def add(self, *triggers: Definition, **members: Any) -> list[Row]:
        """Make a version with these triggers the active one."""
        self.author.confirm(self.author.import_(scheduled(*triggers, **members))["version_id"])
        return self.rows(members.get("name", "w"))

    def fire(self, limit: int = 100, db: Db | None = None) -> Row:
        """Fire what is due, as a runner does."""
        return (db or self.db).one("select * from flowgres.fire_schedules(%s)", limit)

    def slots(self) -> list[str]:
        """What the executions that schedules have started were scheduled for."""
        return self.db.column(
            "select e.trigger ->> 'scheduled_for' from flowgres.executions as e"
            " where e.tenant_id = %s and e.trigger_type = 'cron' order by 1",
            self.author.tenant_id,
        )

    def call(self, function: str, **arguments: Any) -> Any:
        """`call("pause", schedule="w")` calls pause_schedule as the tenant."""
        return self.db.call(f"flowgres.{function}_schedule", **{f"p_{name}": v for name, v in arguments.items()})


def at(text: str) -> dt.datetime:
    """A time of that Monday."""
    hour, minute, *second = (int(part) for part in text.split(":"))
    return NOON.replace(hour=hour, minute=minute, second=second[0] if second else 0)


def noon(*minutes: int) -> list[str]:
    """Slots of the hour after noon, as executions tell them."""
    return [f"2026-06-01T12:{minute:02}:00Z" for minute in minutes]
