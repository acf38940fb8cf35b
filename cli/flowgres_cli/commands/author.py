"""flowgres validate, import and schema: definitions on their way to the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flowgres_cli.output import Column, say
from flowgres_cli.session import Session, output_option, pass_session, server_options

if TYPE_CHECKING:
    from flowgres_cli.definitions import DefinitionFile, Finding

Json = Any

_IMPORT_COLUMNS = (
    Column("file", "FILE"),
    Column("name", "WORKFLOW"),
    Column("version", "VERSION", justify="right"),
    Column("result", "RESULT"),
)
_DRY_COLUMNS = (
    Column("file", "FILE"),
    Column("name", "WORKFLOW"),
    Column("version", "VERSION", justify="right"),
    Column("action", "WOULD BE"),
)


@click.command(epilog="Examples: flowgres validate workflows/ · flowgres validate order.yaml --server")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--server", "is_asking_server", is_flag=True, help="Ask the server too: sub-workflows, limits, step types."
)
@server_options
@output_option
@pass_session
def validate(session: Session, paths: tuple[str, ...], is_asking_server: bool) -> None:
    """Check definitions: every problem at once, as file:line:col.

    PATH is a file, a directory (walked for *.yaml, *.yml, *.json with a workflow in them), or - for stdin. Without
    --server nothing is asked over the network. Exit code 4 when there is an error; warnings do not count.

    \b
    What no file can tell is left to the server: whether the workflows and
    secrets that are named are there, which step types its runners serve,
    and the limits of its tenant.
    """
    from flowgres_cli.definitions import (
        SERVER_DECIDES,
        check_file,
        find_files,
        left_to_server,
        print_findings,
        server_findings,
    )
    from flowgres_cli.errors import InvalidDefinitionError

    chosen = find_files(paths)
    files = chosen.files
    findings = []
    sound = []
    for file in files:
        definition, found = check_file(file)
        if definition is not None:
            sound.append(definition)
        if is_asking_server:
            found = [finding for finding in found if finding.code not in SERVER_DECIDES]
        findings += found
        if is_asking_server and definition is not None and not any(one.severity == "error" for one in found):
            answer = session.client.call("validate_workflow", {"definition": definition.document})
            known = {(one.path, one.code) for one in found}
            findings += [f for f in server_findings(definition, answer) if (f.path, f.code) not in known]
    errors, warnings = print_findings(findings)
    if foreign := chosen.describe_foreign():
        say(foreign)
    if not session.output.is_table:
        session.output.rows([finding.as_json() for finding in findings], (), id_field="file")
    counted = f"{len(files)} file{'s' * (len(files) != 1)}"
    if errors:
        raise InvalidDefinitionError(f"{errors} error{'s' * (errors != 1)} in {counted}")
    say(f"{counted} valid" + (f", {warnings} warning{'s' * (warnings != 1)}" if warnings else ""))
    if not is_asking_server and (left := left_to_server(sound)) is not None:
        say(left)


@click.command("import", epilog="Examples: flowgres import order.yaml · flowgres import workflows/ --dry-run")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--dry-run", "is_dry", is_flag=True, help="Check on the server and tell what would happen; change nothing."
)
@click.option("--no-activate", "is_inactive", is_flag=True, help="Import without making it the active version.")
@server_options
@output_option
@pass_session
def import_definitions(session: Session, paths: tuple[str, ...], is_dry: bool, is_inactive: bool) -> None:
    """Bring definitions to the server.

    All files are checked first, also on the server, and nothing is stored when one is wrong. Sub-workflows go before
    the workflows that call them. The same content again makes no new version. What each version that is active now is
    started by, and whom it tells, stands below.
    """
    from flowgres_cli.definitions import in_dependency_order
    from flowgres_cli.importing import import_definition, tell_triggers

    checked, told = _checked(paths)
    definitions = in_dependency_order(checked)
    if is_dry:
        _rehearse(session, definitions, told)
        return
    if len(definitions) > 1:
        _refuse_wrong(session, definitions)
    rows = []
    try:
        for definition in definitions:
            answer = import_definition(session.client, definition, activate=not is_inactive)
            rows.append({**answer, "result": "created" if answer.get("created") else "unchanged"})
    finally:
        # What was imported before a failure is imported: say so.
        if rows:
            session.output.rows(rows, _IMPORT_COLUMNS, id_field="name")
            if session.output.is_table:
                for line in (line for row in rows for line in tell_triggers(row, str(session.config.front_url))):
                    say(line)


@click.command(
    epilog="Examples: flowgres schema > flowgres.schema.json · flowgres schema --tests > flowgres.test.schema.json"
)
@click.option("--tests", "is_of_tests", is_flag=True, help="That of files with cases (*.test.yaml) instead.")
@output_option
@pass_session
def schema(session: Session, is_of_tests: bool) -> None:
    """Print the JSON Schema of definitions, for editors.

    In YAML, the first line `# yaml-language-server: $schema=flowgres.schema.json` makes an editor complete and check.
    """
    from flowgres_definitions.description import case_description, case_description_text, description, description_text

    if session.config.output == "yaml":
        session.output.record(case_description() if is_of_tests else description())
    else:
        session.output.line((case_description_text() if is_of_tests else description_text()).rstrip())


def _checked(paths: tuple[str, ...]) -> tuple[list[DefinitionFile], list[Finding]]:
    from flowgres_cli.definitions import SERVER_DECIDES, check_file, find_files, print_findings
    from flowgres_cli.errors import InvalidDefinitionError

    definitions, findings = [], []
    chosen = find_files(paths)
    if foreign := chosen.describe_foreign():
        say(foreign)
    for file in chosen.files:
        definition, found = check_file(file)
        findings += [finding for finding in found if finding.code not in SERVER_DECIDES]
        if definition is not None:
            definitions.append(definition)
    errors, _ = print_findings(findings)
    if errors:
        raise InvalidDefinitionError(f"{errors} error{'s' * (errors != 1)}; nothing was imported")
    return definitions, findings


def _refuse_wrong(session: Session, definitions: list[DefinitionFile]) -> None:
    """Ask the server about all of them before the first one goes in."""
    from flowgres_cli.definitions import print_findings, server_findings
    from flowgres_cli.errors import InvalidDefinitionError

    found = []
    for definition in definitions:
        answer = session.client.call("validate_workflow", {"definition": definition.document})
        found += [finding for finding in server_findings(definition, answer) if finding.severity == "error"]
    errors, _ = print_findings(found)
    if errors:
        raise InvalidDefinitionError(
            f"the server refuses this: {errors} error{'s' * (errors != 1)}; nothing was imported"
        )


def _rehearse(session: Session, definitions: list[DefinitionFile], told: list[Finding]) -> None:
    from flowgres_cli.definitions import print_findings
    from flowgres_cli.errors import InvalidDefinitionError
    from flowgres_cli.importing import foresee

    rows, findings = [], []
    known = {(one.file, one.path, one.code) for one in told}
    for definition in definitions:
        row, found = foresee(session.client, definition)
        rows.append(row)
        findings += [one for one in found if (one.file, one.path, one.code) not in known]
    errors, _ = print_findings(findings)
    session.output.rows(rows, _DRY_COLUMNS, id_field="name")
    if errors:
        raise InvalidDefinitionError(f"the server refuses this: {errors} error{'s' * (errors != 1)}")
