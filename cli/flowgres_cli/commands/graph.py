"""flowgres graph: the graph of a definition, or the states of a machine, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from flowgres_cli.session import Session, pass_session, server_options

Json = Any


@click.command(
    epilog="Examples: flowgres graph order.yaml · flowgres graph order-pipeline --format svg -o order.svg",
)
@click.argument("source", metavar="PATH|NAME")
@click.option(
    "--format",
    "form",
    type=click.Choice(("ascii", "mermaid", "svg")),
    default="ascii",
    show_default=True,
    help="Plain characters, Mermaid for Markdown, or an SVG file.",
)
@click.option("-o", "--output", "target", metavar="FILE", help="Write to this file instead of stdout.")
@server_options
@pass_session
def graph(session: Session, source: str, form: str, target: str | None) -> None:
    """Draw the graph of a workflow: the steps of a DAG, the states of a machine.

    PATH is a definition, or - for stdin, and is drawn without a server; NAME is a workflow of the server, of which the
    active version is drawn. Exit code 4 when the definition has errors, as with validate.
    """
    from flowgres_cli.errors import CliError
    from flowgres_cli.graphs.reading import read_picture
    from flowgres_cli.output import say

    picture = read_picture(_document(session, source))
    if form == "mermaid" and picture.is_machine:
        from flowgres_cli.graphs.states import draw_states as draw
    elif form == "mermaid":
        from flowgres_cli.graphs.mermaid import draw_mermaid as draw
    elif form == "svg":
        from flowgres_cli.graphs.svg import draw_svg as draw
    else:
        from flowgres_cli.graphs.ascii import draw_ascii as draw
    text = draw(picture)
    if target is None or target == "-":
        session.output.line(text)
        return
    try:
        Path(target).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot write the file: {error.strerror}", where=target) from error
    say(f"{target} written")


def _document(session: Session, source: str) -> dict[str, Json]:
    """The definition in our words, from a file or from the server."""
    from flowgres_cli.definitions import STDIN
    from flowgres_cli.errors import UsageProblemError

    if source == STDIN or Path(source).is_file():
        return _read(source)
    if Path(source).is_dir():
        raise UsageProblemError("this is a directory", where=source, hint="Name one definition in it.")
    from flowgres_definitions.names import is_workflow_name

    if not is_workflow_name(source):
        raise UsageProblemError("no such file, and no name of a workflow", where=source)
    return _fetch(session, source)


def _read(file: str) -> dict[str, Json]:
    from flowgres_cli.definitions import check_file, print_findings
    from flowgres_cli.errors import InvalidDefinitionError

    definition, findings = check_file(file)
    errors, _ = print_findings(findings)
    if errors or definition is None:
        raise InvalidDefinitionError(f"{errors} error{'s' * (errors != 1)}; nothing was drawn")
    return definition.document


def _fetch(session: Session, name: str) -> dict[str, Json]:
    from flowgres_cli.commands.workflows import find_workflow
    from flowgres_cli.errors import NotFoundError

    workflow = find_workflow(session, name)
    shown = workflow.get("active_version") or workflow.get("version")
    found = session.client.select(
        "workflow_versions",
        {"workflow_id": f"eq.{workflow['id']}", "version": f"eq.{shown}", "select": "definition", "limit": 1},
    )
    if not found:
        raise NotFoundError(f"workflow {name!r} has no version to draw", hint="Bring one in with: flowgres import FILE")
    definition: dict[str, Json] = found[0]["definition"]
    return definition
