"""flowgres schedules."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
STATUSES = ("active", "paused", "ended", "inactive")

_LIST_COLUMNS = (
    Column("id", "ID"),
    Column("workflow_name", "WORKFLOW"),
    Column("status", "STATUS"),
    Column("in_words", "FIRES", is_prose=True),
    Column("next_at", "NEXT", moment),
    Column("last_slot", "LAST", moment, is_optional=True),
    Column("last_error", "ERROR", lambda error: error["message"] if error else "", is_optional=True, is_prose=True),
)
_SLOT_COLUMNS = (
    Column("local_time", "LOCAL TIME", lambda text: str(text).replace("T", " ")),
    Column("slot", "SLOT"),
    Column("begins_at", "BEGINS", is_optional=True),
)
_FIELDS = ("id", "workflow_name", "status", "in_words", "next_at")


@click.group()
def schedules() -> None:
    """List, preview, pause, trigger and backfill the schedules of workflows.

    A schedule is named by its id, or by its workflow if that has only one.
    """


@schedules.command("list", epilog="Example: flowgres schedules list --workflow nightly -o id")
@click.option("--workflow", metavar="NAME", help="Only of this workflow.")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status.")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_schedules(session: Session, workflow: str | None, status: str | None, limit: int) -> None:
    """List schedules, the one that fires next first."""
    parameters: dict[str, str | int] = {"order": "next_at.asc.nullslast,workflow_name.asc,place.asc", "limit": limit}
    if workflow is not None:
        parameters["workflow_name"] = f"eq.{workflow}"
    if status is not None:
        parameters["status"] = f"eq.{status}"
    session.output.rows(
        session.client.select("schedules", parameters),
        _LIST_COLUMNS,
        empty="no schedules; a workflow has them as triggers of type cron",
    )


@schedules.command(
    "preview",
    epilog="Examples: flowgres schedules preview nightly · "
    "flowgres schedules preview --cron '0 6 * * 1-5' --timezone Europe/Berlin",
)
@click.argument("schedule", required=False)
@click.option("--cron", metavar="TEXT", help="A cron expression instead of a schedule.")
@click.option("--timezone", metavar="NAME", help="The time zone of --cron; that of the tenant unless told.")
@click.option("--count", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many.")
@server_options
@output_option
@pass_session
def preview_schedule(
    session: Session, schedule: str | None, cron: str | None, timezone: str | None, count: int
) -> None:
    """Tell when a schedule, or any cron expression, fires next."""
    if (schedule is None) == (cron is None):
        raise click.UsageError("Name a schedule, or give --cron.")
    if timezone is not None and cron is None:
        raise click.UsageError("--timezone goes with --cron.")
    given = {"schedule": schedule, "cron": cron, "timezone": timezone, "count": count}
    arguments = {name: value for name, value in given.items() if value is not None}
    answer = session.client.call("preview_schedule", arguments)
    output = session.output
    if not output.is_table:
        output.record(answer, id_field="schedule")
        return
    output.line(f"{answer['in_words']}\n")
    output.rows(answer["slots"], _SLOT_COLUMNS, id_field="slot", empty="it fires no more")


@schedules.command("pause", epilog="Example: flowgres schedules pause nightly")
@click.argument("schedule")
@server_options
@output_option
@pass_session
def pause_schedule(session: Session, schedule: str) -> None:
    """Let a schedule start nothing until it is resumed."""
    session.output.record(session.client.call("pause_schedule", {"schedule": schedule}), fields=_FIELDS)


@schedules.command("resume", epilog="Example: flowgres schedules resume nightly")
@click.argument("schedule")
@server_options
@output_option
@pass_session
def resume_schedule(session: Session, schedule: str) -> None:
    """Let a paused schedule go on with its next slot.

    What was missed meanwhile is not caught up; backfill does that.
    """
    session.output.record(session.client.call("resume_schedule", {"schedule": schedule}), fields=_FIELDS)


@schedules.command("trigger", epilog="Example: flowgres schedules trigger nightly")
@click.argument("schedule")
@server_options
@output_option
@pass_session
def trigger_schedule(session: Session, schedule: str) -> None:
    """Start now what a schedule starts; its slots come as ever."""
    answer = session.client.call("trigger_schedule", {"schedule": schedule})
    session.output.record(answer, id_field="execution_id", fields=("execution_id", "status"))


@schedules.command(
    "backfill", epilog="Example: flowgres schedules backfill nightly --since 2027-01-01 --until 2027-01-31T23:59:59Z"
)
@click.argument("schedule")
@click.option("--since", required=True, metavar="TIME", help="From this moment on (ISO 8601; UTC unless it says so).")
@click.option("--until", required=True, metavar="TIME", help="To this moment.")
@click.option("--max", "most", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def backfill_schedule(session: Session, schedule: str, since: str, until: str, most: int) -> None:
    """Start the slots of a range in the past, each once.

    Those that have started something are passed over. Where there are more than --max, nothing is started.
    """
    answer = session.client.call(
        "backfill_schedule", {"schedule": schedule, "since": since, "until": until, "max": most}
    )
    session.output.record(answer, id_field="schedule", fields=("schedule", "slots", "started", "passed_over"))
