"""flowgres executions replay, fork and diff."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
F = TypeVar("F", bound=Callable[..., Any])


def _replay_options(command: F) -> F:
    """What replay and fork have in common."""
    for option in reversed((
        click.option("-d", "--data", metavar="JSON|@FILE|-", help="Another input than the original one."),
        click.option(
            "-f", "--field", "fields", multiple=True, metavar="K=V",
            help="Change one field of the input; K:=JSON takes JSON. Repeatable.",
        ),
        click.option(
            "--override", "overrides", multiple=True, metavar="STEP=JSON|@FILE",
            help="Another output of a step that is taken over. Repeatable.",
        ),
        click.option("--version", type=click.IntRange(min=1), help="A version other than that of the original."),
        click.option("--reason", metavar="TEXT", help="Why; kept in the events and the audit log."),
        click.option("--watch", "is_watching", is_flag=True, help="Show it live until its end."),
    )):  # fmt: skip
        command = option(command)
    return command


def _execution_id(value: str) -> str:
    from flowgres_cli.executions import execution_id

    return execution_id(value)


@click.command(
    "replay",
    epilog="Examples: flowgres executions replay 0193... --watch · "
    "flowgres executions replay 0193... -f amount=7 --version 4",
)
@click.argument("execution", type=_execution_id)
@click.option("--from-step", metavar="STEP", help="Take over what this step does not reach, and begin with it.")
@_replay_options
@server_options
@output_option
@pass_session
def replay_execution(session: Session, /, execution: str, from_step: str | None, **options: Any) -> None:
    """Start an execution anew, whole or from a step on.

    It is a new execution, with the input and the version of the original unless others are given.
    """
    _replay(session, execution, from_step, **options)


@click.command("fork", epilog='Example: flowgres executions fork 0193... ship --override charge=\'{"id": "ch_2"}\'')
@click.argument("execution", type=_execution_id)
@click.argument("step")
@_replay_options
@server_options
@output_option
@pass_session
def fork_execution(session: Session, /, execution: str, step: str, **options: Any) -> None:
    """Start an execution anew from STEP on.

    What STEP does not reach is taken over as it ended, and is not run again.
    """
    _replay(session, execution, step, **options)


def _replay(
    session: Session,
    execution: str,
    from_step: str | None,
    *,
    data: str | None,
    fields: tuple[str, ...],
    overrides: tuple[str, ...],
    version: int | None,
    reason: str | None,
    is_watching: bool,
) -> None:
    from flowgres_cli.following import follow

    optional: dict[str, Json] = {
        "input": _input(session, execution, data, fields, version),
        "from_step": from_step,
        "overrides": _overrides(overrides) if overrides else None,
        "version": version,
        "reason": reason,
    }
    arguments = {"execution_id": execution} | {key: value for key, value in optional.items() if value is not None}
    started = session.client.call("replay_execution", arguments)
    if not is_watching:
        session.output.record(started, id_field="execution_id")
        return
    if session.output.format == "id":
        session.output.line(str(started["execution_id"]))
    follow(session, str(started["execution_id"]), is_watching=True)


def _input(session: Session, execution: str, data: str | None, fields: tuple[str, ...], version: int | None) -> Json:
    """What is given, or the original input with these fields; None where it stays as it is."""
    from flowgres_cli.inputs import merge_fields, read_input

    if not fields:
        return None if data is None else read_input(data, fields, dict)
    rows = session.client.select(
        "executions", {"id": f"eq.{execution}", "select": "workflow_id,version,input:input::text", "limit": 1}
    )
    original: Mapping[str, Json] = rows[0] if rows else {}

    def declared() -> Mapping[str, Json]:
        if not original:
            return {}
        versions = session.client.select(
            "workflow_versions",
            {
                "workflow_id": f"eq.{original['workflow_id']}",
                "version": f"eq.{version or original['version']}",
                "select": "inputs",
            },
        )
        inputs = versions[0]["inputs"] if versions else None
        return inputs if isinstance(inputs, dict) else {}

    if data is not None:
        return read_input(data, fields, declared)
    # As text: read here, its numbers would lose digits.
    return merge_fields(original.get("input", "{}"), fields, declared)


def _overrides(given: tuple[str, ...]) -> Json:
    """The outputs that were given, by step, as they were written."""
    import json

    from flowgres_cli.client import RawJson
    from flowgres_cli.errors import UsageProblemError
    from flowgres_cli.inputs import read_value

    read: dict[str, RawJson] = {}
    for one in given:
        step, separator, text = one.partition("=")
        if not separator or not step:
            raise UsageProblemError(
                f"{one!r} is no override", where="--override", hint="Write --override STEP=JSON, or STEP=@FILE."
            )
        read[step] = read_value(text, option=f"--override {step}")
    members = ", ".join(f"{json.dumps(step)}: {text}" for step, text in read.items())
    return RawJson(f"{{{members}}}")


@click.command("diff", epilog="Example: flowgres executions diff 0193... 0194... -o json")
@click.argument("a", type=_execution_id)
@click.argument("b", type=_execution_id)
@server_options
@output_option
@pass_session
def diff_executions(session: Session, a: str, b: str) -> None:
    """Compare two executions: inputs, outputs, and each step side by side.

    They may be of different versions or workflows. Exit code 1 when they differ in more than how long they took.
    """
    from flowgres_cli.comparing import describe, differs

    answer = session.client.call("compare_executions", {"a": a, "b": b})
    if session.output.is_table:
        for line in describe(answer):
            session.output.line(line)
    else:
        session.output.record(answer)
    if differs(answer):
        click.get_current_context().exit(1)
