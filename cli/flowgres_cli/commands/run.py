"""flowgres run: start an execution and see it through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any


@click.command(
    epilog="Examples: flowgres run greet -f name=Ann · flowgres run order-pipeline -d @order.json --detach · "
    "echo '{}' | flowgres run nightly -d - -o json"
)
@click.argument("name")
@click.option("-d", "--data", metavar="JSON|@FILE|-", help="The input: a JSON object, a file, or - for stdin.")
@click.option(
    "-f",
    "--field",
    "fields",
    multiple=True,
    metavar="K=V",
    help="One field of the input, turned into the type that the workflow declares; K:=JSON takes JSON. Repeatable.",
)
@click.option("--watch", "mode", flag_value="watch", help="Show it live: a tree on a terminal, else JSON lines.")
@click.option("--wait", "mode", flag_value="wait", help="Wait for the end and print the result.")
@click.option("--detach", "mode", flag_value="detach", help="Print the id and go.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this (exit 124).")
@click.option("--idempotency-key", metavar="KEY", help="The same key starts the same execution only once.")
@click.option("--version", "version", type=click.IntRange(min=1), help="A version other than the active one.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 goes first, 9 last.")
@click.option(
    "--max-retries",
    type=click.IntRange(0, 100),
    metavar="N",
    help="Retried so often by itself after a failure; 0 never.",
)
@click.option("--at", "scheduled_at", metavar="TIME", help="Start at this moment (ISO 8601); implies --detach.")
@click.option("--correlation-id", metavar="TEXT", help="A text to find it by.")
@server_options
@output_option
@pass_session
def run(
    session: Session,
    name: str,
    data: str | None,
    fields: tuple[str, ...],
    mode: str | None,
    timeout: float | None,
    idempotency_key: str | None,
    version: int | None,
    priority: int | None,
    max_retries: int | None,
    scheduled_at: str | None,
    correlation_id: str | None,
) -> None:
    """Start the workflow NAME.

    On a terminal it is watched until its end, elsewhere waited for. The exit code tells how it ended: 0 completed,
    7 failed, 8 cancelled. Ctrl-C stops the watching, never the execution.
    """
    from flowgres_cli.following import announce, follow
    from flowgres_cli.inputs import read_input
    from flowgres_cli.output import is_interactive

    document = read_input(data, fields, lambda: _declared_inputs(session, name, version))
    arguments: dict[str, Json] = {"workflow": name, "input": document}
    optional = {
        "idempotency_key": idempotency_key,
        "version": version,
        "priority": priority,
        "max_retries": max_retries,
        "scheduled_at": scheduled_at,
        "correlation_id": correlation_id,
    }
    arguments.update({key: value for key, value in optional.items() if value is not None})
    started = session.client.call("start_execution", arguments)
    execution_id = str(started["execution_id"])
    if mode is None:
        watchable = session.output.is_table and is_interactive()
        mode = "detach" if scheduled_at is not None else "watch" if watchable else "wait"
    if not started.get("created", True):
        why = "this key has already started" if idempotency_key is not None else "by the rule of starts this is"
        announce(f"{why} execution {execution_id}", session.output)
    if mode == "detach":
        if session.output.is_table:
            session.output.line(execution_id)
        else:
            session.output.record(started, id_field="execution_id")
        return
    if session.output.format == "id":
        session.output.line(execution_id)
    follow(session, execution_id, is_watching=mode == "watch", timeout_seconds=timeout)


def _declared_inputs(session: Session, name: str, version: int | None) -> Mapping[str, Json]:
    """What the workflow says about its inputs; nothing when it is unknown, which the start then tells better."""
    if version is None:
        found = session.client.select("workflows", {"name": f"eq.{name}", "select": "active_version", "limit": 1})
        version = found[0].get("active_version") if found else None
    if version is None:
        return {}
    rows = session.client.select(
        "workflow_versions",
        {"workflow_name": f"eq.{name}", "version": f"eq.{version}", "select": "inputs", "limit": 1},
    )
    inputs = rows[0].get("inputs") if rows else None
    return inputs if isinstance(inputs, dict) else {}
