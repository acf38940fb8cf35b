"""flowgres errors."""

from __future__ import annotations

import click

from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

_COLUMNS = (
    Column("count", "COUNT"),
    Column("workflow_name", "WORKFLOW"),
    Column("step", "STEP"),
    Column("code", "CODE"),
    Column("message", "MESSAGE", is_prose=True),
    Column("last_at", "LAST", moment),
    Column("first_at", "FIRST", moment, is_optional=True),
    Column("sample_execution_id", "EXECUTION"),
)


@click.command(epilog="Example: flowgres errors --workflow order_pipeline --since 2026-11-01")
@click.option("--workflow", metavar="NAME", help="Only of this workflow.")
@click.option("--step", metavar="ID", help="Only of this step.")
@click.option("--code", metavar="CODE", help="Only with this code.")
@click.option("--since", metavar="TIME", help="Only what failed since then, as 2026-11-01 or 2026-11-01T12:00:00Z.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def errors(
    session: Session, workflow: str | None, step: str | None, code: str | None, since: str | None, limit: int
) -> None:
    """List what fails alike, most often first: same step, same code, same message but for names, numbers and ids."""
    parameters: dict[str, str | int] = {"order": "count.desc,last_at.desc", "limit": limit}
    for column, value in (("workflow_name", workflow), ("step", step), ("code", code)):
        if value is not None:
            parameters[column] = f"eq.{value}"
    if since is not None:
        parameters["last_at"] = f"gte.{since}"
    session.output.rows(
        session.client.select("error_groups", parameters),
        _COLUMNS,
        id_field="sample_execution_id",
        empty="nothing has failed",
    )
