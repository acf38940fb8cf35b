"""flowgres workflows."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any

_LIST_COLUMNS = (
    Column("name", "NAME"),
    Column("kind", "KIND", is_optional=True),
    Column("status", "STATUS"),
    Column("active_version", "ACTIVE", justify="right"),
    Column("title", "TITLE", is_optional=True),
    Column("description", "DESCRIPTION"),
    Column("updated_at", "UPDATED", moment, is_optional=True),
)
_STEP_COLUMNS = (
    Column("step", "STEP"),
    Column("type", "TYPE"),
    Column("depends_on", "DEPENDS ON", lambda value: ", ".join(value or ())),
    Column("description", "DESCRIPTION"),
)


@click.group()
def workflows() -> None:
    """List, inspect, activate and delete workflows."""


@workflows.command("list", epilog="Example: flowgres workflows list --status active -o id")
@click.option("--status", type=click.Choice(("draft", "active", "inactive", "archived")), help="Only with this status.")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_workflows(session: Session, status: str | None, limit: int) -> None:
    """List workflows by name."""
    parameters: dict[str, str | int] = {"order": "name.asc", "limit": limit}
    if status is not None:
        parameters["status"] = f"eq.{status}"
    session.output.rows(
        session.client.select("workflows", parameters),
        _LIST_COLUMNS,
        id_field="name",
        empty="no workflows; bring one in with: flowgres import FILE",
    )


@workflows.command("show", epilog="Example: flowgres workflows show order-pipeline")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), help="The steps of this version instead of the active one.")
@server_options
@output_option
@pass_session
def show_workflow(session: Session, name: str, version: int | None) -> None:
    """Show one workflow with its steps."""
    found = session.client.select("workflows", {"name": f"eq.{name}", "limit": 1})
    if not found:
        raise _missing(session, name)
    workflow = found[0]
    shown = version or workflow.get("active_version") or workflow.get("version")
    steps = session.client.select(
        "workflow_steps", {"workflow_id": f"eq.{workflow['id']}", "version": f"eq.{shown}", "order": "index.asc"}
    )
    if version is not None and not steps:
        from flowgres_cli.errors import NotFoundError

        raise NotFoundError(f"workflow {name!r} has no version {version}", hint="List /workflow_versions of the API.")
    output = session.output
    if not output.is_table:
        output.record({**workflow, "shown_version": shown, "steps": steps}, id_field="name")
        return
    fields = ("name", "title", "kind", "status", "active_version", "description", "created_at", "updated_at")
    output.record(workflow, fields=fields)
    output.line("")
    output.rows(steps, _STEP_COLUMNS, id_field="step", empty="no steps")


@workflows.command("activate", epilog="Example: flowgres workflows activate order-pipeline --version 3")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), help="The version to activate; the newest when absent.")
@server_options
@output_option
@pass_session
def activate_workflow(session: Session, name: str, version: int | None) -> None:
    """Let new executions start, on a version of the workflow."""
    _change(session, "activate_workflow", {"workflow": name} | ({"version": version} if version is not None else {}))


@workflows.command("deactivate", epilog="Example: flowgres workflows deactivate order-pipeline")
@click.argument("name")
@server_options
@output_option
@pass_session
def deactivate_workflow(session: Session, name: str) -> None:
    """Refuse new executions; those under way go on."""
    _change(session, "deactivate_workflow", {"workflow": name})


@workflows.command("delete", epilog="Example: flowgres workflows delete order-pipeline --yes")
@click.argument("name")
@click.option("--cancel-running", "is_cancelling", is_flag=True, help="Cancel its executions that have not ended.")
@click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask.")
@server_options
@output_option
@pass_session
def delete_workflow(session: Session, name: str, is_cancelling: bool, is_confirmed: bool) -> None:
    """Delete a workflow; the history of its executions stays.

    Refused (exit 6) while executions of it have not ended, unless they are to be cancelled.
    """
    if not is_confirmed:
        click.confirm(f"Delete workflow {name} of {session.config.api_url}?", abort=True, err=True)
    _change(session, "delete_workflow", {"workflow": name} | ({"cancel_running": True} if is_cancelling else {}))


def _change(session: Session, function: str, arguments: dict[str, Json]) -> None:
    answer = session.client.call(function, arguments)
    session.output.record(answer or {}, id_field="name", fields=("name", "status", "active_version"))


def _missing(session: Session, name: str) -> Exception:
    import difflib

    from flowgres_cli.errors import NotFoundError

    names = [row["name"] for row in session.client.select("workflows", {"select": "name", "limit": 1000})]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "List them with: flowgres workflows list"
    return NotFoundError(f"workflow {name!r} does not exist", code="workflow_not_found", hint=hint)
