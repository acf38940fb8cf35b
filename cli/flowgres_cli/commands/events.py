"""flowgres events: tell of an event, and see what subscribes to events and tables."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.output import Column, warn
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
_COLUMNS = (
    Column("workflow_name", "WORKFLOW"),
    Column("kind", "KIND"),
    Column("name", "NAME"),
    Column("filter", "WHEN", lambda text: text or "", is_optional=True),
    Column("status", "STATUS"),
    Column("last_error", "REFUSED", lambda error: error["message"] if error else "", is_optional=True, is_prose=True),
)


@click.group()
def events() -> None:
    """Tell of events, and list what subscribes to events and tables."""


@events.command("emit", epilog='Example: flowgres events emit order.paid -d \'{"order": {"id": 7}}\' --key order-7')
@click.argument("name")
@click.option("-d", "--data", metavar="JSON|@FILE|-", help="The payload: a JSON object, a file, or - for stdin.")
@click.option("--key", metavar="KEY", help="The same name and key start something only once.")
@server_options
@output_option
@pass_session
def emit_event(session: Session, name: str, data: str | None, key: str | None) -> None:
    """Tell of the event NAME: starts every active workflow with a trigger for it, and wakes who waits for it."""
    from flowgres_cli.inputs import read_input

    arguments: dict[str, Json] = {"name": name, "payload": read_input(data, (), dict)}
    answer = session.client.call("emit_event", arguments | ({"key": key} if key is not None else {}))
    if session.output.format == "id":
        for execution_id in answer["executions"]:
            session.output.line(execution_id)
    else:
        session.output.record(answer, fields=("started", "woken", "more", "refused", "executions"))
    if answer["refused"]:
        warn(f"{answer['refused']} refused it; they say why: flowgres events list --name {name}")


@events.command("list", epilog="Example: flowgres events list --name order.paid")
@click.option("--workflow", metavar="NAME", help="Only of this workflow.")
@click.option("--name", metavar="NAME", help="Only to this event or table.")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_subscriptions(session: Session, workflow: str | None, name: str | None, limit: int) -> None:
    """List what subscribes to events and tables, and why it last refused one."""
    parameters: dict[str, str | int] = {"order": "kind.asc,name.asc,workflow_name.asc,place.asc", "limit": limit}
    if workflow is not None:
        parameters["workflow_name"] = f"eq.{workflow}"
    if name is not None:
        parameters["name"] = f"eq.{name}"
    session.output.rows(
        session.client.select("subscriptions", parameters),
        _COLUMNS,
        empty="no subscriptions; a workflow has them as triggers of type event or table",
    )
