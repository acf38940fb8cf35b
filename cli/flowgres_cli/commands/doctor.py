"""flowgres doctor."""

from __future__ import annotations

import os

import click

from flowgres_cli.session import Session, output_option, pass_session, server_options

_MARKS = {"ok": ("ok", "green"), "problem": ("problem", "red"), "note": ("note", "yellow")}


@click.command(epilog="Example: flowgres doctor --profile production")
@server_options
@output_option
@pass_session
def doctor(session: Session) -> None:
    """Look at this machine, the server and the database, and say how to fix what is wrong.

    Exit code 1 when there is a problem; notes are none.
    """
    from dataclasses import asdict

    from flowgres_cli.examination import PROBLEM, examine
    from flowgres_cli.output import clean

    findings = []
    for finding in examine(session.config, os.environ):
        findings.append(finding)
        if session.output.is_table:
            word, colour = _MARKS[finding.result]
            # click leaves the colour out where stdout is no terminal; NO_COLOR is ours to honour.
            mark = word if os.environ.get("NO_COLOR") else click.style(word, fg=colour)
            click.echo(f"{mark}{' ' * (8 - len(word))} {finding.check:<20} {clean(finding.detail)}")
            if finding.fix:
                click.echo(f"{'':<29} {clean(finding.fix)}")
    if not session.output.is_table:
        session.output.rows([asdict(finding) for finding in findings], (), id_field="check")
    if any(finding.result == PROBLEM for finding in findings):
        raise click.exceptions.Exit(1)
