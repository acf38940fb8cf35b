"""flowgres instances."""

from __future__ import annotations

import uuid
from typing import Any

import click

from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
STATUSES = ("active", "completed")

_LIST_COLUMNS = (
    Column("id", "ID"),
    Column("entity_id", "ENTITY", is_prose=True),
    Column("current_state", "STATE"),
    Column("workflow_name", "WORKFLOW", is_optional=True),
    Column("entity_table", "TABLE", is_optional=True),
    Column("status", "STATUS", is_optional=True),
    Column("updated_at", "UPDATED", moment, is_optional=True),
)
_NEXT_COLUMNS = (
    Column("to_state_name", "TO"),
    Column("transition_name", "TRANSITION"),
    Column("is_allowed", "ALLOWED", lambda is_allowed: {True: "yes", False: "no"}.get(is_allowed, "")),
    Column("needs", "NEEDS", lambda needs: _needs(needs), is_prose=True),
)
_HISTORY_COLUMNS = (
    Column("executed_at", "AT", moment),
    Column("from_state", "FROM", lambda state: state or "-"),
    Column("to_state", "TO"),
    Column("transition_name", "TRANSITION", is_optional=True),
    Column("executed_by", "BY", is_optional=True, is_prose=True),
    Column("actor", "ACTOR", is_optional=True, is_prose=True),
    Column("notes", "NOTES", is_prose=True),
)
_FIELDS = (
    "id", "workflow_name", "workflow_version", "entity_table", "entity_id", "current_state", "status", "metadata",
    "started_at", "updated_at", "completed_at", "due_at",
)  # fmt: skip


def _needs(needs: Json) -> str:
    """What a transition asks for, in words: roles, fields, a guard."""
    if not isinstance(needs, dict):
        return ""
    told = []
    if needs.get("roles"):
        told.append(" or ".join(needs["roles"]))
    if needs.get("fields"):
        told.append("with " + ", ".join(needs["fields"]))
    if needs.get("guard"):
        told.append(str(needs["guard"]))
    return "; ".join(told)


def instance_id(value: str) -> str:
    """The id in canonical form: refused here, so that a typing mistake is a usage error and costs no request."""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no instance id; list them with: flowgres instances list") from None


@click.group()
def instances() -> None:
    """List, start and move instances of state machines.

    An instance is where one row of yours, its entity, stands in a machine.
    """


@instances.command("list", epilog="Example: flowgres instances list --workflow fraud_detection --state investigating")
@click.option("--workflow", "--workflow-name", "workflow", metavar="NAME", help="Only of this machine.")
@click.option("--state", metavar="NAME", help="Only in this state.")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status; completed: in a final state.")
@click.option("--entity-table", metavar="NAME", help="Only of entities of this table.")
@click.option("--entity-id", metavar="ID", help="Only of this entity.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many, moved last first."
)
@server_options
@output_option
@pass_session
def list_instances(
    session: Session,
    workflow: str | None,
    state: str | None,
    status: str | None,
    entity_table: str | None,
    entity_id: str | None,
    limit: int,
) -> None:
    """List instances, the one that moved last first."""
    given = {
        "workflow_name": workflow,
        "current_state": state,
        "status": status,
        "entity_table": entity_table,
        "entity_id": entity_id,
    }
    parameters: dict[str, str | int] = {"order": "updated_at.desc", "limit": limit}
    parameters |= {column: f"eq.{value}" for column, value in given.items() if value is not None}
    session.output.rows(
        session.client.select("entity_workflows", parameters),
        _LIST_COLUMNS,
        empty="no instances; begin with: flowgres instances start",
    )


@instances.command("show", epilog="Example: flowgres instances show 0193... -o yaml")
@click.argument("instance", type=instance_id)
@server_options
@output_option
@pass_session
def show_instance(session: Session, instance: str) -> None:
    """Show one instance, and what may come next."""
    found = _find(session, instance)
    transitions = session.client.call("get_transitions", {"instance_id": instance})
    output = session.output
    if not output.is_table:
        output.record({**found, "transitions": transitions})
        return
    output.record(found, fields=_FIELDS)
    output.line("")
    output.rows(transitions, _NEXT_COLUMNS, id_field="transition_id", empty="nothing may come next")


@instances.command(
    "start", epilog="""Example: flowgres instances start transactions 12345 fraud_detection -d '{"amount": 5000}'"""
)
@click.argument("entity_table")
@click.argument("entity_id")
@click.argument("workflow")
@click.option("-d", "--metadata", metavar="JSON|@FILE|-", help="What is known of the entity, as an object.")
@server_options
@output_option
@pass_session
def start_instance(session: Session, entity_table: str, entity_id: str, workflow: str, metadata: str | None) -> None:
    """Start a machine for an entity: in its initial state.

    WORKFLOW is the machine's name or id. An entity has one active instance of a machine (exit 6).
    """
    from flowgres_cli.errors import NotFoundError
    from flowgres_cli.inputs import read_object

    arguments: dict[str, Json] = {"entity_table": entity_table, "entity_id": entity_id}
    if metadata is not None:
        arguments["metadata"] = read_object(metadata)
    try:
        if _is_uuid(workflow):
            started = session.client.call("start_workflow_by_id", {"workflow_definition_id": workflow, **arguments})
        else:
            started = session.client.call("start_workflow", {"workflow_name": workflow, **arguments})
    except NotFoundError as error:
        if error.code != "workflow_not_found" or _is_uuid(workflow):
            raise
        from flowgres_cli.commands.workflows import missing_workflow

        raise missing_workflow(session, workflow) from error
    _print_moved(session, str(started))


@instances.command(
    "transition", epilog="Example: flowgres instances transition 0193... investigating --notes 'Suspicious pattern'"
)
@click.argument("instance", type=instance_id)
@click.argument("to_state", metavar="TO")
@click.option("--executed-by", metavar="TEXT", help="Who did it, in your words; who was authenticated is kept as well.")
@click.option("-d", "--metadata", metavar="JSON|@FILE|-", help="Data of this transition, as an object.")
@click.option("--context", metavar="JSON|@FILE|-", help="Circumstances, as an object; kept, and seen by guards.")
@click.option("--notes", metavar="TEXT", help="A remark.")
@server_options
@output_option
@pass_session
def transition_instance(
    session: Session,
    instance: str,
    to_state: str,
    executed_by: str | None,
    metadata: str | None,
    context: str | None,
    notes: str | None,
) -> None:
    """Move an instance to the state TO.

    Of two that move it at once one wins; the other is refused (exit 6), and told where the instance stands.
    """
    from flowgres_cli.errors import UsageProblemError
    from flowgres_cli.inputs import read_object

    if metadata == context == "-":
        raise click.UsageError("One of --metadata and --context may come from stdin.")
    arguments: dict[str, Json] = {"instance_id": instance, "to_state": to_state}
    arguments |= {name: text for name, text in (("executed_by", executed_by), ("notes", notes)) if text is not None}
    for name, data in (("metadata", metadata), ("context", context)):
        if data is not None:
            arguments[name] = read_object(data, option=f"--{name}")
    try:
        session.client.call("execute_transition", arguments)
    except UsageProblemError as error:
        if error.code == "state_unknown":
            error.hint = " ".join(filter(None, (_nearest_state(session, instance, to_state), error.hint)))
        raise
    _print_moved(session, instance)


@instances.command("history", epilog="Example: flowgres instances history 0193... --verify")
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
    _find(session, instance)
    parameters: dict[str, str | int] = {
        "entity_workflow_instance_id": f"eq.{instance}",
        "order": "seq.desc",
        "limit": limit,
    }
    session.output.rows(session.client.select("workflow_history", parameters), _HISTORY_COLUMNS, empty="no history")


def _find(session: Session, instance: str) -> dict[str, Json]:
    found = session.client.select("entity_workflows", {"id": f"eq.{instance}", "limit": 1})
    if not found:
        from flowgres_cli.errors import NotFoundError
        from flowgres_cli.refusals import advice

        code = "instance_not_found"
        raise NotFoundError(f"instance {instance} does not exist", code=code, hint=advice(code, None))
    return found[0]


def _print_moved(session: Session, instance: str) -> None:
    """The instance as it is now; where the id alone is wanted, without asking for it."""
    record = {"id": instance} if session.output.format == "id" else _find(session, instance)
    session.output.record(record, fields=_FIELDS[:7])


def _nearest_state(session: Session, instance: str, wanted: str) -> str | None:
    import difflib

    rows = session.client.call("get_transitions", {"instance_id": instance})
    near = difflib.get_close_matches(wanted, [row["to_state_name"] for row in rows], n=1)
    return f"Did you mean {near[0]!r}?" if near else None


def _is_uuid(text: str) -> bool:
    try:
        # The written form alone: a name may be 32 hexadecimal digits.
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _verify(session: Session, instance: str) -> None:
    """Print the report; raise CliError when the history is not as it was written."""
    report = session.client.call("verify_history", {"instance_id": instance})
    session.output.record({"id": instance, **report}, fields=("id", "valid", "rows"))
    if not report["valid"]:
        from flowgres_cli.errors import CliError

        told = [f"row {one['seq']}: {one['problem'].replace('_', ' ')}" for one in report["problems"]]
        raise CliError("\n  ".join(("the history is not as it was written", *told)), code="history_changed")
