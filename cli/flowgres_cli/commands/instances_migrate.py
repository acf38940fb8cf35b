"""flowgres instances migrate."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.output import Column, say
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
_MOST_VAIN_CALLS = 3
"""In which nothing moves although something is left: others are at it."""

_MOVE_COLUMNS = (
    Column("from_version", "VERSION", justify="right"),
    Column("from_state", "FROM"),
    Column("to_state", "TO", lambda state: state or "-"),
    Column("instances", "INSTANCES", justify="right"),
)
_PROBLEM_COLUMNS = (
    Column("code", "PROBLEM"),
    Column("instances", "INSTANCES", justify="right"),
    Column("message", "MESSAGE", is_prose=True),
)
_FIELDS = ("workflow", "to_version", "dry_run", "migrated", "remaining")


def state_pair(value: str) -> tuple[str, str]:
    """OLD=NEW as a pair."""
    old, separator, new = value.partition("=")
    if not (old and separator and new):
        raise click.BadParameter(f"{value!r} is not OLD=NEW")
    return old, new


@click.command(
    "migrate",
    epilog="Example: flowgres instances migrate fraud_detection --to 2 --map investigating=in_review --dry-run",
)
@click.argument("workflow")
@click.option("--to", "to_version", type=click.IntRange(1), required=True, metavar="N", help="The version to move to.")
@click.option("--from-version", type=click.IntRange(1), metavar="N", help="Only those of this version.")
@click.option(
    "--map", "pairs", type=state_pair, multiple=True, metavar="OLD=NEW", help="A state that has another name."
)
@click.option("--completed", is_flag=True, help="Move completed instances as well.")
@click.option("--dry-run", is_flag=True, help="Tell what would move and what is in the way; change nothing.")
@server_options
@output_option
@pass_session
def migrate_instances(
    session: Session,
    workflow: str,
    to_version: int,
    from_version: int | None,
    pairs: tuple[tuple[str, str], ...],
    completed: bool,
    dry_run: bool,
) -> None:
    """Move the instances of a machine to another version of it.

    States of the same name are the same; --map is for the others. A state without counterpart that an instance is in
    refuses all (exit 2); --dry-run lists them (exit 1 when there are any). In calls of 10,000: when one fails, what the
    ones before did stays, and the same command goes on.
    """
    if len(dict(pairs)) < len(pairs):
        raise click.UsageError("--map names a state twice.")
    arguments: dict[str, Json] = {
        "workflow": workflow,
        "to_version": to_version,
        "map": dict(pairs),
        "completed": completed,
        "dry_run": dry_run,
    }
    if from_version is not None:
        arguments["from_version"] = from_version
    answer = session.client.call("migrate_instances", arguments)
    if not dry_run:
        answer = _go_on(session, arguments, answer)
    output = session.output
    output.record(answer, id_field="workflow", fields=_FIELDS)
    if output.is_table:
        output.line("")
        output.rows(answer["moves"], _MOVE_COLUMNS, empty="no instance is on another version")
        for found in (answer["problems"], answer.get("warnings")):
            if found:
                output.line("")
                output.rows(found, _PROBLEM_COLUMNS)
    if answer["problems"]:
        from flowgres_cli.errors import CliError
        from flowgres_cli.refusals import error_line

        told = [error_line(problem) for problem in answer["problems"][:10]]
        raise CliError("\n  ".join(("it would be refused", *told)), code="migration_refused")


def _go_on(session: Session, arguments: dict[str, Json], answer: dict[str, Json]) -> dict[str, Json]:
    """Call until nothing remains; returns the answers as one."""
    total = dict(answer)
    moves: dict[tuple[Json, ...], int] = {}
    vain = 0
    while True:
        for move in answer["moves"]:
            key = (move["from_version"], move["from_state"], move["to_state"])
            moves[key] = moves.get(key, 0) + move["instances"]
        vain = 0 if answer["migrated"] else vain + 1
        if answer["remaining"] == 0:
            break
        if vain == _MOST_VAIN_CALLS:
            from flowgres_cli.errors import ConflictError

            raise ConflictError(
                f"{total['migrated']} moved, and {answer['remaining']} remain that others are moving",
                code="migration_stalled",
                hint="Try again later.",
            )
        say(f"{total['migrated']} moved, {answer['remaining']} remain")
        answer = session.client.call("migrate_instances", arguments)
        total["migrated"] += answer["migrated"]
        total["remaining"] = answer["remaining"]
    total["moves"] = [
        {"from_version": version, "from_state": source, "to_state": target, "instances": count}
        for (version, source, target), count in sorted(moves.items())
    ]
    return total
