"""flowgres instances."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.commands.instances_history import export_history, list_history, verify_instances
from flowgres_cli.commands.instances_migrate import migrate_instances
from flowgres_cli.instances import FIELDS, find_instance, instance_id, is_uuid
from flowgres_cli.output import Column, moment, say
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
STATUSES = ("active", "completed")
ON_ERROR = ("fail", "report")
_LIST_ROWS = 50
_PAGE_ROWS = 1000

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
_EXECUTION_COLUMNS = (
    Column("execution_id", "EXECUTION"),
    Column("status", "STATUS"),
    Column("workflow_name", "WORKFLOW", is_optional=True),
    Column("transition_name", "TRANSITION", is_optional=True),
    Column("started_at", "STARTED", moment, is_optional=True),
    Column("outcome", "THEN", is_prose=True),
)


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


def outcome(execution: dict[str, Json]) -> str:
    """What the end of an execution does, or has done, to its instance: a row of instance_executions in words."""
    if execution["moved_to"]:
        return f"moved to {execution['moved_to']}"
    if execution["reason"]:
        return str(execution["reason"])
    if execution["finished_at"]:
        return ""
    ways = (("on_success", "success"), ("on_failure", "failure"))
    return ", ".join(f"{word}: {execution[key]}" for key, word in ways if execution[key])


@click.group()
def instances() -> None:
    """List, start and move instances of state machines.

    An instance is where one row of yours, its entity, stands in a machine.
    """


for _command in (list_history, verify_instances, export_history, migrate_instances):
    instances.add_command(_command)


@instances.command("list", epilog="Example: flowgres instances list --workflow fraud_detection --state investigating")
@click.option("--workflow", "--workflow-name", "workflow", metavar="NAME", help="Only of this machine.")
@click.option("--state", metavar="NAME", help="Only in this state.")
@click.option("--status", type=click.Choice(STATUSES), help="Only with this status; completed: in a final state.")
@click.option("--entity-table", metavar="NAME", help="Only of entities of this table.")
@click.option("--entity-id", metavar="ID", help="Only of this entity.")
@click.option("--limit", type=click.IntRange(1, 1000), help="At most so many, moved last first.  [default: 50]")
@click.option("--all", "is_all", is_flag=True, help="All of them, by their ids, where no limit is given.")
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
    limit: int | None,
    is_all: bool,
) -> None:
    """List instances, the one that moved last first."""
    given = {
        "workflow_name": workflow,
        "current_state": state,
        "status": status,
        "entity_table": entity_table,
        "entity_id": entity_id,
    }
    filters: dict[str, str | int] = {column: f"eq.{value}" for column, value in given.items() if value is not None}
    empty = "no instances; begin with: flowgres instances start"
    if is_all and limit is None:
        _list_all(session, filters, empty)
        return
    limit = limit or _LIST_ROWS
    rows = session.client.select("entity_workflows", filters | {"order": "updated_at.desc", "limit": limit})
    session.output.rows(rows, _LIST_COLUMNS, empty=empty)
    if len(rows) == limit:
        say(f"the {limit} that moved last; --all lists all of them")


def _list_all(session: Session, filters: dict[str, str | int], empty: str) -> None:
    """By their ids, so that none is missing or comes twice as they move; page by page where lines are written."""
    found: list[dict[str, Json]] = []
    query = filters | {"order": "id.asc", "limit": _PAGE_ROWS}
    is_streamed = session.output.format in ("id", "jsonl")
    while True:
        rows = session.client.select("entity_workflows", query)
        if is_streamed:
            session.output.rows(rows, _LIST_COLUMNS)
        else:
            found += rows
        # A server may give less than was asked for.
        if not rows:
            break
        query["id"] = f"gt.{rows[-1]['id']}"
    if not is_streamed:
        session.output.rows(found, _LIST_COLUMNS, empty=empty)


@instances.command("show", epilog="Example: flowgres instances show 0193... -o yaml")
@click.argument("instance", type=instance_id)
@server_options
@output_option
@pass_session
def show_instance(session: Session, instance: str) -> None:
    """Show one instance, what may come next, and the executions that its transitions started."""
    found = find_instance(session, instance)
    transitions = session.client.call("get_transitions", {"instance_id": instance})
    query: dict[str, str | int] = {"instance_id": f"eq.{instance}", "order": "seq.desc", "limit": 50}
    executions = session.client.select("instance_executions", query)
    output = session.output
    if not output.is_table:
        output.record({**found, "transitions": transitions, "executions": executions})
        return
    output.record(found, fields=FIELDS)
    output.line("")
    output.rows(transitions, _NEXT_COLUMNS, id_field="transition_id", empty="nothing may come next")
    if executions:
        output.line("")
        rows = [{**execution, "outcome": outcome(execution)} for execution in executions]
        output.rows(rows, _EXECUTION_COLUMNS, id_field="execution_id", empty="")


@instances.command(
    "start",
    epilog="""Examples: flowgres instances start transactions 12345 fraud_detection -d '{"amount": 5000}' · """
    "flowgres instances start fraud_detection --from transactions.csv",
)
@click.argument("names", nargs=-1, required=True, metavar="[ENTITY_TABLE ENTITY_ID] WORKFLOW")
@click.option("-d", "--metadata", metavar="JSON|@FILE|-", help="What is known of the entity, as an object.")
@click.option(
    "--from", "source", metavar="FILE|-", help="Start for each row of a file: JSON lines, or CSV; - is stdin."
)
@click.option(
    "--on-error", type=click.Choice(ON_ERROR), help="With --from: all of a call or nothing (fail), or report."
)
@server_options
@output_option
@pass_session
def start_instance(
    session: Session, names: tuple[str, ...], metadata: str | None, source: str | None, on_error: str | None
) -> None:
    """Start a machine for an entity: in its initial state.

    WORKFLOW is the machine's name or id. An entity has one active instance of a machine (exit 6).

    The rows of a file have entity_table, entity_id and, where wanted, metadata as JSON. They go in calls of 10,000; the
    first that is refused ends it, and what the ones before did stays. With --on-error report what can be started is,
    and exit 1 says that something was not.
    """
    from flowgres_cli.errors import NotFoundError

    *entity, workflow = names
    _require_source(source, on_error)
    if len(entity) != (0 if source else 2):
        raise click.UsageError(
            "With --from give WORKFLOW alone." if source else "Give ENTITY_TABLE ENTITY_ID WORKFLOW, or --from."
        )
    if source and metadata is not None:
        raise click.UsageError("--metadata is for one entity; the rows of a file have their own.")
    try:
        if source:
            _start_many(session, workflow, source, on_error)
        else:
            _print_moved(session, _start_one(session, workflow, entity, metadata))
    except NotFoundError as error:
        if error.code != "workflow_not_found" or is_uuid(workflow):
            raise
        from flowgres_cli.commands.workflows import missing_workflow

        raise missing_workflow(session, workflow) from error


@instances.command(
    "transition",
    epilog="Examples: flowgres instances transition 0193... investigating --notes 'Suspicious pattern' · "
    "flowgres instances list --state new -o id | flowgres instances transition --to investigating --from -",
)
@click.argument("instance", type=instance_id, required=False)
@click.argument("to_state", metavar="TO", required=False)
@click.option("--to", "to_option", metavar="STATE", help="The state, with --from.")
@click.option(
    "--from", "source", metavar="FILE|-", help="Move each instance of a file: ids, JSON lines or CSV; - is stdin."
)
@click.option(
    "--on-error", type=click.Choice(ON_ERROR), help="With --from: all of a call or nothing (fail), or report."
)
@click.option("--executed-by", metavar="TEXT", help="Who did it, in your words; who was authenticated is kept as well.")
@click.option("--idempotency-key", metavar="KEY", help="The same key moves the instance only once.")
@click.option("-d", "--metadata", metavar="JSON|@FILE|-", help="Data of this transition, as an object.")
@click.option("--context", metavar="JSON|@FILE|-", help="Circumstances, as an object; kept, and seen by guards.")
@click.option("--notes", metavar="TEXT", help="A remark.")
@server_options
@output_option
@pass_session
def transition_instance(
    session: Session,
    /,
    instance: str | None,
    to_state: str | None,
    to_option: str | None,
    source: str | None,
    on_error: str | None,
    **told: str | None,
) -> None:
    """Move an instance to the state TO.

    Of two that move it at once one wins; the other is refused (exit 6), and told where the instance stands.

    The rows of a file are ids, one a line, or have id or instance_id. They go in calls of 10,000; the first that is
    refused ends it, and what the ones before did stays. With --on-error report what may move does, and exit 1 says that
    something did not.
    """
    _require_source(source, on_error)
    if source:
        if instance is not None or to_option is None or told["idempotency_key"] is not None:
            raise click.UsageError("With --from give --to STATE, and neither INSTANCE nor --idempotency-key.")
        _move_many(session, source, on_error, {"to_state": to_option, **_said(told, source)})
        return
    if instance is None or (to_state is None) == (to_option is None):
        raise click.UsageError("Give INSTANCE and TO, or --to STATE with --from FILE.")
    to_state = to_state or to_option or ""
    from flowgres_cli.errors import UsageProblemError

    try:
        session.client.call("execute_transition", {"instance_id": instance, "to_state": to_state, **_said(told, None)})
    except UsageProblemError as error:
        if error.code == "state_unknown":
            error.hint = " ".join(filter(None, (_nearest_state(session, instance, to_state), error.hint)))
        raise
    _print_moved(session, instance)


def _require_source(source: str | None, on_error: str | None) -> None:
    if on_error is not None and source is None:
        raise click.UsageError("--on-error goes with --from.")


def _said(told: dict[str, str | None], source: str | None) -> dict[str, Json]:
    """What goes along with a transition, as arguments of the call."""
    from flowgres_cli.inputs import read_object

    if [source, told["metadata"], told["context"]].count("-") > 1:
        raise click.UsageError("One of --metadata, --context and --from may come from stdin.")
    arguments: dict[str, Json] = {}
    for name, text in told.items():
        if text is not None:
            arguments[name] = read_object(text, option=f"--{name}") if name in ("metadata", "context") else text
    return arguments


def _start_one(session: Session, workflow: str, entity: list[str], metadata: str | None) -> str:
    from flowgres_cli.inputs import read_object

    arguments: dict[str, Json] = dict(zip(("entity_table", "entity_id"), entity, strict=True))
    if metadata is not None:
        arguments["metadata"] = read_object(metadata)
    if is_uuid(workflow):
        return str(session.client.call("start_workflow_by_id", {"workflow_definition_id": workflow, **arguments}))
    return str(session.client.call("start_workflow", {"workflow_name": workflow, **arguments}))


def _start_many(session: Session, workflow: str, source: str, on_error: str | None) -> None:
    from flowgres_cli.bulk import Report, send
    from flowgres_cli.rows import read_entities

    arguments = {"workflow": workflow, "on_error": on_error or "fail"}
    send(
        read_entities(source),
        lambda rows: session.client.call("start_workflows", {**arguments, "entities": rows}),
        Report(session.output, "started"),
    )


def _move_many(session: Session, source: str, on_error: str | None, arguments: dict[str, Json]) -> None:
    from flowgres_cli.bulk import Report, send
    from flowgres_cli.rows import read_instances

    arguments = {**arguments, "on_error": on_error or "fail"}
    send(
        read_instances(source),
        lambda rows: session.client.call("execute_transitions", {**arguments, "instances": rows}),
        Report(session.output, "moved"),
    )


def _print_moved(session: Session, instance: str) -> None:
    """The instance as it is now; where the id alone is wanted, without asking for it."""
    record = {"id": instance} if session.output.format == "id" else find_instance(session, instance)
    session.output.record(record, fields=FIELDS[:7])


def _nearest_state(session: Session, instance: str, wanted: str) -> str | None:
    import difflib

    rows = session.client.call("get_transitions", {"instance_id": instance})
    near = difflib.get_close_matches(wanted, [row["to_state_name"] for row in rows], n=1)
    return f"Did you mean {near[0]!r}?" if near else None
