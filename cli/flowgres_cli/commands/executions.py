"""flowgres executions and flowgres logs."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.commands.control import pause_executions, resume_executions, retry_executions, update_executions
from flowgres_cli.commands.executions_replay import diff_executions, fork_execution, replay_execution
from flowgres_cli.executions import execution_id
from flowgres_cli.output import Column, moment, plain
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
STATUSES = ("queued", "running", "waiting", "paused", "retrying", "completed", "failed", "cancelled")
LEVELS = ("debug", "info", "warning", "error")

_LIST_COLUMNS = (
    Column("id", "ID"),
    Column("workflow_name", "WORKFLOW"),
    Column("version", "V", justify="right", is_optional=True),
    Column("status", "STATUS"),
    Column("progress", "%", lambda value: "" if value is None else f"{float(value):.0f}", "right"),
    Column("created_at", "CREATED", moment, is_optional=True),
    Column("finished_at", "FINISHED", moment, is_optional=True),
)
_EVENT_COLUMNS = (
    Column("seq", "SEQ", justify="right"),
    Column("at", "AT", moment),
    Column("level", "LEVEL"),
    Column("type", "TYPE"),
    Column("step", "STEP"),
    Column("message", "MESSAGE", is_prose=True),
)


@click.group()
def executions() -> None:
    """List, inspect, take in hand, retry and replay executions."""


for _command in (
    pause_executions,
    resume_executions,
    update_executions,
    retry_executions,
    replay_execution,
    fork_execution,
    diff_executions,
):
    executions.add_command(_command)


@executions.command("list", epilog="Example: flowgres executions list --workflow order-pipeline --status failed")
@click.option("--workflow", metavar="NAME", help="Only of this workflow.")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="Only with this status. Repeatable.")
@click.option("--correlation-id", metavar="TEXT", help="Only with this correlation id.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many, newest first."
)
@server_options
@output_option
@pass_session
def list_executions(
    session: Session, workflow: str | None, status: tuple[str, ...], correlation_id: str | None, limit: int
) -> None:
    """List executions, newest first."""
    parameters: dict[str, str | int] = {"order": "id.desc", "limit": limit}
    if workflow is not None:
        parameters["workflow_name"] = f"eq.{workflow}"
    if status:
        parameters["status"] = f"in.({','.join(status)})"
    if correlation_id is not None:
        parameters["correlation_id"] = f"eq.{correlation_id}"
    session.output.rows(session.client.select("executions", parameters), _LIST_COLUMNS, empty="no executions")


@executions.command("show", epilog="Example: flowgres executions show 0193... -o yaml")
@click.argument("execution", type=execution_id)
@click.option(
    "--step", metavar="STEP", help="The attempts of this step (of one item: STEP[0]), with what was sent and received."
)
@server_options
@output_option
@pass_session
def show_execution(session: Session, execution: str, step: str | None) -> None:
    """Show one execution with every step, or the attempts of one step."""
    from flowgres_cli.following import print_result
    from flowgres_cli.output import clean, console
    from flowgres_cli.tree import render
    from flowgres_cli.watching import Watcher, answer_text, error_text, hint_of

    if step is not None:
        from flowgres_cli.attempts import show_attempts

        show_attempts(session, execution, step)
        return
    output = session.output
    snapshot = Watcher(session.client, execution).read(with_children=output.is_table)
    if not output.is_table:
        output.record(snapshot.document)
        return
    screen = console(output.stdout)
    screen.print(render(snapshot, is_ascii=screen.options.ascii_only))
    if snapshot.document.get("error"):
        error = snapshot.document["error"]
        output.line(f"error   {clean(error_text(error))}")
        for label, text in (("answer", answer_text(error)), ("hint", hint_of(error))):
            if text:
                output.line(f"{label:<7} {text}")
    output.line(f"input   {plain(snapshot.document.get('input'))}")
    if snapshot.document.get("instance_id"):
        output.line(f"machine {clean(_machine(session, execution))}")
    if not snapshot.has_ended:
        _print_what_stands(session, execution)
    print_result(snapshot, output)


@executions.command("why", epilog="Example: flowgres executions why 0193...")
@click.argument("execution", type=execution_id)
@server_options
@output_option
@pass_session
def explain_execution(session: Session, execution: str) -> None:
    """Say of each step that has not ended why it does not move, since when, and which command helps."""
    from flowgres_cli.output import say
    from flowgres_cli.reasons import lines, step_of

    rows = _reasons(session, execution)
    # Also refuses an execution that does not exist, which has no rows.
    status = None if rows else session.client.call("get_execution", {"execution_id": execution})["status"]
    if not session.output.is_table:
        session.output.rows([{**row, "label": step_of(row)} for row in rows], (), id_field="label")
        return
    for line in lines(rows):
        session.output.line(line)
    if status is not None:
        say(f"the execution has {status}" if status == "completed" else f"the execution is {status}, and no step waits")


@executions.command("events", epilog="Example: flowgres executions events 0193... -o jsonl")
@click.argument("execution", type=execution_id)
@server_options
@output_option
@pass_session
def list_events(session: Session, execution: str) -> None:
    """List everything that happened to an execution, in order."""
    session.output.rows(_events(session, execution), _EVENT_COLUMNS, id_field="seq", empty="no events yet")


@executions.command("cancel", epilog="Example: flowgres executions cancel 0193... --reason 'ordered twice'")
@click.argument("execution", type=execution_id)
@click.option("--reason", metavar="TEXT", help="Why; kept in the events and the audit log.")
@server_options
@output_option
@pass_session
def cancel_execution(session: Session, execution: str, reason: str | None) -> None:
    """Cancel an execution and everything below it."""
    arguments = {"execution_id": execution} | ({"reason": reason} if reason is not None else {})
    answer = session.client.call("cancel_execution", arguments)
    session.output.record(answer, fields=("id", "workflow_name", "status", "finished_at"))


@executions.command("watch", epilog="Example: flowgres executions watch 0193... --timeout 60")
@click.argument("execution", type=execution_id)
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Watch no longer than this (exit 124)."
)
@server_options
@output_option
@pass_session
def watch_execution(session: Session, execution: str, timeout: float | None) -> None:
    """Watch an execution until it ends; the exit code tells how."""
    from flowgres_cli.following import follow

    follow(session, execution, is_watching=True, timeout_seconds=timeout)


@click.command(epilog="Example: flowgres logs 0193... -f --level warning")
@click.argument("execution", type=execution_id)
@click.option("-f", "--follow", "is_following", is_flag=True, help="Go on until the execution has ended.")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="Only this level and above.")
@server_options
@output_option
@pass_session
def logs(session: Session, execution: str, is_following: bool, level: str) -> None:
    """Print what an execution did and logged, line by line."""
    from flowgres_cli.errors import StoppedByUserError
    from flowgres_cli.watching import Watcher

    lowest = LEVELS.index(level)
    watcher = Watcher(session.client, execution)
    # Also refuses an execution that does not exist, which has no events.
    snapshots = watcher.snapshots() if is_following else iter((watcher.read(),))
    try:
        for _ in snapshots:
            for event in watcher.events():
                known = event.get("level") in LEVELS
                if not known or LEVELS.index(event["level"]) >= lowest:
                    _print_event(session, event)
    except KeyboardInterrupt as error:
        raise StoppedByUserError(f"interrupted; execution {execution} goes on") from error


def _reasons(session: Session, execution: str) -> list[dict[str, Json]]:
    """Why its steps do not move, what waits for nothing but others last."""
    rows = session.client.select("execution_why", {"execution_id": f"eq.{execution}"})
    return sorted(rows, key=lambda row: (row["reason"] == "waits_for_steps", str(row["since"])))


def _print_what_stands(session: Session, execution: str) -> None:
    """The steps that wait for something which nobody sees in the tree."""
    from flowgres_cli.reasons import MOVING, lines

    stuck = [row for row in _reasons(session, execution) if row["reason"] not in MOVING]
    for number, line in enumerate(lines(stuck)):
        session.output.line(f"{'why' if number == 0 else '':<7} {line}")


def _machine(session: Session, execution: str) -> str:
    """The instance whose transition started an execution, and what that means to it, on one line."""
    from flowgres_cli.commands.instances import outcome

    select = "*,entity_workflows(entity_table,entity_id,workflow_name)"
    rows = session.client.select("instance_executions", {"execution_id": f"eq.{execution}", "select": select})
    if not rows:
        return ""
    link = rows[0]
    entity = link["entity_workflows"]
    told = f"{entity['workflow_name']}, {entity['entity_table']} {entity['entity_id']}, at {link['to_state']}"
    return ": ".join(filter(None, (f"{told} ({link['instance_id']})", outcome(link))))


def _events(session: Session, execution: str) -> list[dict[str, Json]]:
    from flowgres_cli.watching import Watcher

    watcher = Watcher(session.client, execution)
    watcher.read()
    return list(watcher.events())


def _print_event(session: Session, event: dict[str, Json]) -> None:
    """One line for an event: text also where nobody reads along, so that grep and less see what a terminal shows."""
    import json

    from flowgres_cli.output import clean, console, style_of
    from flowgres_cli.watching import answer_text

    if session.config.output not in (None, "table"):
        session.output.line(json.dumps(event, ensure_ascii=False))
        return
    from rich.text import Text

    kind = str(event.get("type"))
    style = {"error": "red", "warning": "yellow", "debug": "dim"}.get(str(event.get("level")), "")
    line = Text(no_wrap=False)
    line.append(f"{moment(event.get('at')) if session.output.is_table else event.get('at')}  ", style="dim")
    line.append(f"{event.get('level', ''):<8}", style=style)
    line.append(f"{clean(str(event.get('step') or '-')):<20} ", style="bold")
    if kind != "log":
        line.append(f"{kind}  ", style=style_of(kind.rpartition("_")[2]))
    line.append(clean(str(event.get("message") or "")))
    answer = answer_text({"details": event.get("details")}, 160)
    if answer:
        line.append(f"  it answered: {answer}", style="dim")
    console(session.output.stdout).print(line, soft_wrap=True)
