"""flowgres executions|workflows|tenants pause, resume and update: what is under way, in hand."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.executions import execution_id
from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
_EXECUTION_COLUMNS = (
    Column("id", "ID"),
    Column("workflow_name", "WORKFLOW"),
    Column("version", "V", justify="right", is_optional=True),
    Column("status", "STATUS"),
    Column("generation", "GENERATION", justify="right", is_optional=True),
    Column("priority", "PRIORITY", justify="right", is_optional=True),
    Column("scheduled_at", "BEGINS", moment, is_optional=True),
    Column("timeout_seconds", "TIME LIMIT", justify="right", is_optional=True),
)
_WORKFLOW_FIELDS = ("name", "status", "is_paused", "paused_at", "paused_by")
_TENANT_FIELDS = ("slug", "name", "status", "is_paused", "paused_at", "paused_by")

reason_option = click.option("--reason", metavar="TEXT", help="Why; kept in the events and the audit log.")
ids_argument = click.argument("executions", metavar="EXECUTION...", type=execution_id, nargs=-1, required=True)


@click.command("pause", epilog="Example: flowgres executions pause 0193... --reason 'supplier is down'")
@ids_argument
@reason_option
@server_options
@output_option
@pass_session
def pause_executions(session: Session, executions: tuple[str, ...], reason: str | None) -> None:
    """Pause executions, and the children that they wait for.

    Steps that run end and are recorded; nothing else begins until they are resumed.
    """
    _act(session, "pause_execution", executions, _with_reason(reason))


@click.command("resume", epilog="Example: flowgres executions resume 0193...")
@ids_argument
@reason_option
@server_options
@output_option
@pass_session
def resume_executions(session: Session, executions: tuple[str, ...], reason: str | None) -> None:
    """Let paused executions go on, and the children that were paused with them."""
    _act(session, "resume_execution", executions, _with_reason(reason))


@click.command("update", epilog="Example: flowgres executions update 0193... --priority 1 --extend 600")
@ids_argument
@click.option("--priority", type=click.IntRange(0, 9), help="0 goes first, 9 last; children follow.")
@click.option("--scheduled-at", metavar="TIME", help="When it begins (ISO 8601), or now; of what has not begun.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Active time it may take."
)
@click.option("--extend", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="So much more time.")
@reason_option
@server_options
@output_option
@pass_session
def update_executions(
    session: Session,
    executions: tuple[str, ...],
    priority: int | None,
    scheduled_at: str | None,
    timeout: float | None,
    extend: float | None,
    reason: str | None,
) -> None:
    """Change the priority of executions, when they begin, or how long they may take."""
    if timeout is not None and extend is not None:
        raise click.UsageError("--timeout and --extend exclude each other.")
    given = {"priority": priority, "timeout_seconds": timeout, "extend_seconds": extend}
    changes: dict[str, Json] = {name: value for name, value in given.items() if value is not None}
    if scheduled_at is not None:
        changes["scheduled_at"] = None if scheduled_at == "now" else scheduled_at
    if not changes:
        raise click.UsageError("Say what to change: --priority, --scheduled-at, --timeout or --extend.")
    _act(session, "update_execution", executions, {"changes": changes, **_with_reason(reason)})


@click.command(
    "retry", epilog="Example: flowgres executions retry 0193... --version 4 --reason 'the address was wrong'"
)
@ids_argument
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="Go on with this version of the workflow.")
@reason_option
@server_options
@output_option
@pass_session
def retry_executions(session: Session, executions: tuple[str, ...], version: int | None, reason: str | None) -> None:
    """Retry executions from the steps that failed; what has completed stays."""
    arguments: dict[str, Json] = {} if version is None else {"version": version}
    _act(session, "retry_execution", executions, arguments | _with_reason(reason))


@click.command("pause", epilog="Example: flowgres workflows pause order-pipeline --reason 'stocktaking'")
@click.argument("name")
@reason_option
@server_options
@output_option
@pass_session
def pause_workflow(session: Session, name: str, reason: str | None) -> None:
    """Let no execution of a workflow go on until it is resumed.

    Starts are accepted and wait; steps that run end and are recorded.
    """
    answer = session.client.call("pause_workflow", {"workflow": name, **_with_reason(reason)})
    session.output.record(answer, id_field="name", fields=_WORKFLOW_FIELDS)


@click.command("resume", epilog="Example: flowgres workflows resume order-pipeline")
@click.argument("name")
@reason_option
@server_options
@output_option
@pass_session
def resume_workflow(session: Session, name: str, reason: str | None) -> None:
    """Let a paused workflow go on. Executions that were paused for themselves stay so."""
    answer = session.client.call("resume_workflow", {"workflow": name, **_with_reason(reason)})
    session.output.record(answer, id_field="name", fields=_WORKFLOW_FIELDS)


@click.command("pause", epilog="Example: flowgres tenants pause acme --dsn postgresql://flowgres_operator@db/flowgres")
@click.argument("slug", required=False)
@click.option("--dsn", metavar="DSN", help="Database, as an operator, who may pause any tenant.")
@reason_option
@server_options
@output_option
@pass_session
def pause_tenant(session: Session, slug: str | None, dsn: str | None, reason: str | None) -> None:
    """Let nothing of a tenant go on until it is resumed: your own, or with --dsn any.

    Starts are accepted and wait; steps that run end and are recorded.
    """
    _change_tenant(session, "pause_tenant", slug, dsn, reason)


@click.command(
    "resume", epilog="Example: flowgres tenants resume acme --dsn postgresql://flowgres_operator@db/flowgres"
)
@click.argument("slug", required=False)
@click.option("--dsn", metavar="DSN", help="Database, as an operator, who may resume any tenant.")
@reason_option
@server_options
@output_option
@pass_session
def resume_tenant(session: Session, slug: str | None, dsn: str | None, reason: str | None) -> None:
    """Let a paused tenant go on: your own, or with --dsn any."""
    _change_tenant(session, "resume_tenant", slug, dsn, reason)


def _with_reason(reason: str | None) -> dict[str, str]:
    return {"reason": reason} if reason is not None else {}


def _act(session: Session, function: str, executions: tuple[str, ...], arguments: dict[str, Json]) -> None:
    """One call for each; what was done before one is refused is told all the same."""
    answers: list[dict[str, Json]] = []
    try:
        for execution in executions:
            answers.append(session.client.call(function, {"execution_id": execution, **arguments}))
    finally:
        if answers:
            session.output.rows(answers, _EXECUTION_COLUMNS)


def _change_tenant(session: Session, function: str, slug: str | None, dsn: str | None, reason: str | None) -> None:
    if dsn is None:
        answer = session.client.call(function, ({"tenant": slug} if slug else {}) | _with_reason(reason))
    else:
        from flowgres_cli.operator import call_as_operator

        if slug is None:
            raise click.UsageError("Name the tenant.")
        arguments = {"tenant": slug, "reason": reason}
        if function == "pause_tenant":
            query = "select flowgres_api.pause_tenant(tenant => %(tenant)s, reason => %(reason)s)"
            answer = call_as_operator(dsn, query, arguments)
        else:
            query = "select flowgres_api.resume_tenant(tenant => %(tenant)s, reason => %(reason)s)"
            answer = call_as_operator(dsn, query, arguments)
    session.output.record(answer, id_field="slug", fields=_TENANT_FIELDS)
