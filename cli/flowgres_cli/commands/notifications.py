"""flowgres notifications."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
EVENTS = ("completed", "failed", "cancelled", "waiting_for_approval", "approval_reminder")
STATUSES = ("pending", "delivered", "given_up", "cancelled")

_LIST_COLUMNS = (
    Column("name", "NAME"),
    Column("workflow_name", "WORKFLOW", lambda name: name or "all"),
    Column("events", "EVENTS", ", ".join),
    Column("url", "URL"),
    Column("status", "STATUS"),
    Column("disabled_reason", "REASON", is_optional=True),
)
_DELIVERY_COLUMNS = (
    Column("id", "ID"),
    Column("notification", "NOTIFICATION", is_optional=True),
    Column("event", "EVENT"),
    Column("execution_id", "EXECUTION"),
    Column("status", "STATUS"),
    Column("attempts", "ATTEMPTS"),
    Column("next_attempt_at", "NEXT", moment, is_optional=True),
    Column("last_error", "ERROR", lambda error: error["message"] if error else "", is_optional=True, is_prose=True),
)
_FIELDS = ("name", "workflow_name", "url", "events", "status")


@click.group()
def notifications() -> None:
    """Tell webhooks how executions end, and that people are asked: set, list, deliveries, redeliver.

    Those that stand in a definition (settings.notify) change with it alone.
    """


@notifications.command("list", epilog="Example: flowgres notifications list")
@click.option("--workflow", metavar="NAME", help="Only of this workflow.")
@server_options
@output_option
@pass_session
def list_notifications(session: Session, workflow: str | None) -> None:
    """List who is told."""
    parameters: dict[str, str | int] = {"order": "name.asc"}
    if workflow is not None:
        parameters["workflow_name"] = f"eq.{workflow}"
    session.output.rows(
        session.client.select("notifications", parameters), _LIST_COLUMNS, id_field="name", empty="nobody is told"
    )


@notifications.command(
    "set",
    epilog="Example: flowgres notifications set ops --url https://ops.example/hook --secret OPS_HOOK --event failed",
)
@click.argument("name")
@click.option("--url", required=True, metavar="URL", help="Where it is sent.")
@click.option("--secret", required=True, metavar="NAME", help="The stored secret that it is signed with.")
@click.option("--event", "events", multiple=True, type=click.Choice(EVENTS), help="Completed and failed unless told.")
@click.option("--workflow", metavar="NAME", help="Only of this workflow.")
@server_options
@output_option
@pass_session
def set_notification(
    session: Session, name: str, url: str, secret: str, events: tuple[str, ...], workflow: str | None
) -> None:
    """Tell a webhook what becomes of executions, or change what it is told."""
    given = {"name": name, "url": url, "secret": secret, "events": list(events) or None, "workflow": workflow}
    arguments = {key: value for key, value in given.items() if value is not None}
    session.output.record(session.client.call("set_notification", arguments), id_field="name", fields=_FIELDS)


@notifications.command("delete", epilog="Example: flowgres notifications delete ops")
@click.argument("name")
@server_options
@output_option
@pass_session
def delete_notification(session: Session, name: str) -> None:
    """Tell it no more; deliveries that have not ended are cancelled."""
    session.output.record(session.client.call("delete_notification", {"name": name}), id_field="name")


@notifications.command("deliveries", epilog="Example: flowgres notifications deliveries --status given_up -o id")
@click.option("--notification", metavar="NAME", help="Only of this one.")
@click.option("--execution", metavar="ID", help="Only about this execution.")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_deliveries(
    session: Session, notification: str | None, execution: str | None, status: str | None, limit: int
) -> None:
    """List what was told, the latest first."""
    parameters: dict[str, str | int] = {"order": "id.desc", "limit": limit}
    for column, value in (("notification", notification), ("execution_id", execution), ("status", status)):
        if value is not None:
            parameters[column] = f"eq.{value}"
    session.output.rows(
        session.client.select("notification_deliveries", parameters), _DELIVERY_COLUMNS, empty="nothing was told"
    )


@notifications.command("redeliver", epilog="Example: flowgres notifications redeliver DELIVERY_ID")
@click.argument("delivery")
@server_options
@output_option
@pass_session
def redeliver(session: Session, delivery: str) -> None:
    """Send the message of an ended delivery once more, under the same id."""
    answer = session.client.call("redeliver_notification", {"delivery_id": delivery})
    session.output.record(answer, id_field="delivery_id", fields=("delivery_id", "message_id"))
