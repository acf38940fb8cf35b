"""flowgres workflows."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.commands.control import pause_workflow, resume_workflow
from flowgres_cli.output import Column, moment, say
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any


def _describe(problem: dict[str, Json]) -> str:
    """One thing wrong with a version, in a line: where, what, how to fix it."""
    text = ": ".join(str(problem[key]) for key in ("path", "message") if problem.get(key))
    return f"{text} ({problem['hint']})" if problem.get("hint") else text


_LIST_COLUMNS = (
    Column("name", "NAME"),
    Column("kind", "KIND", is_optional=True),
    Column("status", "STATUS"),
    Column("active_version", "ACTIVE", justify="right"),
    Column("pending_version", "PENDING", justify="right", is_optional=True),
    Column("title", "TITLE", is_optional=True, is_prose=True),
    Column("description", "DESCRIPTION", is_optional=True, is_prose=True),
    Column("updated_at", "UPDATED", moment, is_optional=True),
)
_VERSION_COLUMNS = (
    Column("version", "VERSION", justify="right"),
    Column("state", "STATE"),
    Column("use", "USE"),
    Column("step_count", "STEPS", justify="right"),
    Column("created_by", "BY", is_optional=True, is_prose=True),
    Column("created_at", "IMPORTED", moment, is_optional=True),
    Column("errors", "ERRORS", lambda errors: "; ".join(_describe(error) for error in errors or ()), is_prose=True),
)
_STEP_COLUMNS = (
    Column("step", "STEP"),
    Column("type", "TYPE"),
    Column("depends_on", "DEPENDS ON", lambda value: ", ".join(value or ()), is_prose=True),
    Column("description", "DESCRIPTION", is_optional=True, is_prose=True),
)
_STATE_COLUMNS = (
    Column("name", "STATE"),
    Column("is_initial", "INITIAL", lambda value: "yes" if value else ""),
    Column("is_final", "FINAL", lambda value: "yes" if value else ""),
)
_TRANSITION_COLUMNS = (
    Column("transition_name", "TRANSITION"),
    Column("from_state", "FROM", lambda state: state or "*"),
    Column("to_state", "TO"),
)
_INPUT_COLUMNS = (
    Column("name", "INPUT"),
    Column("type", "TYPE"),
    Column("required", "REQUIRED", lambda value: "yes" if value else ""),
    Column("default", "DEFAULT", is_prose=True),
    Column("description", "DESCRIPTION", is_optional=True, is_prose=True),
)


@click.group()
def workflows() -> None:
    """List, inspect, activate and delete workflows."""


workflows.add_command(pause_workflow)
workflows.add_command(resume_workflow)


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
    """Show one workflow with its inputs and steps; a state machine with its states and transitions."""
    workflow = find_workflow(session, name)
    shown = version or workflow.get("active_version") or workflow.get("version")
    steps = session.client.select(
        "workflow_steps", {"workflow_id": f"eq.{workflow['id']}", "version": f"eq.{shown}", "order": "index.asc"}
    )
    if version is not None and not steps:
        from flowgres_cli.errors import NotFoundError

        raise NotFoundError(f"workflow {name!r} has no version {version}", hint="List /workflow_versions of the API.")
    versions = session.client.select(
        "workflow_versions",
        {
            "workflow_id": f"eq.{workflow['id']}",
            "version": f"eq.{shown}",
            "select": "inputs,starts,concurrency",
            "limit": 1,
        },
    )
    told = versions[0] if versions else {}
    inputs = told.get("inputs") or {}
    workflow["starts"] = told.get("starts")
    workflow["concurrency"] = told.get("concurrency")
    output = session.output
    if not output.is_table:
        output.record({**workflow, "shown_version": shown, "inputs": inputs, "steps": steps}, id_field="name")
        _tell_state(session, workflow)
        return
    fields = (
        "name", "title", "kind", "status", "active_version", "pending_version", "starts", "concurrency", "description",
        "created_at", "updated_at",
    )  # fmt: skip
    output.record(workflow, fields=fields)
    _tell_state(session, workflow)
    output.line("")
    if workflow.get("kind") == "state_machine":
        _print_machine(session, workflow)
        return
    if inputs:
        output.rows([{"name": name, **told} for name, told in inputs.items()], _INPUT_COLUMNS, id_field="name")
        output.line("")
    output.rows(steps, _STEP_COLUMNS, id_field="step", empty="no steps")


@workflows.command("versions", epilog="Example: flowgres workflows versions order-pipeline")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_versions(session: Session, name: str, limit: int) -> None:
    """List the versions of a workflow, the newest first, with what is wrong with those that are invalid."""
    columns = "version,version_label,state,is_active,is_pending,step_count,created_by,created_at,errors"
    rows = session.client.select(
        "workflow_versions",
        {"workflow_name": f"eq.{name}", "select": columns, "order": "version.desc", "limit": limit},
    )
    if not rows and not session.client.select("workflows", {"name": f"eq.{name}", "select": "id", "limit": 1}):
        raise missing_workflow(session, name)
    for row in rows:
        row["use"] = "active" if row["is_active"] else "waits to be active" if row["is_pending"] else None
    session.output.rows(rows, _VERSION_COLUMNS, id_field="version", empty="no versions")


@workflows.command("activate", epilog="Example: flowgres workflows activate order-pipeline --version 3")
@click.argument("name")
@click.option("--version", type=click.IntRange(min=1), help="The version to activate; the newest when absent.")
@server_options
@output_option
@pass_session
def activate_workflow(session: Session, name: str, version: int | None) -> None:
    """Let new executions start, on a version of the workflow.

    A version whose expressions are still being checked waits for that; the one before stays active.
    """
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


def find_workflow(session: Session, name: str) -> dict[str, Json]:
    """The row of this workflow. Raises NotFoundError, with the name that may be meant."""
    found = session.client.select("workflows", {"name": f"eq.{name}", "limit": 1})
    if not found:
        raise missing_workflow(session, name)
    return found[0]


def _print_machine(session: Session, workflow: dict[str, Json]) -> None:
    session.output.rows(workflow["states"], _STATE_COLUMNS, id_field="name")
    session.output.line("")
    transitions = {"workflow_id": f"eq.{workflow['id']}", "order": "place.asc"}
    session.output.rows(session.client.select("workflow_transitions", transitions), _TRANSITION_COLUMNS)


def _change(session: Session, function: str, arguments: dict[str, Json]) -> None:
    answer = session.client.call(function, arguments)
    session.output.record(answer or {}, id_field="name", fields=("name", "status", "active_version", "pending_version"))
    _tell_state(session, answer or {})


def _tell_state(session: Session, workflow: dict[str, Json]) -> None:
    """Say what an operator would wonder about: a version that waits, or the newest one that is invalid."""
    pending = workflow.get("pending_version")
    if pending is not None:
        active = workflow.get("active_version")
        say(f"version {pending} becomes active when a runner has confirmed its expressions; until then it is {active}")
    newest = workflow.get("latest_version")
    if newest is None or newest == workflow.get("active_version") or workflow.get("deleted_at"):
        return
    found = session.client.select(
        "workflow_versions",
        {"workflow_id": f"eq.{workflow['id']}", "version": f"eq.{newest}", "state": "eq.invalid", "select": "errors"},
    )
    for row in found:
        say(f"version {newest} is invalid:")
        for error in row.get("errors") or ():
            say(f"  {_describe(error)}")


def missing_workflow(session: Session, name: str) -> Exception:
    """The error that says so, with the name that may be meant."""
    import difflib

    from flowgres_cli.errors import NotFoundError

    names = [row["name"] for row in session.client.select("workflows", {"select": "name", "limit": 1000})]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "List them with: flowgres workflows list"
    return NotFoundError(f"workflow {name!r} does not exist", code="workflow_not_found", hint=hint)
