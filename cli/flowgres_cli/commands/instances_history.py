"""flowgres instances history, verify and export: what instances went through, and whether it is as it was written."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.instances import find_instance, instance_id
from flowgres_cli.output import Column, moment, say
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
PAGE_ROWS = 1000
MOST_PROBLEMS = 1000
"""Of one verification: whoever broke more of it knows by then."""

_HISTORY_COLUMNS = (
    Column("executed_at", "AT", moment),
    Column("from_state", "FROM", lambda state: state or "-"),
    Column("to_state", "TO"),
    Column("transition_name", "TRANSITION", is_optional=True),
    Column("executed_by", "BY", is_optional=True, is_prose=True),
    Column("actor", "ACTOR", is_optional=True, is_prose=True),
    Column("notes", "NOTES", is_prose=True),
)
_PROBLEM_COLUMNS = (
    Column("instance_id", "INSTANCE"),
    Column("seq", "ROW", justify="right"),
    Column("problem", "PROBLEM", lambda problem: str(problem).replace("_", " ")),
)


@click.command("history", epilog="Example: flowgres instances history 0193... --verify")
@click.argument("instance", type=instance_id)
@click.option("--verify", "is_verifying", is_flag=True, help="Check that nobody changed, removed or inserted a row.")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_history(session: Session, instance: str, is_verifying: bool, limit: int) -> None:
    """List what an instance went through, the newest first.

    Each row holds a hash of itself and of the row before: --verify tells whether all is as it was written (exit 1).
    """
    if is_verifying:
        _verify(session, instance)
        return
    find_instance(session, instance)
    parameters: dict[str, str | int] = {
        "entity_workflow_instance_id": f"eq.{instance}",
        "order": "seq.desc",
        "limit": limit,
    }
    session.output.rows(session.client.select("workflow_history", parameters), _HISTORY_COLUMNS, empty="no history")


@click.command("verify", epilog="Examples: flowgres instances verify 0193... · flowgres instances verify --all -o json")
@click.argument("instance", type=instance_id, required=False)
@click.option("--all", "is_all", is_flag=True, help="Of all instances of the tenant.")
@server_options
@output_option
@pass_session
def verify_instances(session: Session, instance: str | None, is_all: bool) -> None:
    """Check that history is as it was written: that nobody changed, removed or inserted a row.

    Exit 1 says that somebody did, and the output where.
    """
    if (instance is None) != is_all:
        raise click.UsageError("Name an instance, or give --all.")
    _verify(session, instance)


@click.command(
    "export", epilog="Example: flowgres instances export --workflow fraud_detection --since 2026-11-01 > history.jsonl"
)
@click.option("--workflow", metavar="NAME", help="Only of this machine.")
@click.option("--since", metavar="TIME", help="Only what happened since then, as 2026-11-01 or 2026-11-01T12:00:00Z.")
@click.option("--format", "form", type=click.Choice(["jsonl"]), default="jsonl", show_default=True, help="The form.")
@server_options
@pass_session
def export_history(session: Session, workflow: str | None, since: str | None, form: str) -> None:
    """Write history as lines of JSON, instance by instance in the order of its chain.

    Each line has the hash of the row and the one before, so that the export can be checked without the server:
    MACHINES.md says how.
    """
    given = {"workflow": workflow, "since": since}
    arguments: dict[str, Json] = {name: value for name, value in given.items() if value is not None}
    count = 0
    while True:
        page = session.client.call("export_history", {**arguments, "limit": PAGE_ROWS})
        for line in page["lines"]:
            # As the server wrote it: a number that is read and written again may lose digits, which the hash covers.
            session.output.line(line)
        count += len(page["lines"])
        if page["next"] is None:
            break
        arguments["after"] = page["next"]
    say(f"{count} rows")


def _verify(session: Session, instance: str | None) -> None:
    """Print the report; raise CliError when the history is not as it was written."""
    arguments: dict[str, Json] = {"limit": PAGE_ROWS} if instance is None else {"instance_id": instance}
    found: dict[str, Json] = {"valid": True, "instances": 0, "rows": 0, "problems": []}
    while True:
        page = session.client.call("verify_history", arguments)
        found["valid"] = found["valid"] and page["valid"]
        found["instances"] += page["instances"]
        found["rows"] += page["rows"]
        found["problems"] += page["problems"][: MOST_PROBLEMS - len(found["problems"])]
        if page["next"] is None:
            break
        arguments["after"] = page["next"]
    output = session.output
    output.record({"id": instance, **found} if instance else found, fields=("id", "valid", "instances", "rows"))
    if found["valid"]:
        return
    if output.is_table:
        output.rows(found["problems"], _PROBLEM_COLUMNS)
    from flowgres_cli.errors import CliError

    told = [
        f"{one['instance_id']}, row {one['seq']}: {one['problem'].replace('_', ' ')}" for one in found["problems"][:10]
    ]
    raise CliError("\n  ".join(("the history is not as it was written", *told)), code="history_changed")
