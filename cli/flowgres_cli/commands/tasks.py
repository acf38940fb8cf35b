"""flowgres tasks."""

from __future__ import annotations

import re
from typing import Any

import click

from flowgres_cli.output import Column
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
STATUSES = ("waiting", "claimed", "completed", "failed", "expired", "cancelled")

_TASK_ID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")

_LIST_COLUMNS = (
    Column("id", "ID"),
    Column("queue", "QUEUE"),
    Column("status", "STATUS"),
    Column("worker", "WORKER", is_optional=True, is_prose=True),
    Column("progress", "PROGRESS", lambda progress: _progress(progress), is_optional=True, is_prose=True),
)
_QUEUE_COLUMNS = (Column("queue", "QUEUE"), Column("waiting", "WAITING"), Column("claimed", "CLAIMED"))


def _progress(progress: Json) -> str:
    """How far a task is, in a word: a share as percent, anything else as it is."""
    if isinstance(progress, int | float) and not isinstance(progress, bool) and 0 <= progress <= 1:
        return f"{progress:.0%}"
    return "" if progress is None else str(progress)


@click.group()
def tasks() -> None:
    """List and show tasks: steps that workers outside do.

    TASKS.md says how a worker claims them.
    """


@tasks.command("list", epilog="Example: flowgres tasks list --queue mail --status claimed")
@click.option("--queue", metavar="NAME", help="Only of this queue.")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status.")
@click.option("--execution", metavar="ID", help="Only of this execution.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_tasks(session: Session, queue: str | None, status: str | None, execution: str | None, limit: int) -> None:
    """List tasks, those of the latest executions first."""
    parameters: dict[str, str | int] = {"order": "execution_id.desc,id.asc", "limit": limit}
    for column, value in (("queue", queue), ("status", status), ("execution_id", execution)):
        if value is not None:
            parameters[column] = f"eq.{value}"
    session.output.rows(session.client.select("tasks", parameters), _LIST_COLUMNS, empty="no tasks")


@tasks.command("show", epilog="Example: flowgres tasks show TASK_ID")
@click.argument("task")
@server_options
@output_option
@pass_session
def show_task(session: Session, task: str) -> None:
    """Show a task: its payload, who has it, and what came of it."""
    from flowgres_cli.errors import NotFoundError

    rows = session.client.select("tasks", {"id": f"eq.{task}", **_of_execution(task)})
    if not rows:
        raise NotFoundError(f"task {task} does not exist", hint="List them with: flowgres tasks list")
    session.output.record(rows[0])


@tasks.command("queues", epilog="Example: flowgres tasks queues")
@server_options
@output_option
@pass_session
def list_queues(session: Session) -> None:
    """List the queues in which anything is open, with how much of it waits and is claimed."""
    rows = session.client.select("task_queues", {"order": "queue.asc"})
    session.output.rows(rows, _QUEUE_COLUMNS, id_field="queue", empty="nothing is open")


def _of_execution(task: str) -> dict[str, str]:
    """The execution that a task's id begins with, which is where its row is found at once."""
    found = _TASK_ID.match(task)
    return {"execution_id": f"eq.{found[1]}"} if found else {}
