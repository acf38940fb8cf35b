"""flowgres steps: look at the steps of an execution, and repair them in place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from flowgres_cli.executions import execution_id
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
_STEP = re.compile(r"(?P<step>[^\[\]]+)(?:\[(?P<iteration>[0-9]{1,9})\])?")
_ERROR = re.compile(r"(?:(?P<code>[a-z][a-z0-9_]{0,62}): +)?(?P<message>.+)", re.DOTALL)
_FIELDS = (
    "execution_id",
    "step",
    "iteration",
    "type",
    "status",
    "attempts",
    "due_at",
    "waits_for",
    "output",
    "error",
    "overrides",
)


@click.group()
def steps() -> None:
    """Show the steps of an execution, and repair them in place.

    Only while the execution goes on. What is done is kept in its events, with who did it and why.
    """


@steps.command("show", epilog="Example: flowgres steps show 0193... fetch[3]")
@click.argument("execution", type=execution_id)
@click.argument("step", metavar="STEP[i]")
@server_options
@output_option
@pass_session
def show_step(session: Session, execution: str, step: str) -> None:
    """Show one step as it stands.

    Its attempts: flowgres executions show EXECUTION --step STEP
    """
    from flowgres_cli.errors import NotFoundError
    from flowgres_cli.output import clean

    name, iteration = _named(step)
    known = {
        one["step"]: one for one in session.client.call("get_execution", {"execution_id": execution})["steps"] or []
    }
    if name not in known:
        raise NotFoundError(
            f"execution {execution} has no step {clean(name)}", hint=f"Its steps: {', '.join(map(clean, known))}"
        )
    found: dict[str, Json] = {"execution_id": execution, **known[name], "iteration": iteration}
    if iteration is not None:
        rows = session.client.select(
            "step_executions", {"execution_id": f"eq.{execution}", "step": f"eq.{name}", "iteration": f"eq.{iteration}"}
        )
        if not rows:
            raise NotFoundError(
                f"the step {clean(name)} has no iteration {iteration} yet",
                hint=f"See how far it is: flowgres steps show {execution} {clean(name)}",
            )
        found = rows[0]
    session.output.record(found, id_field="step", fields=_FIELDS)


def _named(step: str) -> tuple[str, int | None]:
    """A step, and its iteration when that is named."""
    named = _STEP.fullmatch(step)
    if named is None:
        raise click.BadParameter("name a step, and of a foreach its iteration: hold[3]", param_hint="STEP")
    return named["step"], None if named["iteration"] is None else int(named["iteration"])


def _command(
    function: str, example: str, *options: Callable[[Any], Any]
) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that calls this function about one step; what it decorates gives the other arguments of the call."""

    def decorate(read: Callable[..., dict[str, Json]]) -> click.Command:
        def run(session: Session, execution: str, step: str, reason: str | None, **given: Any) -> None:
            name, iteration = _named(step)
            arguments: dict[str, Json] = {"execution_id": execution, "step": name, **read(**given)}
            arguments |= {
                key: value for key, value in (("iteration", iteration), ("reason", reason)) if value is not None
            }
            session.output.record(session.client.call(function, arguments), id_field="step", fields=_FIELDS)

        run.__doc__ = read.__doc__
        decorated: Any = pass_session(run)
        because = click.option("--reason", metavar="TEXT", help="Why; kept in the events and the audit log.")
        for decorator in (output_option, server_options, because, *options):
            decorated = decorator(decorated)
        decorated = click.argument("step", metavar="STEP[i]")(decorated)
        decorated = click.argument("execution", type=execution_id)(decorated)
        word = function.removesuffix("_step")
        return steps.command(word, epilog=f"Example: flowgres steps {word} 0193... {example}")(decorated)

    return decorate


@_command("retry_step", "fetch --reason 'the server is back'")
def retry() -> dict[str, Json]:
    """Let a step be tried now: one that waits need not, one that somebody has begins anew."""
    return {}


@_command("skip_step", "fetch[3]")
def skip() -> dict[str, Json]:
    """Skip a step that is ready, runs or waits."""
    return {}


@_command("cancel_step", "fetch[3]")
def cancel() -> dict[str, Json]:
    """Cancel a step that is ready, runs or waits."""
    return {}


@_command(
    "complete_step",
    "fetch -d '{\"total\": 3}'",
    click.option(
        "-d",
        "--data",
        metavar="JSON|@FILE|-",
        help="Its output: any JSON, a file, stdin. Of a condition true or false.",
    ),
)
def complete(data: str | None) -> dict[str, Json]:
    """Complete a step that is ready, runs or waits, with an output that the next steps see."""
    from flowgres_cli.inputs import read_value

    return {} if data is None else {"output": read_value(data)}


@_command(
    "fail_step",
    "fetch --error 'refused: the customer said no'",
    click.option("--error", metavar="'CODE: MESSAGE'", help="Why, with a code or without."),
)
def fail(error: str | None) -> dict[str, Json]:
    """Let a step that is ready, runs or waits fail, without another attempt."""
    said = None if error is None else _ERROR.fullmatch(error)
    return (
        {} if said is None else {"error": {key: value for key, value in said.groupdict().items() if value is not None}}
    )


@_command(
    "update_step",
    'fetch -d \'{"timeout": "2m"}\'',
    click.option(
        "-d",
        "--data",
        metavar="JSON|@FILE|-",
        required=True,
        help="What is to be another: an object with retry, timeout, on_error.",
    ),
)
def update(data: str) -> dict[str, Json]:
    """Change the policy of a step that is ready, runs or waits, in this execution alone."""
    from flowgres_cli.inputs import read_object

    return {"changes": read_object(data)}
