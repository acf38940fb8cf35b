"""flowgres signal and flowgres signals: wake a step that waits, and see what was sent."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.executions import execution_id
from flowgres_cli.output import Column, moment, say
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
_LIST_COLUMNS = (
    Column("name", "NAME"),
    Column("key", "KEY", is_prose=True),
    Column("execution_id", "TO"),
    Column("received_at", "SENT", moment),
    Column("sent_by", "BY", is_optional=True, is_prose=True),
    Column("consumed_by", "TAKEN BY"),
    Column("consumed_by_step", "STEP", is_optional=True),
)


@click.group()
def signals() -> None:
    """List the signals that were sent."""


@signals.command("list", epilog="Example: flowgres signals list --name packed --waiting")
@click.option("--name", metavar="NAME", help="Only of this name.")
@click.option("--key", metavar="KEY", help="Only with this key.")
@click.option("--execution", metavar="ID", type=execution_id, help="Only to this execution.")
@click.option("--waiting", is_flag=True, help="Only those that no step has taken.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many, newest first."
)
@server_options
@output_option
@pass_session
def list_signals(
    session: Session, name: str | None, key: str | None, execution: str | None, waiting: bool, limit: int
) -> None:
    """List signals, newest first, with the step that has taken each."""
    parameters: dict[str, str | int] = {"order": "received_at.desc", "limit": limit}
    for column, value in (("name", name), ("key", key), ("execution_id", execution)):
        if value is not None:
            parameters[column] = f"eq.{value}"
    if waiting:
        parameters["consumed_at"] = "is.null"
    session.output.rows(session.client.select("signals", parameters), _LIST_COLUMNS, empty="no signals")


@click.command(epilog="Example: flowgres signal packed --key order-7 -d '{\"boxes\": 2}'")
@click.argument("name")
@click.option("--key", metavar="KEY", help="To whoever waits with this key.")
@click.option("--execution", metavar="ID", type=execution_id, help="To this execution.")
@click.option("-d", "--data", metavar="JSON|@FILE|-", help="The payload: a JSON object, a file, or - for stdin.")
@click.option("--idempotency-key", metavar="KEY", help="The same key sends it only once.")
@server_options
@output_option
@pass_session
def signal(
    session: Session, name: str, key: str | None, execution: str | None, data: str | None, idempotency_key: str | None
) -> None:
    """Send the signal NAME: one step that waits for it goes on, or the next one that does.

    Without --key and --execution it is for a step that waits for NAME without a key.
    """
    from flowgres_cli.inputs import read_input

    arguments: dict[str, Json] = {"name": name, "payload": read_input(data, (), dict)}
    given = {"key": key, "execution_id": execution, "idempotency_key": idempotency_key}
    woken = session.client.call(
        "send_signal", arguments | {word: value for word, value in given.items() if value is not None}
    )
    session.output.record({"name": name, "woken": woken})
    if not woken and session.output.is_table:
        say("no step waits for it; it is kept for 7 days until one does")
