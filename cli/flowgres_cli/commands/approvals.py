"""flowgres approvals, approve and reject: what steps ask people to decide."""

from __future__ import annotations

import re
from typing import Any

import click

from flowgres_cli.executions import execution_id
from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
STATUSES = ("pending", "approved", "rejected", "timed_out", "cancelled", "all")
_STEP = re.compile(r"(?P<step>[^\[\]]+)(?:\[(?P<iteration>[0-9]{1,9})\])?")

_COLUMNS = (
    Column("execution_id", "EXECUTION"),
    Column("step", "STEP"),
    Column("title", "TITLE", lambda title: title or "", is_prose=True),
    Column("may_decide", "YOURS", lambda may_decide: "yes" if may_decide else "no", is_optional=True),
    Column("due_at", "DUE", moment, is_optional=True),
    Column("count", "APPROVED", is_optional=True),
    Column("workflow_name", "WORKFLOW", is_optional=True),
    Column("roles", "ROLES", ", ".join, is_optional=True),
    Column("status", "STATUS", is_optional=True),
    Column("requested_at", "ASKED", moment, is_optional=True),
)
_FIELDS = ("execution_id", "step", "status", "approved_count", "quorum", "decided_by", "decided_at")


@click.group()
def approvals() -> None:
    """List what steps ask people to decide.

    Decide with: flowgres approve, flowgres reject.
    """


@approvals.command("list", epilog="Example: flowgres approvals list --mine")
@click.option("--status", type=click.Choice(STATUSES), default="pending", show_default=True, help="Only with this one.")
@click.option("--workflow", metavar="NAME", help="Only of this workflow.")
@click.option("--execution", type=execution_id, metavar="ID", help="Only of this execution.")
@click.option("--mine", "is_mine", is_flag=True, help="Only those that you may decide.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_approvals(
    session: Session, status: str, workflow: str | None, execution: str | None, is_mine: bool, limit: int
) -> None:
    """List approvals, the newest first: an inbox."""
    given = {"status": None if status == "all" else status, "workflow_name": workflow, "execution_id": execution}
    parameters: dict[str, str | int] = {"order": "requested_at.desc,id.desc", "limit": limit}
    parameters |= {column: f"eq.{value}" for column, value in given.items() if value is not None}
    if is_mine:
        parameters["may_decide"] = "is.true"
    rows = session.client.select("approvals", parameters)
    session.output.rows(
        [_shown(row) for row in rows] if session.output.is_table else rows,
        _COLUMNS,
        empty="nothing to decide" if status == "pending" else "no approvals",
    )


def _decision(decision: str, about: str) -> click.Command:
    """The command that says this about a step."""
    word = {"approved": "approve", "rejected": "reject"}[decision]

    @click.command(word, help=about, epilog=f"Example: flowgres {word} 0193... manager_approval --notes 'as agreed'")
    @click.argument("execution", type=execution_id)
    @click.argument("step", metavar="STEP[i]")
    @click.option("-d", "--data", metavar="JSON|@FILE|-", help="What the form asks for: a JSON object, a file, stdin.")
    @click.option("--notes", metavar="TEXT", help="Why; kept with the decision.")
    @click.option("--idempotency-key", metavar="KEY", help="The same key decides only once.")
    @server_options
    @output_option
    @pass_session
    def decide(
        session: Session, execution: str, step: str, data: str | None, notes: str | None, idempotency_key: str | None
    ) -> None:
        from flowgres_cli.inputs import read_object

        named = _STEP.fullmatch(step)
        if named is None:
            raise click.BadParameter("name a step, and of a foreach its iteration: hold[3]", param_hint="STEP")
        given: dict[str, Json] = {
            "data": None if data is None else read_object(data),
            "notes": notes,
            "iteration": None if named["iteration"] is None else int(named["iteration"]),
            "idempotency_key": idempotency_key,
        }
        arguments = {"execution_id": execution, "step": named["step"], "decision": decision}
        arguments |= {name: value for name, value in given.items() if value is not None}
        answer = session.client.call("decide_approval", arguments)
        session.output.record(answer, id_field="execution_id", fields=_FIELDS)

    return decide


def _shown(row: dict[str, Json]) -> dict[str, Json]:
    """A row as a table shows it: the step with its iteration, and how many of how many."""
    iteration = row["iteration"]
    step = row["step"] if iteration is None else f"{row['step']}[{iteration}]"
    return {**row, "step": step, "count": f"{row['approved_count']} of {row['quorum']}"}


approve = _decision("approved", "Approve what the step STEP of an execution asks for.")
reject = _decision("rejected", "Reject what the step STEP of an execution asks for.")
