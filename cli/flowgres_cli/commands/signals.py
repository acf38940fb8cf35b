"""flowgres signal: wake a step that waits."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.executions import execution_id
from flowgres_cli.output import say
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any


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
