"""flowgres limits."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.durations import describe_seconds
from flowgres_cli.output import Column
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any

_COLUMNS = (
    Column("name", "LIMIT"),
    Column("capacity", "CAPACITY", justify="right"),
    Column("per_seconds", "IN", lambda seconds: describe_seconds(seconds) if seconds else "at once"),
    Column("in_use", "IN USE", justify="right"),
    Column("waiting", "WAITING", justify="right"),
)


@click.group()
def limits() -> None:
    """Say how many steps that name a limit run at once, or begin in a time: set, list, delete."""


@limits.command("list", epilog="Example: flowgres limits list")
@server_options
@output_option
@pass_session
def list_limits(session: Session) -> None:
    """List the limits, how much of each is taken, and how many steps wait for it."""
    rows = session.client.select("limits", {"order": "name.asc"})
    session.output.rows(rows, _COLUMNS, id_field="name", empty="no limits; see flowgres limits set")


@limits.command(
    "set",
    epilog="Examples: flowgres limits set crm --capacity 5 · flowgres limits set mails --capacity 100 --per-seconds 60",
)
@click.argument("name")
@click.option("--capacity", type=int, required=True, help="How many at once; 1 is a mutex.")
@click.option("--per-seconds", type=float, metavar="SECONDS", help="How many may begin in this time instead.")
@click.option("--reason", metavar="TEXT", help="Why, for the audit log.")
@server_options
@output_option
@pass_session
def set_limit(session: Session, name: str, capacity: int, per_seconds: float | None, reason: str | None) -> None:
    """Set a limit, or change it: what waits sees that at once, what runs goes on."""
    given: dict[str, Json] = {"name": name, "capacity": capacity, "per_seconds": per_seconds, "reason": reason}
    arguments = {key: value for key, value in given.items() if value is not None}
    session.output.record(session.client.call("set_limit", arguments), id_field="name")


@limits.command("delete", epilog="Example: flowgres limits delete crm-api")
@click.argument("name")
@click.option("--reason", metavar="TEXT", help="Why, for the audit log.")
@server_options
@output_option
@pass_session
def delete_limit(session: Session, name: str, reason: str | None) -> None:
    """Delete a limit that no step of an active workflow names, and none waits for."""
    arguments = {"name": name} if reason is None else {"name": name, "reason": reason}
    session.output.record(session.client.call("delete_limit", arguments), id_field="name")
